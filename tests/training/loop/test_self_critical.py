"""Self-critical training: its gradient is the one of the papers, its rewards are CIDEr-D, and it stops and goes on."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import captioner
from captioner.errors import ModelError, SpecError
from captioner.metrics.cider import CiderD
from captioner.models import CaptionModel
from captioner.text import words
from captioner.types import END
from training import train
from training.analysis import report
from training.config import SelfCritical
from training.loop.losses import CaptionLoss
from training.loop.self_critical import SelfCriticalBatches
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

DECODER = "model.decoder=lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.0)"
CHANGES = [
    "data.source=synthetic_scenes(train=8, validation=3, test=3, test_unseen=2, size=32)",
    "data.max_vocabulary=20",
    "model.encoder=small_cnn(width=4, stages=1)",
    DECODER,
    "model.image_size=32",
    "model.max_length=4",
    "model.train_encoder=false",
    "xe.epochs=1",
    "xe.batch_images=4",
    "xe.warmup=0.1",
    "scst.batch_images=4",
    "evaluation.strategy=greedy",
    "evaluation.every=1",
    "evaluation.tests=test",
]


def run_of(*changes):
    return with_changes(RECIPES.build("tiny"), [*CHANGES, *changes])


@pytest.fixture(scope="module")
def started(quick, no_reports):
    """A finished run of cross-entropy alone."""
    out = Path("first").absolute()
    train.train(run_of(), out, False)
    return out


@pytest.fixture(scope="module")
def built(quick):
    """A trainer with both phases, before its first step."""
    return train.build(run_of("scst.epochs=1"), Path("built"), False)


def batches_of(built, **settings):
    return SelfCriticalBatches(SelfCritical(**{"batch_images": 4, **settings}), built.source, built.model, 1)


def made(batches, step=0):
    images = batches.plan(0)[step]
    return images, batches.make(
        images, batches.source.reader("train")(images), "features", np.array([3, step], np.int32)
    )


# One batch.


@pytest.mark.parametrize("baseline", ["leave_one_out", "greedy"])
def test_gradient_against_the_papers_equation(built, baseline):
    model, settings = built.model, {"samples": 3, "references": 2, "xe_weight": 0.3, "baseline": baseline}
    batches = batches_of(built, **settings)
    images, batch = made(batches)
    features = batches.source.reader("train")(images)
    # By the definition: draw the same again, caption by caption.
    samples, greedy = (
        ids.numpy() for ids in batches._sample(tf.constant(features), np.array([3, 0], np.int32))
    )
    examples = batches.source.examples("train")
    references = [[words(c) for c in e.captions] for e in examples]
    reward = CiderD(corpus=references, count_end=True).prepare(references, built.source.tokenizer.vocabulary)
    captions, advantages = [], []
    for index, image in enumerate(images):
        rewards = reward(samples[index], [image] * 3)
        base = (
            [reward(greedy[index], [image])[0]] * 3 if baseline == "greedy" else (rewards.sum() - rewards) / 2
        )
        for ids, earned, expected in zip(samples[index].tolist(), rewards, base, strict=True):
            captions.append((index, ids[: ids.index(END) + 1] if END in ids else ids))
            advantages.append(earned - expected)
    references_drawn = batches._sample_references(images, np.array([3, 0], np.int32))
    assert len(references_drawn) == 8 and all(
        batches._references[images[index]].count(c) for index, c in references_drawn
    )

    def nll(pairs):
        logp = model.word_logp(features, [c for _, c in pairs], [index for index, _ in pairs])
        return [-logps.sum() for logps in logp], sum(len(c) for _, c in pairs)

    (drawn_nll, drawn_words), (told_nll, told_words) = nll(captions), nll(references_drawn)
    expected_loss = np.dot(advantages, drawn_nll) / drawn_words + 0.3 * sum(told_nll) / told_words
    logits = model(batch.inputs, training=False)
    loss = CaptionLoss(summed=True)(batch.targets, logits, sample_weight=batch.weights)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-4, abs=1e-5)


def test_leave_one_out_baseline(built):
    batches = batches_of(built, samples=4)
    rewards = np.random.default_rng(1).uniform(0, 2, (5, 4))
    advantages = batches.advantages(rewards, np.zeros((5, 0)))
    for i in range(4):
        others = np.delete(rewards, i, axis=1).mean(axis=1)
        np.testing.assert_allclose(advantages[:, i], rewards[:, i] - others)
    np.testing.assert_allclose(batches.advantages(rewards, rewards[:, :1])[:, 0], 0.0)


def test_samples_follow_from_the_seed(built):
    first, again = (list(batches_of(built).epoch(3, built.source.training, "features")) for _ in range(2))
    rest = list(batches_of(built).epoch(3, built.source.training, "features", skip=1))
    assert len(first) == 2 and len(rest) == 1
    for one, two in zip([*first, first[1]], [*again, rest[0]], strict=True):
        assert one.metrics["reward"] == two.metrics["reward"]
        assert one.targets[one.weights != 0].tolist() == two.targets[two.weights != 0].tolist()
    assert sorted(np.concatenate(batches_of(built).plan(3))) == list(range(8))


def test_last_batch_is_filled_up(built):
    plan = batches_of(built, batch_images=3).plan(0)
    assert [len(images) for images in plan] == [3, 3, 3] and plan[2][2] == plan[0][0]


def test_profile_never_shrinks(built):
    batches = batches_of(built, samples=3, references=0)
    short = batches._fit_profile([[5, 2]] * 12)
    assert short[:2] == [12, 12]
    long = batches._fit_profile([[5, 6, 7, 2]] * 12)
    assert len(long) == 4 and set(long) == {12}
    assert batches._fit_profile([[2]] * 12) == long
    assert all(a >= b for a, b in zip(long, long[1:], strict=False))
    # Nor where it grows elsewhere.
    batches = batches_of(built, samples=3, references=0)
    batches._fit_profile([[5, 6, 7, 2], *[[2]] * 11])
    assert batches._fit_profile([[5, 2]] * 12)[:2] == [12, 12] and len(batches.profile) == 4


# Whole runs.


def rows(out):
    with (out / "history.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_cross_entropy_then_self_critical_in_one_run(tmp_path):
    metrics = train.train(run_of("scst.epochs=2", "scst.learning_rate=1e-3"), tmp_path / "run", False)
    assert report.write([tmp_path / "run"]).is_file()
    history = rows(tmp_path / "run")
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert (
        not history[0]["reward"]
        and float(history[1]["reward"]) >= 0
        and float(history[2]["reward_seconds"]) > 0
    )
    assert metrics["epoch"] in (1, 2, 3)
    card = captioner.bundle.read(tmp_path / "run" / "model").card
    assert "cross-entropy, 1 epochs at most, then self-critical on CIDEr-D, 2 epochs at most" in card


def test_from_a_finished_model_alone(started, tmp_path):
    start = [f"model.init_from={started / 'model'}", "xe.epochs=0", "scst.epochs=1"]
    run = run_of(*start, "scst.learning_rate=0")
    train.train(run, tmp_path / "run", False)
    # With nothing learnt it is the model that it began with.
    first, then = (captioner.load(out / "model").engine.model for out in (started, tmp_path / "run"))
    for one, two in zip(first.decoder.weights, then.decoder.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-6)
    card = captioner.bundle.read(tmp_path / "run" / "model").card
    assert f"initial weights: those of `{started / 'model'}`" in card and "cross-entropy" not in card


def test_from_a_model_of_another_vocabulary(started, tmp_path):
    """Self-critical training reads its words by the ids of the new vocabulary."""
    start = [f"model.init_from={started / 'model'}", "xe.epochs=0", "scst.epochs=1", "data.max_vocabulary=12"]
    train.train(run_of(*start, "scst.learning_rate=0"), tmp_path / "run", False)
    first, then = (captioner.load(out / "model").engine.model for out in (started, tmp_path / "run"))
    vectors = [
        dict(
            zip(model.tokenizer.vocabulary, model.decoder.embedding.embeddings.numpy().tolist(), strict=True)
        )
        for model in (first, then)
    ]
    assert len(vectors[1]) == 16 < len(vectors[0])
    for word, vector in vectors[1].items():
        assert vector == pytest.approx(vectors[0][word], abs=1e-6)


def test_each_image_comes_as_often_as_repeats_say(built, monkeypatch):
    data = dataclasses.replace(built.source.run.data, repeats=3)
    monkeypatch.setattr(built.source, "run", dataclasses.replace(built.source.run, data=data))
    plan = batches_of(built).plan(2)
    counts = np.bincount(np.concatenate(plan), minlength=8)
    assert len(plan) == 6 and counts.tolist() == [3] * 8
    first = np.concatenate(plan)[:8]
    assert sorted(first) == list(range(8)), "all images before the first comes again"


def test_rewards_rise_with_training(started, tmp_path):
    """On images that it trains on, the reward of samples must climb, or the gradient points elsewhere."""
    start = [f"model.init_from={started / 'model'}", "xe.epochs=0", "scst.epochs=30", "evaluation.every=30"]
    train.train(
        run_of(
            *start, "scst.learning_rate=0.03", "scst.xe_weight=0", "scst.samples=8", "scst.ema_momentum=0"
        ),
        tmp_path / "run",
        False,
    )
    rewards = [float(row["reward"]) for row in rows(tmp_path / "run")]
    assert np.mean(rewards[-10:]) > 1.2 * np.mean(rewards[:3])


@pytest.fixture(scope="module")
def never_stopped(quick, no_reports):
    """The folder of a run with both stages, and its metrics."""
    out = Path("whole").absolute()
    return out, train.train(run_of("scst.epochs=1", "checkpoint_minutes=0"), out, False)


@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_resumed_in_either_stage(never_stopped, tmp_path, monkeypatch, at):
    folder, complete = never_stopped
    run = run_of("scst.epochs=1", "checkpoint_minutes=0")
    real, steps = CaptionModel.train_on_batch, []

    def stopping(self, *arguments, **more):
        steps.append(1)
        if len(steps) == at + 1:
            raise KeyboardInterrupt
        return real(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionModel, "train_on_batch", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.train(run, tmp_path / "cut", False)
    resumed = train.train(run, tmp_path / "cut", True)
    assert resumed["test"] == pytest.approx(complete["test"]) and resumed["epoch"] == complete["epoch"]
    one, two = (json.loads((out / "predictions_test.json").read_text()) for out in (folder, tmp_path / "cut"))
    assert one == two
    for left, right in zip(rows(folder), rows(tmp_path / "cut"), strict=True):
        assert float(left["loss"]) == pytest.approx(float(right["loss"]), abs=1e-5)


# Mistakes.


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (["xe.epochs=0"], SpecError, "expected xe.epochs to be 1 or more"),
        (["xe.epochs=0", "scst.epochs=1"], SpecError, "model.init_from to begin from"),
        (["scst.samples=1"], SpecError, "scst.samples expects a whole number of at least 2, got 1"),
        (["scst.baseline=greed"], SpecError, "did you mean 'greedy'"),
        (["scst.temperature=0"], SpecError, "scst.temperature"),
        (["model.init_from=nowhere"], captioner.CaptionerError, "nowhere"),
        (
            ["model.init_from=START", DECODER.replace("units=8, emb", "units=9, emb")],
            ModelError,
            "does not fit",
        ),
    ],
)
def test_wrong_initial_model_is_one_line(started, tmp_path, changes, error, says):
    settings = [change.replace("START", str(started / "model")) for change in changes]
    with pytest.raises(error, match=says) as caught:
        train.train(run_of(*settings), tmp_path / "run", False)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
