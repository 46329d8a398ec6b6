"""Ranking: the score of a caption from its log-probability and its length."""

from __future__ import annotations

from typing import Any

from captioner import checks
from captioner.decoding.backend import Array, xp
from captioner.decoding.rules import FORBIDDEN, possible


class LengthPenalty:
    """Length normalisation: divides a log-probability by a power of the length, which favours longer captions.

    `score = logp / ((5 + n) / 6) ** alpha` with n ids, `<end>` included (Wu et al. 2016, "Google's Neural
    Machine Translation System", equation 14, without the coverage term). With `alpha=0` the score is the
    log-probability; the larger alpha, the longer the captions.

    Args:
        alpha: float, 0 or more. Defaults to `0.0`.

    Example:
        >>> import tensorflow as tf
        >>> LengthPenalty(1.0).score(tf.constant([-2.0]), tf.constant([7])).numpy()
        array([-1.], dtype=float32)
    """

    def __init__(self, alpha: float = 0.0):
        # Beyond 10 the power of a long caption leaves the range of float32.
        self.alpha = checks.number(alpha, "length_penalty", 0.0, 10.0)

    def score(self, logp: Array, lengths: Any) -> Array:
        """Scores of log-probabilities; both arguments have the same, arbitrary shape."""
        if not self.alpha:
            return logp
        return logp / ((5.0 + xp.cast(lengths, xp.float32)) / 6.0) ** self.alpha

    def settled(self, logp: Array, lengths: Array, ended: Array, n_best: int, max_length: int) -> Array:
        """Whether no unfinished beam can still be among the n best: bool [B]. The search then stops early.

        Exact: a log-probability only falls, so `logp` over the penalty of the longest caption is an upper bound
        of every future score of a beam. On equality the search goes on, so stopping never decides a tie.

        Args:
            logp: float32 [B, K].
            lengths: int32 [B, K].
            ended: bool [B, K].
            n_best: int.
            max_length: int. T.
        """
        unfinished = ~ended & possible(logp)
        bound = self.score(xp.reduce_max(xp.where(unfinished, logp, 2 * FORBIDDEN), axis=1), max_length)
        finals = xp.where(ended, self.score(logp, lengths), 2 * FORBIDDEN)
        nth = xp.reduce_max(finals, axis=1) if n_best == 1 else xp.math.top_k(finals, n_best).values[:, -1]
        return (bound < nth) | ~xp.reduce_any(unfinished, axis=1)
