"""Beam search, and the step that its relatives share."""

from __future__ import annotations

from typing import Any

from captioner import checks
from captioner.decoding.backend import tf
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task
from captioner.decoding.strategy import Choice, Step, Strategy, frozen
from captioner.errors import SpecError


class Beam(Strategy):
    """The `width` likeliest beginnings, kept side by side.

    At every step the beams that live take the likeliest of all their continuations. A beam that has ended
    keeps its place and its score, so a caption that ended early can still win at the end; the beams that live
    share the places left (as in the original Show, Attend and Tell). The search ends when all beams have
    ended, or as soon as no living beam can come among the n best any more, which never changes the outcome.
    Captions cut at `max_length` have no `<end>` and are ranked with the others. With `width=1` it is greedy.

    Args:
        width: int. K, the beams an image. Defaults to `3`.
        length_penalty: float. Alpha of `LengthPenalty` (Wu et al. 2016, equation 14); 0 ranks by
            log-probability. Defaults to `0.6`.
        n_best: int. Captions returned, best first, all different. Defaults to `1`.
        **rules: `rerank` and the options of every strategy, see `Strategy` and `RULES`.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> Beam(width=5, n_best=2).rows
        5
    """

    def __init__(self, width: int = 3, length_penalty: float = 0.6, n_best: int = 1, **rules: Any):
        width, n_best = check_width(width, n_best)
        super().__init__(LengthPenalty(length_penalty), width, n_best, **rules)

    def fit(self, size: int) -> None:
        """Refuses more beams than words."""
        check_size(self.rows, size)

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """The K likeliest continuations of the K beams."""
        return extend(step)


def check_width(width: int, n_best: int) -> tuple[int, int]:
    """Checks the two options that all beams have."""
    width, n_best = checks.integer(width, "width", 1), checks.integer(n_best, "n_best", 1)
    if n_best > width:
        raise SpecError(f"n_best expects at most width={width}, got {n_best}: raise width or lower n_best")
    return width, n_best


def check_size(width: int, size: int) -> None:
    """Checks a width against the vocabulary."""
    if width > size:
        raise SpecError(f"width expects at most the {size} words of the vocabulary, got {width}: lower width")


def extend(step: Step, bonus: tf.Tensor | None = None) -> Choice:
    """The K likeliest continuations of K beams; those that have ended stay.

    Args:
        step: Step.
        bonus: float32 [B, 1, V] or None. Added to the log-probabilities to choose by, not to those reported.

    Returns:
        `Choice`.
    """
    k, size = step.allowed.shape[1:]
    # K candidates a row are enough: no row can place more. This keeps the sort off the K * V words.
    values, ids = tf.math.top_k(step.allowed if bonus is None else step.allowed + bonus, min(k, size))
    word_logp = values - step.normaliser
    ranked = step.logp[..., tf.newaxis] + word_logp
    if bonus is not None:
        word_logp = tf.gather(step.allowed, ids, batch_dims=2) - step.normaliser
    return pick(step, ids, word_logp, ranked)


def stay(step: Step, ranked: tf.Tensor) -> tf.Tensor:
    """`ranked` [B, K, N] with one sure place for each beam that has ended, and none for its continuations."""
    place = tf.constant([-FORBIDDEN] + [2 * FORBIDDEN] * (ranked.shape[2] - 1), tf.float32)
    # Twice the log-probability, so that a dead beam (one that only forbidden words led to) has no place.
    return tf.where(step.ended[..., tf.newaxis], place + 2 * step.logp[..., tf.newaxis], ranked)


def pick(step: Step, ids: tf.Tensor, word_logp: tf.Tensor, ranked: tf.Tensor) -> Choice:
    """The K best of K * N candidates.

    Args:
        step: Step.
        ids: int32 [B, K, N].
        word_logp: float32 [B, K, N].
        ranked: float32 [B, K, N]. What to choose by.
    """
    k, n = ids.shape[1:]
    best = tf.math.top_k(tf.reshape(stay(step, ranked), [-1, k * n]), k).indices
    parents = best // n
    ids, word_logp = (tf.gather(tf.reshape(x, [-1, k * n]), best, batch_dims=1) for x in (ids, word_logp))
    ended = tf.gather(step.ended, parents, batch_dims=1)
    return Choice(parents, *frozen(ended, ids, word_logp))
