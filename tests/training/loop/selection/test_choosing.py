"""What the best epoch is chosen by, the loss that it may be, and the epochs that short runs get in addition."""

import csv
import json
import math
import re

import numpy as np
import pytest

from captioner.errors import SpecError
from tests.support.training.short_runs import CHANGES
from training import train
from training.loop import checkpoint, validation
from training.loop.selection.choosing import (
    CIDER,
    LAST,
    LOSS,
    Criterion,
    best_of,
    criterion,
    metric_text,
    phrase,
)
from training.loop.stages import lengthened
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")


# Which measure.


@pytest.mark.parametrize(
    ("choose_by", "stage", "images", "measure", "says"),
    [
        ("auto", "xe", 50, CIDER, ""),
        ("auto", "xe", 49, LOSS, "49 validation images are too few for CIDEr-D"),
        ("auto", "xe", 1, LOSS, "1 validation image has no CIDEr-D"),
        ("cider", "xe", 2, CIDER, ""),
        ("cider", "xe", 1, LOSS, "1 validation image has no CIDEr-D"),
        ("loss", "xe", 1000, LOSS, ""),
        ("auto", "scst", 50, CIDER, ""),
        ("auto", "scst", 49, LAST, "its last epoch is kept"),
        ("loss", "scst", 1000, LAST, "its last epoch is kept"),
        ("last", "xe", 1000, LAST, ""),
    ],
)
def test_measure_follows_from_setting_stage_and_images(choose_by, stage, images, measure, says):
    how = criterion(choose_by, stage, images)
    assert how.measure == measure and says in how.reason and bool(says) == bool(how.reason)


def test_higher_values_are_better_epochs():
    one, other = {CIDER: 30.0, LOSS: 2.0}, {CIDER: 40.0, LOSS: 2.5}
    assert Criterion(CIDER).value(one, 1) < Criterion(CIDER).value(other, 2)
    assert Criterion(LOSS).value(one, 1) > Criterion(LOSS).value(other, 2)
    assert Criterion(LAST).value(one, 1) < Criterion(LAST).value(other, 2)
    assert Criterion(CIDER).value({CIDER: math.nan}, 1) == 0.0
    assert Criterion(LOSS).value({LOSS: math.nan}, 1) == -math.inf


def test_best_epoch_of_a_history():
    rows = [{"epoch": 1, CIDER: 9.0, LOSS: 3.0}, {"epoch": 2}, {"epoch": 3, CIDER: 7.0, LOSS: 2.0}]
    later = [*rows, {"epoch": 4, CIDER: 1.0}]  # of self-critical training
    plain = [{"epoch": row["epoch"], CIDER: row.get(CIDER)} for row in rows]
    assert best_of(rows, "auto") == (3, LOSS) and best_of(plain, "auto") == (1, CIDER)
    assert best_of(plain, "last") == (3, LAST) and best_of(later, "auto") == (4, LAST)
    assert best_of([{"epoch": 1}], "auto") == (None, CIDER)
    assert phrase(CIDER, 1) == "best epoch 1 by CIDEr-D on the validation split"
    assert metric_text(CIDER, math.nan) == "CIDEr-D undefined"


def test_unknown_measure_is_refused():
    with pytest.raises(SpecError, match="evaluation.choose_by"):
        with_changes(RECIPES.build("tiny"), ["evaluation.choose_by=bleu"])


# Runs.


@pytest.fixture(scope="module")
def short(quick, no_reports, unoptimised, tmp_path_factory):
    """A trainer of an epoch on a few drawn images, before its first step."""
    run = with_changes(
        RECIPES.build("tiny"), [*CHANGES, "evaluation.batch_images=2", "xe.label_smoothing=0.2"]
    )
    out = tmp_path_factory.mktemp("short") / "run"
    return train.build(run, out, False)


def test_validation_loss_is_the_mean_over_all_words(short):
    """Against log-probabilities caption by caption; in batches of 2 of 3 images, some of them twice."""
    model, examples = short.model, short.source.examples("validation")
    features = short.source.reader("validation")(np.arange(len(examples)))
    logp = []
    for number, example in enumerate(examples):
        for caption in example.captions:
            ids = model.tokenizer.encode(caption, model.max_length)
            logp.append(model.word_logp(features[number : number + 1], [ids])[0])
    words = np.concatenate(logp)
    assert len(examples) == 3 and len(words) > 3 * len(examples)
    assert short.scoring.reference_loss() == pytest.approx(-words.mean(), rel=1e-5)


def test_validation_loss_of_as_many_images_as_are_scored(short):
    evaluation = with_changes(short.run, ["evaluation.limit=1"]).evaluation
    limited = validation.Scoring(short.model, short.source, evaluation)
    assert len(limited.validated) == 1
    assert limited.reference_loss() != pytest.approx(short.scoring.reference_loss(), rel=1e-4)


def trained(out, *changes):
    run = with_changes(RECIPES.build("tiny"), [*CHANGES, "evaluation.every=1", *changes])
    metrics = train.train_into(run, out)
    with (out / "history.csv").open(newline="") as handle:
        return metrics, list(csv.DictReader(handle))


