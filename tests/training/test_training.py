"""Moving average of weights, mixed precision, what train.py says of wrong input, and flipped images."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from captioner.models import CaptionModel
from tests.support.training.short_runs import CHANGES
from training import train
from training.data.source import Source
from training.loop import checkpoint
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick")
ROOT = Path(__file__).parents[2]


def arguments(*changes):
    return ["tiny", *(part for change in [*CHANGES, *changes] for part in ("--set", change))]


def test_scored_and_saved_weights_are_the_moving_average(monkeypatch, tmp_path):
    run = with_changes(
        RECIPES.build("tiny"), [*CHANGES, "xe.epochs=2", "xe.learning_rate=0.02", "evaluation.every=1"]
    )
    trainer = train.build(run, tmp_path / "run", False)
    weights = trainer.model.decoder.trainable_variables
    raw, average, validated, steps = [], [], [], []

    def step(batch, step=trainer._step):
        step(batch)
        raw[:] = [weight.numpy() for weight in weights]
        # The average begins with the weights after the first step, and warms up.
        steps.append(1)
        momentum = min(0.9, len(steps) / (9 + len(steps)))  # (1 + t) / (10 + t) after t earlier steps
        average[:] = [momentum * a + (1 - momentum) * w for a, w in zip(average or raw, raw, strict=True)]

    def score_split(split, *options, score_split=trainer.score_split):
        validated.append((split, [weight.numpy() for weight in weights]))
        return score_split(split, *options)

    monkeypatch.setattr(trainer, "_step", step)
    monkeypatch.setattr(trainer, "score_split", score_split)
    for _ in range(2):
        trainer.state["best"] = -np.inf  # every epoch is the best so far
        trainer._train_epoch()
        trainer._end_epoch()
        (split, scored), (arrays, _) = validated.pop(), checkpoint.read(trainer.out / "best.npz")
        assert split == "validation" and not validated
        saved = [
            arrays[f"{i}:{v.path}"] for i, v in enumerate(trainer.model.decoder.variables) if v.trainable
        ]
        for values in (scored, saved):
            for value, expected in zip(values, average, strict=True):
                np.testing.assert_allclose(value, expected, atol=1e-5)
        # Training continues with the weights themselves.
        for weight, expected in zip(weights, raw, strict=True):
            np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert max(np.abs(a - w).max() for a, w in zip(average, raw, strict=True)) > 0.001


# Mixed precision.


def test_mixed_precision_leaves_cached_features_alone(tmp_path):
    names, precise = [], []
    for mixed in ("false", "true"):
        changes = [*CHANGES, f"xe.mixed_precision={mixed}", "model.train_encoder=false"]
        run = with_changes(RECIPES.build("tiny"), [*changes, f"data.features={tmp_path / 'features'}"])
        try:
            made = train.build(run, tmp_path / mixed, False)
            made.model.run_eagerly = True
            batch = next(iter(made.stage.batches.epoch(0, made.source.training, made.source.key)))
            made._step(batch)
            output = made.model.step(np.zeros(1, np.int32), *made.model.start(batch.inputs["features"][:1]))[
                0
            ]
        finally:
            keras.mixed_precision.set_dtype_policy("float32")
        names.append(sorted(path.name for path in (tmp_path / "features").iterdir()))
        precise.append(keras.backend.standardize_dtype(output.dtype) == "float32")
    assert names[0] == names[1] and precise == [True, False]


def test_mixed_precision_trains_and_keeps_float32_weights(tmp_path):
    run = with_changes(
        RECIPES.build("tiny"), [*CHANGES, "xe.mixed_precision=true", "model.train_encoder=true"]
    )
    try:
        made = train.build(run, tmp_path / "run", False)
        model, before = made.model, [weight.numpy() for weight in made.model.trainable_weights]
        model.run_eagerly = True
        for batch in list(made.stage.batches.epoch(0, made.source.training, made.source.key))[:2]:
            made._step(batch)
        features = model.encode(np.zeros((1, 32, 32, 3), np.uint8))
        output = model.step(np.zeros(1, np.int32), *model.start(features))[0]
        logits = model.head(output)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert (features.dtype.name, output.dtype.name, logits.dtype.name) == ("bfloat16", "bfloat16", "float32")
    assert np.isfinite(made.state["loss"]) and made.state["step"] == 2
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = weight.numpy()
        assert new.dtype == np.float32 and np.isfinite(new).all() and not np.array_equal(new, old), (
            weight.path
        )
    made.save()
    kinds = {array.dtype.name for array in checkpoint.read(tmp_path / "run" / "checkpoint.npz")[0].values()}
    assert "float32" in kinds and kinds <= {"float32", "int32", "int64"}


# What train.py says of wrong input.


def one_error_line(capsys):
    message = capsys.readouterr().err
    assert message.startswith("train.py: ") and message.count("\n") == 1 and "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing_like_it"], "unknown recipe 'nothing_like_it'"),
        (["os:getcwd"], "recipe that returns a Run"),
        (["tiny(epochs=3)"], "option of recipe 'tiny'"),
        (arguments("xe.epoch=3"), "did you mean 'xe.epochs'"),
        (arguments("xe.epochs=three"), "expected xe.epochs to be int, got 'three'"),
        (arguments("xe.epochs=0"), "expected xe.epochs to be 1 or more, got 0"),
        (arguments("xe.batch_images=-4"), "xe.batch_images expects a whole number of at least 1, got -4"),
        (arguments("xe.ema_momentum=1"), "xe.ema_momentum expects a number from 0 to 0.999999, got 1.0"),
        (arguments("xe.learning_rate=nan"), "xe.learning_rate expects a number of at least 0, got nan"),
        (arguments("xe.global_clipnorm=inf"), "xe.global_clipnorm expects a number of at least 0, got inf"),
        (arguments("data.max_bad=2"), "data.max_bad expects a number from 0 to 1, got 2.0"),
        (arguments("evaluation.every=0"), "evaluation.every expects"),
        (arguments("seed=-1"), "seed expects a whole number from 0 to"),
        (arguments("evaluation.strategy=beem(width=3)"), "did you mean 'beam'"),
        (arguments("evaluation.strategy=beam(widht=3)"), "did you mean 'width'"),
        (arguments("evaluation.strategy=beam(width=0)"), "width"),
        (arguments("evaluation.strategy=greedy(banned=['zeppelin'])"), "zeppelin"),
        (arguments("evaluation.tests=test,tset"), "'tset'"),
        (arguments("model.encoder=small_cnm"), "did you mean 'small_cnn'"),
        (arguments("model.encoder=small_cnn(widht=3)"), "did you mean 'width'"),
        (arguments("model.encoder=small_cnn(weights='no.h5')"), "no.h5"),
        (arguments("model.encoder=densenet121", "model.image_size=8"), "densenet121"),
        (arguments("model.decoder=lstn"), "did you mean 'lstm'"),
        (arguments("model.decoder=top_down(cell='grue')"), "did you mean 'gru'"),
        (arguments("model.decoder=lstm(attention='additve')"), "did you mean 'additive'"),
        (arguments("data.source=synthetic_scene"), "did you mean 'synthetic_scenes'"),
        (arguments("data.source=folder(path='no/photos')"), "no/photos"),
        (arguments("data.source=folder(path="), "expected a spec"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_input_is_one_line(words, says, tmp_path, capsys):
    place = tmp_path / "run"
    features = ["--set", f"data.features={tmp_path / 'features'}"] if words[1:] else []
    assert train.main([*words, *features, "--out", str(place)]) == 2
    assert says in one_error_line(capsys)
    assert not place.exists() and not (tmp_path / "features").exists(), "found before any work"


def test_missing_java_is_reported_before_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert train.main([*arguments("evaluation.official=true"), "--out", str(tmp_path / "run")]) == 2
    assert "Java" in one_error_line(capsys) and not (tmp_path / "run").exists()


def test_unwritable_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert train.main([*arguments(), "--out", str(tmp_path / "file" / "run")]) == 2
    assert str(tmp_path / "file" / "run") in one_error_line(capsys)


def test_nan_loss_is_one_line(tmp_path, capsys, monkeypatch):
    losses = [3.0, float("nan")]
    monkeypatch.setattr(CaptionModel, "train_on_batch", lambda *arguments: losses.pop(0))
    assert train.main([*arguments(), "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]  # the progress bar comes before
    assert "train.py: the loss became nan in epoch 1, step 2" in last and "xe.learning_rate" in last
    assert not (tmp_path / "run" / "model").exists()


def test_train_starts_quietly():
    command = [
        sys.executable,
        str(ROOT / "training" / "train.py"),
        "tiny",
        "--set",
        "data.source=folder(path='no')",
    ]
    environment = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("train.py: expected a folder of images") and done.stderr.count("\n") == 1


# Data.


def test_horizontal_flip_changes_training_data_only():
    runs = [
        with_changes(RECIPES.build("tiny"), [*CHANGES, f"data.horizontal_flip={on}"])
        for on in ("false", "true")
    ]
    plain, both = (Source(run) for run in runs)
    assert both.training_captions == plain.training_captions
    assert both.tokenizer.fingerprint == plain.tokenizer.fingerprint
    model = CaptionModel(
        "small_cnn(width=4, stages=1)", CHANGES[3].partition("=")[2], plain.tokenizer, 4, (32, 32)
    )
    for source in (plain, both):
        source.prepare(model)
    assert len(both.caption_groups) == 2 * len(plain.caption_groups)
    assert both.exact_match([""] * 5, "test") == plain.exact_match([""] * 5, "test") == 0.0
    assert not np.array_equal(both.training(np.array([0]), [1]), both.training(np.array([6]), [1]))
