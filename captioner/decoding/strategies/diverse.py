"""Diverse beam search: groups of beams that avoid each other's words."""

from __future__ import annotations

from typing import Any

import numpy as np

from captioner import checks
from captioner.decoding.backend import tf
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task
from captioner.decoding.strategies.beam import check_size, check_width, extend
from captioner.decoding.strategy import Choice, Step, Strategy
from captioner.errors import SpecError


class Diverse(Strategy):
    """Beams in groups; a group avoids the words that groups before it chose at the same step.

    Vijayakumar et al. 2018, "Diverse Beam Search", with Hamming diversity: at each step the groups choose in
    turn, and a word that beams of earlier groups have just chosen c times costs `penalty * c` in choosing.
    What is reported, and what the next step builds on, is the model's own log-probability. The first group is
    a plain beam search; with `penalty=0` all groups are, so their captions repeat.

    Args:
        width: int. K, the beams of all groups. Defaults to `6`.
        groups: int that divides `width`. Defaults to `3`.
        penalty: float, 0 or more, in nats. Defaults to `0.5`.
        length_penalty: float. As in `beam`. Defaults to `0.6`.
        n_best: int or None. Captions returned, best first; None for all of them. Defaults to `None`.
        **rules: `rerank` and the options of every strategy, see `Strategy` and `RULES`.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> Diverse(width=4, groups=2).n_best
        4
    """

    def __init__(
        self,
        width: int = 6,
        groups: int = 3,
        penalty: float = 0.5,
        length_penalty: float = 0.6,
        n_best: int | None = None,
        **rules: Any,
    ):
        width, n_best = check_width(width, width if n_best is None else n_best)
        self.groups = checks.integer(groups, "groups", 1)
        if width % self.groups:
            raise SpecError(f"groups expects a divisor of width={width}, got {groups}")
        self.penalty = checks.number(penalty, "penalty", 0.0, 1e3)
        super().__init__(LengthPenalty(length_penalty), width, n_best, **rules)

    def fit(self, size: int) -> None:
        """Refuses more beams than words."""
        check_size(self.rows, size)

    def fresh_logp(self) -> list[float]:
        """One beam of each group lives."""
        return ([0.0] + [FORBIDDEN] * (self.rows // self.groups - 1)) * self.groups

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """The groups choose in turn."""
        size, each = step.allowed.shape[-1], self.rows // self.groups
        said = tf.zeros_like(step.allowed[:, :1])
        choices = []
        for first in range(0, self.rows, each):
            group = Step(step.t, *(x[:, first : first + each] for x in step[1:]))
            choice = extend(group, -self.penalty * said if self.penalty and first else None)
            choices.append((choice.parents, choice.ids, choice.word_logp))
            if self.penalty:
                # Pads count too, but nobody may say them anyway.
                said += tf.reduce_sum(tf.one_hot(choice.ids, size), axis=1, keepdims=True)
        parents, ids, word_logp = (tf.concat(x, axis=1) for x in zip(*choices, strict=True))
        # A group's pointers count from its own first beam.
        return Choice(
            parents + np.repeat(np.arange(0, self.rows, each, dtype=np.int32), each), ids, word_logp
        )
