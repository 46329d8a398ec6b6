"""Greedy: the likeliest word, every time."""

from __future__ import annotations

from typing import Any

from captioner.decoding.backend import tf
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import Task
from captioner.decoding.strategy import Choice, Step, Strategy, frozen


class Greedy(Strategy):
    """The likeliest word at every step.

    The cheapest strategy, and the one self-critical training takes as its baseline. Score and
    log-probability are the same.

    Args:
        **rules: options of every strategy, see `RULES`.

    Example:
        >>> Greedy(min_length=3).rows
        1
    """

    n_best_list = False

    def __init__(self, **rules: Any):
        super().__init__(LengthPenalty(0.0), **rules)

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """The first of the likeliest."""
        ids = tf.argmax(step.allowed, axis=-1, output_type=tf.int32)
        word_logp = tf.reduce_max(step.allowed, axis=-1) - step.normaliser[..., 0]
        return Choice(None, *frozen(step.ended, ids, word_logp))
