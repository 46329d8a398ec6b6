"""Consensus: of the captions that a beam search finds, the one that most resembles the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from captioner.decoding.arrays import tf
from captioner.decoding.beam import check_size, check_width, extend
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task, possible
from captioner.decoding.strategy import Choice, Step, Strategy
from captioner.errors import SpecError
from captioner.types import END, PAD, Hypotheses

_ORDERS = 4
# Runs of words become numbers by a polynomial in this, modulo 2 ** 32: two that differ almost never meet.
_BASE = 1_000_003


class Consensus(Strategy):
    """Minimum Bayes risk over a beam: the caption that is likest all captions found, by shared runs of words.

    Kumar & Byrne 2004, "Minimum Bayes-Risk Decoding for Statistical Machine Translation", with the
    captions of a beam search for evidence and candidates alike. The gain of caption a, were b the right one, is the
    F1 of their n-grams, averaged over n = 1 ... 4; b counts by its probability to the power of `sharpness`. A
    caption's `score` is its expected gain, from 0 to 1.

    Args:
        width: int. K, the beams an image, all of which vote. Defaults to `10`.
        sharpness: float, 0 or more. At 0 all captions count alike, at 1 by their probabilities. Defaults to `0.2`.
        n_best: int. Captions returned, best first. Defaults to `1`.
        **rules: options of every strategy, see `RULES`.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> Consensus(width=5).candidates, Consensus(width=5).n_best
        (5, 1)
    """

    def __init__(
        self,
        width: int = 10,
        sharpness: float = 0.2,
        n_best: int = 1,
        **rules: Any,
    ):
        width, n_best = check_width(width, n_best)
        number = isinstance(sharpness, int | float) and not isinstance(sharpness, bool)
        if not number or not 0 <= sharpness < math.inf:
            raise SpecError(f"sharpness expects a number of at least 0, got {sharpness!r}")
        self.sharpness = float(sharpness)
        super().__init__(LengthPenalty(), width, n_best, **rules)
        self.candidates = width

    def fit(self, size: int) -> None:
        """Refuses more beams than words."""
        check_size(self.rows, size)

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """The K likeliest continuations of the K beams."""
        return extend(step)

    def finish(self, found: Hypotheses) -> Hypotheses:
        """The captions of the highest expected gain."""
        real = possible(found.logp)
        weight = tf.where(real, self.sharpness * found.logp, FORBIDDEN)
        gain = tf.reduce_sum(alike(found.ids) * tf.nn.softmax(weight)[:, tf.newaxis], axis=-1)
        gain = tf.where(real, gain, FORBIDDEN)
        score, best = tf.math.top_k(gain, self.n_best)
        chosen = Hypotheses(*(tf.gather(leaf, best, batch_dims=1) for leaf in found))
        return chosen._replace(score=score)


def alike(ids: tf.Tensor) -> tf.Tensor:
    """How much captions resemble one another: F1 of their n-grams, averaged over n = 1 ... 4.

    Args:
        ids: int32 [B, K, T], `<pad>` behind the end. The end itself is no word.

    Returns:
        float32 [B, K, K], symmetric, 1 on the diagonal.

    Example:
        >>> from captioner.decoding.arrays import numpy_arrays
        >>> with numpy_arrays():
        ...     alike(np.array([[[5, 6, 7, 2], [5, 6, 2, 0]]], np.int32))[0, 0]
        array([1.        , 0.36666667], dtype=float32)
    """
    k, length = ids.shape[1:]
    said = (ids != PAD) & (ids != END)
    lengths = tf.reduce_sum(tf.cast(said, tf.int32), axis=-1)
    total = 0.0
    grams, whole = ids, said
    for n in range(1, min(_ORDERS, length) + 1):
        if n > 1:
            grams = grams[:, :, :-1] * _BASE + ids[:, :, n - 1 :]
            whole = said[:, :, n - 1 :]  # a caption's words have no gaps
        places = length - n + 1
        flat = tf.reshape(grams, [-1, k * places])
        real = tf.cast(tf.reshape(whole, [-1, k * places]), tf.float32)
        same = tf.cast(flat[:, :, tf.newaxis] == flat[:, tf.newaxis], tf.float32) * real[:, tf.newaxis]
        # An n-gram is shared as often as the caption that has it less often says it.
        which = tf.reduce_sum(same * np.kron(np.eye(k), np.tri(places)).astype(np.float32), axis=-1)
        times = tf.reduce_sum(tf.reshape(same, [-1, k * places * k, places]), axis=-1)
        shared = tf.cast(which[:, :, tf.newaxis] <= tf.reshape(times, [-1, k * places, k]), tf.float32)
        shared = tf.reduce_sum(tf.reshape(shared * real[:, :, tf.newaxis], [-1, k, places, k]), axis=2)
        count = tf.cast(tf.maximum(lengths - (n - 1), 0), tf.float32)
        both = count[:, :, tf.newaxis] + count[:, tf.newaxis]
        total += 2.0 * shared / tf.maximum(both, 1.0)
    itself = np.eye(k, dtype=np.float32)
    return tf.where(itself > 0, 1.0, total / _ORDERS)
