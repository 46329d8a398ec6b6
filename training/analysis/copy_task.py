"""The copy task: repeat the first word at the end of the sequence, which needs long-term memory."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from captioner.errors import SpecError
from captioner.models import DECODERS
from captioner.registry import Spec
from captioner.types import START

SYMBOLS, BATCH = 8, 32


def build_decoder(text: str, units: int, length: int) -> Any:
    """A decoder that is one recurrent cell and nothing else: Show and Tell on features that are all zeros.

    Args:
        text: spec of `CELLS`, or `SPEC*NUMBER` to multiply its recurrent weights, orthogonal when built, by a number.
        units: int. Width.
        length: int. Most words.

    Raises:
        SpecError: for an unknown cell or what is no number.
    """
    spec, star, number = text.partition("*")
    try:
        scale = float(number) if star else 1.0
    except ValueError:
        raise SpecError(f"expected a cell such as 'simple_rnn' or 'simple_rnn*1.5', got {text!r}") from None
    keras.utils.set_random_seed(0)
    sizes = {"units": units, "embedding": 16, "value_dim": 0, "dropout": 0.0}
    try:
        decoder = DECODERS.build(
            Spec("show_and_tell", {"cell": spec, **sizes}), vocabulary_size=4 + SYMBOLS, max_length=length
        )
        with warnings.catch_warnings():
            # Keras warns of the parts of a cell that read a context, which is not there.
            warnings.filterwarnings("ignore", message=".*does not have a `build\\(\\)` method.*")
            decoder.build_on(1, 4)
    except (TypeError, ValueError) as error:
        raise SpecError(f"cell {spec!r} cannot be built: {str(error).splitlines()[0]}") from None
    # Embeddings uniform in -1..1: those of Keras are so small that every cell would be nearly linear.
    decoder.embedding.embeddings.assign(decoder.embedding.embeddings * 20.0)
    kernel = getattr(decoder.cell, "recurrent_projection", decoder.cell.recurrent_kernel).kernel
    kernel.assign(kernel * scale)
    return decoder


def zero_features(count: int) -> np.ndarray:
    """Features [count, 1, 4] that are all zeros."""
    return np.zeros((count, 1, 4), np.float32)


def copy_captions(length: int, seed: int, count: int = BATCH) -> np.ndarray:
    """Random words [count, length]; the last repeats the first."""
    ids = np.random.default_rng(seed).integers(4, 4 + SYMBOLS, (count, length)).astype(np.int32)
    ids[:, -1] = ids[:, 0]
    return ids


def train(decoder: Any, length: int, steps: int) -> float:
    """Trains a decoder to repeat the first word at the end; returns the mean loss of the last ten steps, in nats."""
    optimizer = keras.optimizers.Adam(3e-3, global_clipnorm=1.0)
    weights = decoder.trainable_variables
    optimizer.build(weights)
    features = zero_features(BATCH)

    @tf.function
    def step(words: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            memory, state = decoder.start(features)
            for t in range(length):
                output, _, state = decoder.step(words[:, t], memory, state)
            logits = decoder.head(output)
            loss = tf.reduce_mean(
                keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
            )
        gradients = tape.gradient(loss, [w.value for w in weights])
        optimizer.apply_gradients((g, w) for g, w in zip(gradients, weights, strict=True) if g is not None)
        return loss

    losses = []
    for number in range(steps):
        ids = copy_captions(length, seed=number + 1)
        words = np.concatenate([np.full((len(ids), 1), START, np.int32), ids[:, :-1]], axis=1)
        losses.append(float(step(tf.constant(words), tf.constant(ids[:, -1]))))
    return float(np.mean(losses[-10:]))
