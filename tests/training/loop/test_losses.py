"""Losses against their definitions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.models.packing import pack
from captioner.types import START
from tests.support.models.tiny_model import build_tiny_model
from training.data.batches import CaptionGroup, PackedBatches
from training.loop.losses import CaptionLoss


def softmax(logits):
    exact = np.exp(logits - logits.max(-1, keepdims=True))
    return exact / exact.sum(-1, keepdims=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing_against_its_equation(smoothing):
    random = np.random.default_rng(1)
    logits, ids = random.normal(0, 3, (9, 12)), random.integers(0, 12, 9)
    weights = np.array([1, 1, 0, 1, 0, 1, 1, 1, 0], np.float32)
    target = (1 - smoothing) * np.eye(12)[ids] + smoothing / 12
    losses = -(target * np.log(softmax(logits))).sum(-1)
    loss = CaptionLoss(smoothing)(ids, logits.astype(np.float32), sample_weight=weights)
    assert float(loss) == pytest.approx((losses * weights).sum() / weights.sum(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_gradient_is_softmax_minus_target(smoothing):
    random = np.random.default_rng(4)
    logits, ids = random.normal(0, 3, (6, 12)).astype(np.float32), random.integers(0, 12, 6)
    logits[0], logits[1, ids[1]] = 40 * logits[0], -200.0
    weights = np.array([1, -2, 0, 0.5, 3, 1], np.float32)
    target = (1 - smoothing) * np.eye(12)[ids] + smoothing / 12
    variable = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        losses = CaptionLoss(smoothing, summed=True).call(ids, variable)
        loss = tf.reduce_sum(losses * weights)
    exact = logits.astype(np.float64)
    logp = exact - exact.max(-1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(-1, keepdims=True))
    np.testing.assert_allclose(losses, -(target * logp).sum(-1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(loss, variable), weights[:, None] * (np.exp(logp) - target), rtol=1e-4, atol=1e-6
    )


def test_training_loss_is_the_mean_over_words():
    model = build_tiny_model("lstm(units=8, embedding=8, value_dim=8, dropout=0.0)")
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=CaptionLoss(), run_eagerly=True)
    caption_groups = [
        CaptionGroup(0, [[4, 5, 2], [6, 2]]),
        CaptionGroup(1, [[7, 8, 9, 4, 2]]),
        CaptionGroup(2, [[5, 2]]),
    ]
    pixels = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)
    features = model.encode(pixels).numpy()
    batches = PackedBatches(caption_groups, 2, 2, seed=1)
    for batch, chosen in zip(
        batches.epoch(0, lambda index, seed: features[index], "features"), batches.plan(0), strict=True
    ):
        captions = [
            (caption_groups[v].image, caption) for v in chosen for caption in caption_groups[v].captions
        ]
        logp = model.word_logp(features, [c for _, c in captions], [i for i, _ in captions])
        model.reset_metrics()
        loss = float(model.train_on_batch(batch.inputs, batch.targets, batch.weights))
        assert loss == pytest.approx(-np.concatenate(logp).mean(), rel=1e-4)


def test_attention_penalty_is_doubly_stochastic_attention():
    model = build_tiny_model("lstm(units=8, embedding=8, value_dim=8, dropout=0.0)")
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
