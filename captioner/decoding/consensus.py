"""Consensus: of the captions that a beam search finds, the one that most resembles the others, or those to expect."""

from __future__ import annotations

from typing import Any

import numpy as np

from captioner import checks
from captioner.decoding.backend import tf
from captioner.decoding.ngrams import ORDERS, ngrams
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task, possible
from captioner.decoding.strategies.beam import check_size, check_width, extend
from captioner.decoding.strategy import Choice, Step, Strategy
from captioner.errors import SpecError
from captioner.registry import unknown
from captioner.types import END, PAD, Hypotheses

_EVIDENCE = ("beam", "image")


class Consensus(Strategy):
    """Minimum Bayes risk over a beam: the caption whose expected gain is highest.

    Kumar & Byrne 2004, "Minimum Bayes-Risk Decoding for Statistical Machine Translation". The captions of a beam
    search are the candidates, and by default the evidence as well: the gain of caption a, were b the right one, is
    the F1 of their n-grams, averaged over n = 1 ... 4; b counts by its probability to the power of `sharpness`, and
    a caption's `score` is its expected gain, from 0 to 1.

    With `evidence="image"` the gain is the CIDEr-D (not x100) that people's captions of such an image would give,
    which the model has learnt to expect (`captioner.decoding.expectation`), plus `fluency` times the mean
    log-probability of the caption's ids, the end included; that sum is the `score`.

    Args:
        width: int. K, the beams an image, all of which vote. Defaults to `10`.
        sharpness: float, 0 or more. At 0 all captions count alike, at 1 by their probabilities. Defaults to `0.2`.
            Without a meaning where the image is the evidence.
        evidence: "beam" or "image", see above. Defaults to `"beam"`.
        fluency: float, 0 or more. What a nat a word is worth beside the image's evidence. Defaults to `0.3`.
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
        evidence: str = "beam",
        fluency: float = 0.3,
        **rules: Any,
    ):
        width, n_best = check_width(width, n_best)
        if evidence not in _EVIDENCE:
            raise SpecError(unknown("evidence", str(evidence), _EVIDENCE))
        self.sharpness = checks.number(sharpness, "sharpness", 0.0, 1e3)
        self.fluency = checks.number(fluency, "fluency", 0.0, 1e3)
        super().__init__(LengthPenalty(), width, n_best, **rules)
        self.candidates, self.looks = width, evidence == "image"

    def fit(self, size: int) -> None:
        """Refuses more beams than words."""
        check_size(self.rows, size)

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """The K likeliest continuations of the K beams."""
        return extend(step)

    def look(self, model: Any, features: tf.Tensor) -> Any:
        """What the model expects of the images, where they are the evidence."""
        if not self.looks:
            return None
        expectation = getattr(model, "expectation", None)
        if expectation is None:
            raise SpecError(
                "consensus(evidence='image') expects a model that has learnt what people say of such images, got "
                "one that has not, or a .tflite file, which cannot hold it: run training/expect.py on the model "
                "folder, or choose evidence='beam'"
            )
        return expectation, expectation.seen(features)

    def finish(self, found: Hypotheses, looked: Any) -> Hypotheses:
        """The captions of the highest expected gain."""
        real = possible(found.logp)
        if looked is None:
            weight = tf.where(real, self.sharpness * found.logp, FORBIDDEN)
            gain = tf.reduce_sum(alike(found.ids) * tf.nn.softmax(weight)[:, tf.newaxis], axis=-1)
        else:
            expectation, seen = looked
            words = tf.cast(tf.maximum(found.lengths, 1), tf.float32)
            gain = expectation.gain(seen, found.ids) + self.fluency * found.logp / words
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
        >>> from captioner.decoding.backend import numpy_arrays
        >>> with numpy_arrays():
        ...     alike(np.array([[[5, 6, 7, 2], [5, 6, 2, 0]]], np.int32))[0, 0]
        array([1.        , 0.36666667], dtype=float32)
    """
    k, length = ids.shape[1:]
    lengths = tf.reduce_sum(tf.cast((ids != PAD) & (ids != END), tf.int32), axis=-1)
    total = 0.0
    for n, grams, whole in ngrams(ids):
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
    return tf.where(itself > 0, 1.0, total / ORDERS)
