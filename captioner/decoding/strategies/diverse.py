"""Diverse beam search: groups of beams, each penalised for the words of the groups before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from captioner import checks
from captioner.decoding.backend import xp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task
from captioner.decoding.strategies.beam import check_width, check_width_fits, extend
from captioner.decoding.strategy import Choice, Step, Strategy
from captioner.errors import SpecError


class Diverse(Strategy):
    """Diverse beam search: a group of beams is penalised for words that earlier groups chose at the same step.

    Vijayakumar et al. 2018, "Diverse Beam Search", with Hamming diversity: at each step the groups choose in
    turn, and a word that beams of earlier groups have just chosen c times is ranked lower by `penalty * c`.
    Reported log-probabilities, and those that the next step builds on, are the model's own. The first group is
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

    def check_vocabulary(self, size: int) -> None:
        """Raises a `SpecError` for more beams than words."""
        check_width_fits(self.rows, size)

    def initial_logp(self) -> list[float]:
        """All but the first beam of each group are impossible."""
        return ([0.0] + [FORBIDDEN] * (self.rows // self.groups - 1)) * self.groups

    def choose(self, step: Step, strategy_state: Any, task: Task) -> Choice:
        """The K likeliest continuations, group by group."""
        size, group_size = step.allowed.shape[-1], self.rows // self.groups
        counts = xp.zeros_like(step.allowed[:, :1])  # of each word among the groups so far: [B, 1, V]
        choices = []
        for first in range(0, self.rows, group_size):
            group = Step(step.t, *(x[:, first : first + group_size] for x in step[1:]))
            choice = extend(group, -self.penalty * counts if self.penalty and first else None)
            choices.append((choice.parents, choice.ids, choice.word_logp))
            if self.penalty:
                # `<pad>` counts too, but is forbidden anyway.
                counts += xp.reduce_sum(xp.one_hot(choice.ids, size), axis=1, keepdims=True)
        parents, ids, word_logp = (xp.concat(x, axis=1) for x in zip(*choices, strict=True))
        # Back-pointers within a group are relative to its first beam.
        offsets = np.repeat(np.arange(0, self.rows, group_size, dtype=np.int32), group_size)
        return Choice(parents + offsets, ids, word_logp)
