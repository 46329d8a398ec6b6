"""Text without images: decoders learn the language from it, captions follow, and a stop changes nothing."""

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest

import captioner
from captioner.errors import DataError, SpecError
from captioner.models import CaptionModel
from tests.support.models.small_models import (
    CHANNELS,
    LENGTH,
    LOCATIONS,
    ROWS,
    TOKENIZER,
    build,
    features_of,
    short,
)
from tests.support.training.interrupted_runs import CHANGES
from training import train
from training.data.sentences import TextBatches
from training.loop.losses import CaptionLoss
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

# A language of three words in turn: after word i comes word i + 1, whatever is in the image.
LANGUAGE = [" ".join(f"word{(first + i) % 3}" for i in range(5)) for first in range(3)]


def language_loss(model, features):
    """Nats a word of the sentences under teacher forcing, and the mean over those of a random order."""
    captions = [TOKENIZER.encode(text, LENGTH) for text in LANGUAGE]
    logp = model.word_logp(features, captions, [0, 1, 2])
    return -np.concatenate(logp).mean()


@pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, marks=pytest.mark.slow if row else []) for row, spec in enumerate(ROWS)],
    ids=short,
)
def test_every_decoder_learns_the_language(spec):
    model = build(spec)
    features, blank = features_of(3), np.zeros((3, LOCATIONS, CHANNELS), np.float32)
    before = language_loss(model, features), language_loss(model, blank)
    batches = TextBatches(LANGUAGE * 4, TOKENIZER, LENGTH, (LOCATIONS, CHANNELS), 4, 3, seed=1)
    model.encoder.trainable = False
    model.compile(optimizer=keras.optimizers.Adam(0.03), loss=CaptionLoss())
    model.optimizer.build(model.trainable_variables)
    for epoch in range(150):
        for batch in batches.epoch(epoch, None, "features"):
            model.train_on_batch(batch.inputs, batch.targets, batch.weights)
    # The first word is one of three; the others, and the end, follow. Frequencies of words alone give 1.4.
    least = np.log(3) / 6
    assert before[1] > 2.5 and language_loss(model, blank) < least + 0.3
    assert language_loss(model, features) < 0.7 * before[0], "of use with images too"


# Whole runs.

TRAINED = ("model.train_encoder=true",)


def sentences(count=40):
    """Captions of other scenes."""
    from training.data.datasets import DATASETS

    examples = DATASETS.build(f"synthetic_scenes(seed=7, train={count})").examples("train")
    return [example.captions[0] for example in examples]


@pytest.fixture(scope="module")
def text(quick):
    path = Path("text.txt").absolute()
    path.write_text("\n".join(sentences()))
    return path


def run_of(text, *changes):
    settings = [f"xe.text={text}", "xe.text_epochs=2", "xe.epochs=2", "evaluation.tests=test"]
    return with_changes(RECIPES.build("tiny"), [*CHANGES, *settings, *changes])


@pytest.fixture(scope="module")
def finished(text, no_reports):
    """Folders of finished runs by their changes, and their metrics."""
    made = {}

    def get(changes):
        if changes not in made:
            out = Path(f"whole {len(made)}").absolute()
            made[changes] = out, train.train(run_of(text, "checkpoint_minutes=0", *changes), out, False)
        return made[changes]

    return get


