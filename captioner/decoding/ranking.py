"""Ranking: the score of a caption from its log-probability and its length."""

from __future__ import annotations

from typing import Any

from captioner import checks
from captioner.decoding.backend import tf
from captioner.decoding.rules import FORBIDDEN, possible


class LengthPenalty:
    """Divides a log-probability by a power of the length, so that long captions are not at a loss.

    `score = logp / ((5 + n) / 6) ** alpha` with n ids, `<end>` included (Wu et al. 2016, "Google's Neural
    Machine Translation System", equation 14, without the coverage term). With `alpha=0` the score is the
    log-probability; the larger alpha, the longer the captions.

    Args:
        alpha: float, 0 or more. Defaults to `0.0`.

    Example:
        >>> LengthPenalty(1.0).score(tf.constant([-2.0]), tf.constant([7])).numpy()
        array([-1.], dtype=float32)
    """

    def __init__(self, alpha: float = 0.0):
        # Beyond 10 the power of a long caption leaves the range of float32.
        self.alpha = checks.number(alpha, "length_penalty", 0.0, 10.0)

    def score(self, logp: tf.Tensor, lengths: Any) -> tf.Tensor:
        """Scores of any shape."""
        if not self.alpha:
            return logp
        return logp / ((5.0 + tf.cast(lengths, tf.float32)) / 6.0) ** self.alpha

    def settled(
        self, logp: tf.Tensor, lengths: tf.Tensor, ended: tf.Tensor, n_best: int, max_length: int
    ) -> tf.Tensor:
        """Whether no living beam can still come among the n best: bool [B].

        Exact: a log-probability only falls, so `logp` over the penalty of the longest caption bounds every
        future score of a beam. Equality counts as a chance, so a stop never changes the outcome of a tie.

        Args:
            logp: float32 [B, K].
            lengths: int32 [B, K].
            ended: bool [B, K].
            n_best: int.
            max_length: int. T.
        """
        alive = ~ended & possible(logp)
        bound = self.score(tf.reduce_max(tf.where(alive, logp, 2 * FORBIDDEN), axis=1), max_length)
        finals = tf.where(ended, self.score(logp, lengths), 2 * FORBIDDEN)
        nth = tf.reduce_max(finals, axis=1) if n_best == 1 else tf.math.top_k(finals, n_best).values[:, -1]
        return (bound < nth) | ~tf.reduce_any(alive, axis=1)
