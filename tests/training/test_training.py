"""Losses against their definitions, precision, what train.py says of wrong input, and scoring a model folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import captioner
from captioner.models import CaptionModel
from captioner.models.packing import pack
from captioner.types import START
from tests.support.tiny_model import build_tiny_model
from training import evaluate, train
from training.config import with_changes
from training.data.batches import PackedBatches, Visit
from training.data.source import Source
from training.loop import checkpoint
from training.loop.losses import CaptionLoss
from training.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("quick")

ROOT = Path(__file__).parents[2]
SOURCE = "synthetic_scenes(train=6, validation=3, test=5, test_unseen=2, size=32)"
CHANGES = [
    f"data.source={SOURCE}",
    "data.max_vocabulary=20",
    "model.encoder=small_cnn(width=4, stages=1)",
    "model.decoder=lstm(units=8, embedding=8, depth=8, attention='additive(units=8)', dropout=0.1)",
    "model.image_size=32",
    "model.max_length=4",
    "model.train_encoder=false",
    "xe.epochs=1",
    "xe.batch_images=4",
    "xe.ema=0.9",
    "evaluation.strategy=greedy",
    "evaluation.tests=test",
]


def arguments(*changes):
    return ["tiny", *(part for change in [*CHANGES, *changes] for part in ("--set", change))]


@pytest.fixture(scope="module")
def trained(quick):
    """The folder of a finished run; its feature cache is beside it."""
    out = Path("run").absolute()
    run = with_changes(RECIPES.build("tiny"), CHANGES)
    train.train(run, out, False)
    return out


# Losses.


def softmax(logits):
    exact = np.exp(logits - logits.max(-1, keepdims=True))
    return exact / exact.sum(-1, keepdims=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing_is_cross_entropy_with_the_mixed_target(smoothing):
    random = np.random.default_rng(1)
    logits, ids = random.normal(0, 3, (9, 12)), random.integers(0, 12, 9)
    weights = np.array([1, 1, 0, 1, 0, 1, 1, 1, 0], np.float32)
    target = (1 - smoothing) * np.eye(12)[ids] + smoothing / 12
    each = -(target * np.log(softmax(logits))).sum(-1)
    loss = CaptionLoss(smoothing)(ids, logits.astype(np.float32), sample_weight=weights)
    assert float(loss) == pytest.approx((each * weights).sum() / weights.sum(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradient_of_the_loss_is_softmax_less_target_however_far_apart_logits_are(smoothing):
    random = np.random.default_rng(4)
    logits, ids = random.normal(0, 3, (6, 12)).astype(np.float32), random.integers(0, 12, 6)
    logits[0], logits[1, ids[1]] = 40 * logits[0], -200.0
    worth = np.array([1, -2, 0, 0.5, 3, 1], np.float32)
    target = (1 - smoothing) * np.eye(12)[ids] + smoothing / 12
    given = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        each = CaptionLoss(smoothing, summed=True).call(ids, given)
        loss = tf.reduce_sum(each * worth)
    exact = logits.astype(np.float64)
    logp = exact - exact.max(-1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(-1, keepdims=True))
    np.testing.assert_allclose(each, -(target * logp).sum(-1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(loss, given), worth[:, None] * (np.exp(logp) - target), rtol=1e-4, atol=1e-6
    )


def test_loss_in_training_is_the_mean_over_words_whatever_the_batch_is_filled_up_with():
    model = build_tiny_model("lstm(units=8, embedding=8, depth=8, dropout=0.0)")
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=CaptionLoss(), run_eagerly=True)
    visits = [Visit(0, [[4, 5, 2], [6, 2]]), Visit(1, [[7, 8, 9, 4, 2]]), Visit(2, [[5, 2]])]
    pixels = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)
    features = model.encode(pixels).numpy()
    batches = PackedBatches(visits, 2, 2, seed=1)
    for batch, chosen in zip(
        batches.epoch(0, lambda index, seed: features[index], "features"), batches.plan(0), strict=True
    ):
        captions = [(visits[v].image, caption) for v in chosen for caption in visits[v].captions]
        logp = model.word_logp(features, [c for _, c in captions], [i for i, _ in captions])
        model.reset_metrics()
        loss = float(model.train_on_batch(batch.inputs, batch.targets, batch.weights))
        assert loss == pytest.approx(-np.concatenate(logp).mean(), rel=1e-4)


def test_attention_penalty_is_doubly_stochastic_attention():
    model = build_tiny_model("lstm(units=8, embedding=8, depth=8, dropout=0.0)")
    captions, owners = [[4, 5, 6, 2], [7, 2], [8, 9, 2]], [0, 0, 1]
    features = np.random.default_rng(3).normal(size=(2, 16, 12)).astype(np.float32)
    expected = []
    for caption, owner in zip(captions, owners, strict=True):
        memory, state = model.start(features[owner : owner + 1])
        total = np.zeros(16)
        for word in [START, *caption[:-1]]:
            _, attention, state = model.step(np.array([word], np.int32), memory, state)
            total += attention.numpy()[0]
        expected.append(((1 - total) ** 2).sum())
    # Rows that only fill the profile, and steps after a caption's end, count nothing.
    packed = pack(captions, owners, batch=2, group=3, profile=[6, 5, 3, 2, 1])
    inputs = {"features": features, **packed.as_inputs()}
    model.attention_penalty = 0.7
    model(inputs, training=True)
    assert [float(loss) for loss in model.losses] == [pytest.approx(0.7 * np.mean(expected), rel=1e-4)]
    # And it is part of what a training step minimises.
    losses = []
    for penalty in (0.0, 0.7):
        model.attention_penalty = penalty
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss=CaptionLoss(), run_eagerly=True)
        losses.append(float(model.train_on_batch(inputs, packed.targets, packed.weights)))
    assert losses[1] - losses[0] == pytest.approx(0.7 * np.mean(expected), rel=1e-3)


def test_mixed_precision_leaves_features_that_are_kept_as_they_are(tmp_path):
    names, precise = [], []
    for mixed in ("false", "true"):
        changes = [*CHANGES, f"xe.mixed_precision={mixed}", "model.train_encoder=false"]
        run = with_changes(RECIPES.build("tiny"), [*changes, f"data.features={tmp_path / 'features'}"])
        try:
            made = train.build(run, tmp_path / mixed, False)
            made.model.run_eagerly = True
            batch = next(iter(made.phase.batches.epoch(0, made.source.training, made.source.key)))
            made._step(batch)
            output = made.model.step(np.zeros(1, np.int32), *made.model.start(batch.inputs["features"][:1]))[
                0
            ]
        finally:
            keras.mixed_precision.set_dtype_policy("float32")
        names.append(sorted(each.name for each in (tmp_path / "features").iterdir()))
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
        for batch in list(made.phase.batches.epoch(0, made.source.training, made.source.key))[:2]:
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


def said(capsys):
    message = capsys.readouterr().err
    assert message.startswith("train.py: ") and message.count("\n") == 1 and "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["nothing_like_it"], "unknown recipe 'nothing_like_it'"),
        (["os:getcwd"], "recipe that returns a Run"),
        (["tiny(epochs=3)"], "option of recipe 'tiny'"),
        (arguments("xe.epoch=3"), "did you mean 'xe.epochs'"),
        (arguments("xe.epochs=three"), "expected xe.epochs to be int, got 'three'"),
        (arguments("xe.epochs=0"), "expected xe.epochs to be 1 or more, got 0"),
        (arguments("xe.batch_images=-4"), "xe.batch_images expects a whole number of at least 1, got -4"),
        (arguments("xe.ema=1"), "xe.ema expects a number from 0 to 0.999999, got 1.0"),
        (arguments("xe.learning_rate=nan"), "xe.learning_rate expects a number of at least 0, got nan"),
        (arguments("xe.clip=inf"), "xe.clip expects a number of at least 0, got inf"),
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
def test_wrong_input_is_one_line_and_costs_nothing(given, says, tmp_path, capsys):
    place = tmp_path / "run"
    features = ["--set", f"data.features={tmp_path / 'features'}"] if given[1:] else []
    assert train.main([*given, *features, "--out", str(place)]) == 2
    assert says in said(capsys)
    assert not place.exists() and not (tmp_path / "features").exists(), "found before any work"


def test_official_scores_without_java_are_refused_before_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert train.main([*arguments("evaluation.official=true"), "--out", str(tmp_path / "run")]) == 2
    assert "Java" in said(capsys) and not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert train.main([*arguments(), "--out", str(tmp_path / "file" / "run")]) == 2
    assert str(tmp_path / "file" / "run") in said(capsys)


def test_a_loss_that_is_no_number_is_one_line(tmp_path, capsys, monkeypatch):
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


# Scoring a model folder.


def score(capsys, *options):
    code = evaluate.main([*options])
    out, err = capsys.readouterr()
    return code, out, err


def test_evaluate_says_what_training_said(trained, tmp_path, capsys):
    predictions = tmp_path / "said.json"
    common = [str(trained / "model"), SOURCE, "--strategy", "greedy", "--json"]
    code, out, err = score(capsys, *common, "--predictions", str(predictions))
    assert code == 0 and "5 images, features cached" in err
    found, figures = json.loads(out), json.loads((trained / "metrics.json").read_text())["test"]
    assert found["split"] == "test" and found["images"] == 5
    assert found["figures"]["greedy"] == pytest.approx(figures)
    assert json.loads(predictions.read_text()) == json.loads((trained / "predictions_test.json").read_text())
    # Without the cache the same, as far as float16 goes.
    code, out, err = score(
        capsys, *common, "--features", str(tmp_path / "none"), "--predictions", str(predictions)
    )
    assert code == 0 and "images read" in err and not (tmp_path / "none").exists()
    assert set(json.loads(predictions.read_text())) == {f"test-{i:06d}" for i in range(5)}
    assert json.loads(out)["figures"]["greedy"].keys() == figures.keys()


def test_evaluate_takes_what_was_exported(trained, tmp_path, capsys):
    pytest.importorskip("ai_edge_litert")
    lite = captioner.export(trained / "model", ["tflite"], into=tmp_path)["tflite"]
    common = [SOURCE, "--strategy", "greedy", "--json", "--features", str(tmp_path / "none")]
    figures = []
    for model in (lite, trained / "model"):
        code, out, err = score(capsys, str(model), *common)
        assert code == 0 and "5 images, images read" in err
        figures.append(json.loads(out)["figures"]["greedy"])
    assert figures[0] == pytest.approx(figures[1])


def test_training_sets_images_aside_to_calibrate_with(trained):
    found = sorted((trained / "calibration").iterdir())
    assert 0 < len(found) <= 128
    with PIL.Image.open(found[0]) as image:
        assert image.size == (32, 32)


def test_evaluate_compares_strategies_on_any_split(trained, capsys):
    specs = ["greedy", "beam(width=2)", "beam(width=1)"]
    options = [part for spec in specs for part in ("--strategy", spec)]
    code, out, _ = score(
        capsys, str(trained / "model"), SOURCE, "--split", "validation", "--limit", "2", *options
    )
    lines = out.splitlines()
    assert code == 0 and [line.split("  ")[0] for line in lines] == ["strategy", *specs]
    names = [name for name in lines[0].split("  ") if name.strip()]
    assert {"CIDEr-D", "BLEU-4", "exact match"} <= {name.strip() for name in names}
    rows = dict(zip(specs, (line.split()[1:] for line in lines[1:]), strict=True))
    assert rows["greedy"] == rows["beam(width=1)"] and all(
        len(row) == len(names) - 1 for row in rows.values()
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["no/model", SOURCE], "no/model"),
        (["MODEL", "synthetic_scene"], "did you mean 'synthetic_scenes'"),
        (["MODEL", "folder(path='no')"], "found no such folder"),
        (["MODEL", SOURCE, "--split", "tset"], "'tset'"),
        (["MODEL", SOURCE, "--strategy", "beem"], "did you mean 'beam'"),
        (["MODEL", SOURCE, "--limit", "-1"], "--limit expects a whole number of at least 0"),
        (
            ["MODEL", SOURCE, "--strategy", "greedy", "--strategy", "beam", "--predictions", "x"],
            "one --strategy",
        ),
        (["MODEL", SOURCE, "--limit", "1", "--predictions", "MODEL/captioner.json/x"], "captioner.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_evaluate_tells_wrong_input_in_one_line(options, says, trained, capsys):
    given = [option.replace("MODEL", str(trained / "model")) for option in options]
    code, out, err = score(capsys, *given)
    last = err.splitlines()[-1]
    assert code == 2 and out == "" and last.startswith("evaluate.py: ") and says in last
    assert "Traceback" not in err


# Data.


def test_the_mirror_changes_what_is_trained_on_and_nothing_else():
    runs = [with_changes(RECIPES.build("tiny"), [*CHANGES, f"data.mirror={on}"]) for on in ("false", "true")]
    plain, both = (Source(run) for run in runs)
    assert both.training_captions == plain.training_captions
    assert both.tokenizer.fingerprint == plain.tokenizer.fingerprint
    model = CaptionModel(
        "small_cnn(width=4, stages=1)", CHANGES[3].partition("=")[2], plain.tokenizer, 4, (32, 32)
    )
    for source in (plain, both):
        source.prepare(model)
    assert len(both.visits) == 2 * len(plain.visits)
    assert both.exact_match([""] * 5, "test") == plain.exact_match([""] * 5, "test") == 0.0
    assert not np.array_equal(both.training(np.array([0]), [1]), both.training(np.array([6]), [1]))