def test_few_images_are_chosen_by_loss(tmp_path, capsys, monkeypatch):
    losses = iter([3.0, 1.5, 2.0, 2.5])
    monkeypatch.setattr(validation.ReferenceLoss, "__call__", lambda self: next(losses))
    metrics, rows = trained(tmp_path / "run", "xe.epochs=9", "evaluation.patience=2")
    text = capsys.readouterr().out
    assert text.count("3 validation images are too few for CIDEr-D to choose by") == 1
    assert "no better validation loss in 2 validations: stopping early" in text
    assert [float(row[LOSS]) for row in rows] == [3.0, 1.5, 2.0, 2.5]
    assert metrics["epoch"] == 2 and metrics["chosen_by"] == LOSS
    assert metrics["validation"] == {CIDER: float(rows[1][CIDER]), LOSS: 1.5}
    saved = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert saved["validation"][LOSS] == 1.5 and checkpoint.read(tmp_path / "run" / "best.npz")[1] == {
        "epoch": 2
    }
    assert "best epoch 2 by the validation loss" in (tmp_path / "run" / "model" / "card.md").read_text()


def test_one_image_has_an_undefined_cider(tmp_path, capsys):
    metrics, rows = trained(
        tmp_path / "run", "evaluation.limit=1", "evaluation.choose_by=last", "xe.epochs=2"
    )
    captured = capsys.readouterr()
    assert "CIDEr-D undefined" in captured.out and "CIDEr-D 0.0" not in captured.out.partition("test")[0]
    assert "UserWarning" not in captured.err
    assert [row[CIDER] for row in rows] == ["", ""] and metrics["validation"] == {CIDER: None}
    assert metrics["epoch"] == 2 and LOSS not in rows[0]
    card = (tmp_path / "run" / "model" / "card.md").read_text()
    assert "last epoch 2, not chosen on the validation split" in card


def test_a_run_of_an_earlier_version_goes_on(short):
    """Its checkpoint knows CIDEr-D alone: the best value so far is of another measure, so that it is dropped."""
    short.state = checkpoint.initial_state() | {"best": 40.0, "best_epoch": 1, "epoch": 1}
    short.save()
    arrays, state = checkpoint.read(short.out / "checkpoint.npz")
    old = {name: value for name, value in state.items() if name not in ("chosen_by", "best_metrics")}
    checkpoint.write(short.out / "checkpoint.npz", arrays, old)
    short.state = checkpoint.initial_state()
    assert short.restore()
    assert short.state["best"] == 40.0 and short.state["best_metrics"] == {CIDER: 40.0}
    short._begin_choosing()
    assert short.state["best"] == -math.inf and short.state["chosen_by"] == LOSS
    short.state = checkpoint.initial_state()


# Steps.


def test_epochs_are_added_until_there_are_enough_steps(tmp_path, capsys):
    changes = ["xe.epochs=2", "xe.min_steps=14", "scst.epochs=1", "evaluation.every=1", "xe.final_lr_ratio=0"]
    run = with_changes(RECIPES.build("tiny"), [*CHANGES, *changes])
    made = train.build(run, tmp_path / "run", False)
    cross_entropy, self_critical = made.stages
    epochs, steps = cross_entropy.settings.epochs, cross_entropy.steps
    assert len(steps) == epochs > 2 and sum(steps[:-1]) < 14 <= sum(steps)
    assert self_critical.first == epochs == cross_entropy.last and self_critical.last == epochs + 1
    assert made.run.xe.epochs == epochs and made.run.evaluation.every == round(epochs / 2)
    printed = re.findall("xe.min_steps=14: .*", capsys.readouterr().out)
    assert len(printed) == 1 and f"{epochs} epochs" in printed[0] and f"{sum(steps)} steps" in printed[0]
    # The schedule ends with the last of them.
    schedule = made.model.optimizer._learning_rate
    assert float(schedule(sum(steps))) < 1e-8 < float(schedule(sum(steps) - 2))
    saved = json.loads((tmp_path / "run" / "run.json").read_text())
    assert saved["xe"]["epochs"] == 2 and saved["xe"]["min_steps"] == 14, (
        "the settings stay those that were asked for"
    )
    assert lengthened(made.run, made.stages) is made.run


def test_enough_steps_stay_as_they_are(short, capsys):
    assert short.run.xe.epochs == 1 and lengthened(short.run, short.stages) is short.run
    assert capsys.readouterr().out == ""


def test_recipes_of_self_critical_training_alone_have_no_cross_entropy():
    runs = [RECIPES.build(name) for name in RECIPES.names() if name.startswith("flickr8k")]
    assert all(run.xe.min_steps == 1000 for run in runs)
    assert [run.name for run in runs if not run.xe.epochs], "without cross-entropy min_steps adds none"


@pytest.mark.slow
def test_a_lengthened_run_is_resumed(tmp_path, monkeypatch):
    changes = [*CHANGES, "xe.min_steps=12", "xe.learning_rate=0.01"]
    run, rows = with_changes(RECIPES.build("tiny"), changes), []
    for name, stops in (("whole", [0]), ("stopped", [7, 0])):
        for stop in stops:
            made = train.build(run, tmp_path / name, (tmp_path / name).exists())
            step, left = made._step, [stop or 1000]

            def counted(batch, step=step, left=left):
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                step(batch)

            made._step = counted
            made.restore()
            try:
                made.fit()
            except KeyboardInterrupt:
                made.save()
        with (tmp_path / name / "history.csv").open(newline="") as handle:
            rows.append([{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(handle)])
    assert len(rows[0]) == len(rows[1]) > 2 and (tmp_path / "stopped" / "model").exists()
    for row, twin in zip(*rows, strict=True):
        assert {k: float(v or 0) for k, v in row.items()} == pytest.approx(
            {k: float(v or 0) for k, v in twin.items()}, rel=1e-4
        )
