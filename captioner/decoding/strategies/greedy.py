"""Greedy search: the likeliest word at every step."""

from __future__ import annotations

from typing import Any

from captioner.decoding.backend import xp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import Task
from captioner.decoding.strategy import Choice, Step, Strategy, freeze_ended


class Greedy(Strategy):
    """Greedy search: the likeliest word at every step.

    The cheapest strategy, and the baseline of self-critical training. Score and log-probability are the same.

    Args:
        **rules: options of every strategy, see `RULES`.

    Example:
        >>> Greedy(min_length=3).rows
        1
    """

    n_best_list = False

    def __init__(self, **rules: Any):
        super().__init__(LengthPenalty(0.0), **rules)

    def choose(self, step: Step, strategy_state: Any, task: Task) -> Choice:
        """The likeliest id of each beam, the lowest one on ties."""
        ids = xp.argmax(step.allowed, axis=-1, output_type=xp.int32)
        word_logp = xp.reduce_max(step.allowed, axis=-1) - step.normaliser[..., 0]
        return Choice(None, *freeze_ended(step.ended, ids, word_logp))