def rows(out):
    with (out / "history.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_text_comes_first_and_is_not_validated(finished):
    out, metrics = finished(())
    history = rows(out)
    assert [row["epoch"] for row in history] == ["1", "2", "3", "4"]
    assert [bool(row["CIDEr-D"]) for row in history] == [False, False, True, True]
    assert float(history[1]["loss"]) < float(history[0]["loss"])
    rates = [float(row["learning rate"]) for row in history]
    assert rates[1] < 0.05 * rates[0] < rates[2], "schedules of their own"
    assert metrics["epoch"] in (3, 4) and metrics["chosen_by"] == "CIDEr-D"
    card = captioner.bundle.read(out / "model").card
    assert "text without images, 2 epochs at most, then cross-entropy, 2 epochs at most" in card


@pytest.mark.slow
def test_captions_begin_with_what_text_has_taught(text, tmp_path):
    """The first validation loss is lower than without text."""
    losses = []
    for name, changes in (("with", ()), ("without", ("xe.text=",))):
        settings = ["xe.text_epochs=20", "xe.epochs=1", "xe.learning_rate=1e-2", "model.max_length=8"]
        run = run_of(text, *settings, *changes, "data.max_vocabulary=0", "data.min_count=1")
        trainer = train.build(run, tmp_path / name, False)
        if name == "with":
            encoder = [value.copy() for value in trainer.model.encoder.get_weights()]
            for _ in range(20):
                trainer._train_epoch()
                trainer._end_epoch()
            assert trainer.state["best"] == -np.inf
            trainer._enter(1)
            for one, two in zip(encoder, trainer.model.encoder.get_weights(), strict=True):
                np.testing.assert_array_equal(one, two)
        losses.append(trainer.scoring.reference_loss())
    assert losses[0] < losses[1] - 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "at"), [((), 3), (TRAINED, 10)], ids=["in text", "in captions"]
)  # text is 8 steps
def test_resumed_in_either_stage(changes, at, finished, text, tmp_path, monkeypatch):
    folder, complete = finished(changes)
    run = run_of(text, "checkpoint_minutes=0", *changes)
    real, steps, encoders = CaptionModel.train_on_batch, [], []

    def stopping(self, *arguments, **more):
        steps.append(1)
        encoders.append(bool(self.encoder.trainable_variables))
        if len(steps) == at + 1:
            raise KeyboardInterrupt
        return real(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionModel, "train_on_batch", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.train(run, tmp_path / "cut", False)
    assert encoders[-1] == (at == 10 and bool(changes)), "text trains the decoder alone"
    resumed = train.train(run, tmp_path / "cut", True)
    assert resumed["test"] == pytest.approx(complete["test"]) and resumed["epoch"] == complete["epoch"]
    one, two = (json.loads((out / "predictions_test.json").read_text()) for out in (folder, tmp_path / "cut"))
    assert one == two
    for left, right in zip(rows(folder), rows(tmp_path / "cut"), strict=True):
        assert float(left["loss"]) == pytest.approx(float(right["loss"]), abs=1e-5)


def test_other_text_under_the_same_name_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(sentences(8)))
    run = run_of(path, "xe.text_epochs=1")
    trainer = train.build(run, tmp_path / "run", False)
    trainer.save()
    path.write_text("\n".join(sentences(9)))
    with pytest.raises(DataError, match="expected the training captions that .* began with, got others"):
        train.build(run, tmp_path / "run", True).restore()


def test_a_teacher_waits_for_the_captions(text, tmp_path, finished):
    """Its loss is on captions of images alone."""
    out, _ = finished(())
    run = run_of(text, f"xe.distillation_teacher={out / 'model'}", "scst.epochs=1")
    trainer = train.build(run, tmp_path / "run", False)
    teachers = []
    for stage in trainer.stages:
        stage.compile(trainer.model)
        teachers.append(trainer.model.extra_loss is not None)
    assert [stage.name for stage in trainer.stages] == ["text", "xe", "scst"] and teachers == [
        False,
        True,
        False,
    ]


def test_min_steps_count_captions_alone(text, tmp_path, capsys):
    trainer = train.build(run_of(text, "xe.min_steps=11"), tmp_path / "run", False)
    text_stage, stage = trainer.stages
    assert len(text_stage.steps) == 2 and sum(stage.steps) >= 11 and stage.first == 2
    assert trainer.run.xe.epochs == len(stage.steps) and stage.last == 2 + len(stage.steps)
    assert f"{sum(stage.steps)} steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (["xe.text=nowhere.txt"], DataError, "nowhere.txt"),
        (["xe.text_epochs=0"], SpecError, "xe.text_epochs expects a whole number of at least 1, got 0"),
        (
            ["xe.epochs=0", "scst.epochs=1", "model.init_from=x"],
            captioner.CaptionerError,
            "xe.epochs to be 1 or more",
        ),
    ],
)
def test_wrong_settings_are_one_line(changes, error, says, text, tmp_path):
    with pytest.raises(error, match=says) as caught:
        train.train(run_of(text, *changes), tmp_path / "run", False)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
