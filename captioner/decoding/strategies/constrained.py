"""Constrained search: captions that must hold given words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import Banned, Task, word_ids, words_option
from captioner.decoding.strategies.beam import Beam, check_width
from captioner.decoding.strategies.grid_beam import Grid
from captioner.decoding.strategy import Strategy
from captioner.errors import SpecError


class Constrained(Strategy):
    """Beam search whose captions hold every required word or phrase.

    Grid beam search (Hokamp and Liu 2017): `width` beams for each number of required words already said,
    N + 1 banks in all, so that a beam which has said one is never pushed out by likelier ones which have not.
    A beam may go on as it likes or with the next word of a phrase it has not said yet (as in Post and Vilar
    2018); a phrase that is broken off must start anew. Only the last bank may say `<end>`. The cost is that
    of width * (N + 1) beams.

    Every caption holds all phrases whenever N is at most `max_length`, else there is a `SpecError`. One
    exception: where a rule forbids a phrase on the way (`no_repeat_ngram=1` and a phrase such as "dog dog"),
    the caption says as much of it as it may and is cut at `max_length`.

    Args:
        must_include: list of str. Words or phrases of the vocabulary, in any order.
        width: int. Beams a bank. Defaults to `3`.
        length_penalty: float. As in `beam`. Defaults to `0.6`.
        n_best: int. Captions returned, best first. Defaults to `1`.
        **rules: `rerank` and the options of every strategy, see `Strategy` and `RULES`; among them `banned`.

    Raises:
        SpecError: for an option out of range; when decoding, for words that the vocabulary lacks, that are
            banned as well, or that do not fit into `max_length`.

    Example:
        >>> Constrained(must_include=["dog", "fire hydrant"], banned=["cat"]).must_include
        ('dog', 'fire hydrant')
    """

    def __init__(
        self,
        must_include: Sequence[str] = (),
        width: int = 3,
        length_penalty: float = 0.6,
        n_best: int = 1,
        **rules: Any,
    ):
        self.must_include = words_option(must_include, "must_include")
        self.width, n_best = check_width(width, n_best)
        super().__init__(LengthPenalty(length_penalty), self.width, n_best, **rules)

    def search_rows(self, words: Callable[[str], Sequence[str]]) -> int:
        """`width` beams for each number of required words said; see `Strategy.search_rows`.

        Example:
            >>> Constrained(must_include=["dog", "fire hydrant"], width=5).search_rows(str.split)
            20
        """
        phrases = {tuple(words(text)) for text in self.must_include}
        return self.width * (1 + sum(map(len, phrases)))

    def bind(self, task: Task) -> Strategy:
        """The search for these phrases, as ids."""
        banned = {i for rule in self.rules if isinstance(rule, Banned) for i in rule.fixed(0, task)}
        phrases: dict[tuple[int, ...], None] = {}
        for text in self.must_include:
            phrase = tuple(word_ids(text, task, "must_include"))
            if banned & set(phrase):
                raise SpecError(f"must_include and banned both hold {text!r}: drop one of them")
            phrases[phrase] = None
        needed = sum(map(len, phrases))
        if needed > task.max_length:
            raise SpecError(
                f"must_include holds {needed} words, more than max_length={task.max_length}: "
                f"require fewer or raise max_length"
            )
        if not phrases:
            return Beam(self.width, self.ranker.alpha, self.list_size).under(self.rules)
        complete = self.reranker is not None
        return Grid(list(phrases), self.width, self.ranker, self.list_size, complete).under(self.rules)
