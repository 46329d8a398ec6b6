"""Warnings about how a run went, and where they are to be read."""

import json

import pytest

from tests.support.training.short_runs import CHANGES
from training import train
from training.loop import validation
from training.loop.run_folder import read_metrics
from training.loop.selection import diagnosis
from training.loop.selection.choosing import CIDER, LAST, LOSS
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")


def history(*values, measure=CIDER, unique=90.0):
    return [
        diagnosis.Validation(2 * number, {measure: value, "unique captions": unique})
        for number, value in enumerate(values, 1)
    ]


def kinds(values, best, measure=CIDER, images=100, unique=90.0, epochs=None):
    table = history(*values, measure=measure, unique=unique)
    return set(diagnosis.at_end(table, best, measure, images, epochs or table[-1].epoch, ["xe", "scst"]))


def test_a_good_run_has_no_warnings():
    assert kinds([10, 30, 34.0, 34.5], 8) == set() == kinds([10, 35, 34, 33], 4)
    assert kinds([3.0, 2.5, 2.4, 2.41], 6, LOSS) == set() == kinds([3.0, 2.5, 2.4, 2.39], 8, LOSS)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (dict(values=[0.0, 0.5, 0.9, 0.3], best=6), "near_zero"),
        (dict(values=[10, 20, 30, 29], best=6, unique=1.0), "alike"),
        (dict(values=[10, 20, 30, 29], best=6, unique=40.0, images=5), "alike"),
        (dict(values=[30, 29, 28], best=2), "best_is_first"),
        (dict(values=[2.0, 2.1, 2.2], best=2, measure=LOSS), "best_is_first"),
        (dict(values=[20, 30, 33], best=6), "still_rising"),
        (dict(values=[3.0, 2.5, 2.4], best=6, measure=LOSS), "still_rising"),
    ],
)
def test_what_is_seen_has_a_warning(arguments, kind):
    assert kinds(**arguments) == {kind}


@pytest.mark.parametrize(
    "arguments",
    [
        dict(values=[10, 20, 30, 29], best=6, unique=50.0, images=4),  # too few images to be sure
        dict(values=[10, 20, 30, 29], best=6, unique=3.0),  # three captions
        dict(values=[30, 29], best=2),  # too few validations
        dict(values=[30, 29, 28], best=6, measure=LAST),
        dict(values=[90, 100, 101.5], best=6),  # more than 1, less than 2 %
    ],
)
def test_what_says_nothing_has_none(arguments):
    assert kinds(**arguments) == set()


def test_warnings_while_training_wait_for_a_third_of_the_epochs():
    zero = history(0.0, 0.0, 0.0, unique=1.0)
    assert diagnosis.so_far(zero[:1], 100, 9) == {} == diagnosis.so_far([], 100, 9)
    assert set(diagnosis.so_far(zero[:2], 100, 9)) == {"near_zero", "alike"}
    assert diagnosis.so_far(history(0.0, 5.0), 100, 9) == {}, "of the last validation"
    text = diagnosis.so_far(zero, 100, 9)
    assert all(
        "xe.batch_images" in line and "captioner adapt" in line and "\n" not in line for line in text.values()
    )


def test_remedies_name_the_stage():
    first = diagnosis.best_is_first(history(3, 2, 1), 2, CIDER, "scst")
    last = diagnosis.still_rising(history(1, 5, 9), 6, CIDER, "scst")
    assert "scst.learning_rate" in first and "scst.epochs" in last


@pytest.fixture
def alike(monkeypatch):
    """All captions are the same, as of a model that has learnt nothing."""
    monkeypatch.setattr(
        validation.Captioning, "__call__", lambda self, read, count, progress="": ["a a"] * count
    )


def test_warnings_are_printed_and_kept(alike, tmp_path, capsys, caplog):
    run = with_changes(
        RECIPES.build("tiny"),
        [
            *CHANGES,
            "data.source=synthetic_scenes(train=6, validation=5, test=2, test_unseen=2, size=32)",
            "xe.epochs=3",
            "evaluation.every=1",
            "evaluation.choose_by=cider",
        ],
    )
    metrics = train.train_into(run, tmp_path / "run")
    lines = [record.getMessage() for record in caplog.records if record.name == "captioner.training"]
    assert all(line.startswith("warning: ") and "\n" not in line for line in lines)
    # Once while training, as soon as there is one, and once at the end, about the best epoch.
    assert sum("near zero" in line for line in lines) == 2
    assert sum("5 validation images have 1 different caption in epoch" in line for line in lines) == 2
    assert metrics["epoch"] == 1 and sum("validations by CIDEr-D is the first" in line for line in lines) == 1
    card = (tmp_path / "run" / "model" / "card.md").read_text()
    warnings = read_metrics(tmp_path / "run")["warnings"]
    assert len(warnings) == 3 and set(f"warning: {warning}" for warning in warnings) <= set(lines)
    assert "## Warnings" in card and all(f"- {warning}" in card for warning in warnings)
    saved = json.loads((tmp_path / "run" / "model" / "metrics.json").read_text())
    assert saved["warnings"] == warnings
