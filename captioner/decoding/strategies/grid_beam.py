"""Grid beam search (Hokamp & Liu 2017): captions that hold required words or phrases. Its spec is `constrained`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from captioner.decoding.backend import Array, xp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Banned, Task, one_hot, possible, word_ids, words_option
from captioner.decoding.strategies.beam import Beam, check_width, check_width_fits, keep_ended
from captioner.decoding.strategy import Choice, Step, Strategy, freeze_ended
from captioner.errors import SpecError
from captioner.types import END, PAD


class GridBeam(Strategy):
    """Grid beam search: beam search whose captions hold every required word or phrase.

    Hokamp and Liu 2017, "Lexically Constrained Decoding for Sequence Generation Using Grid Beam Search": N + 1
    banks of `width` beams, one for each number of required words a caption holds, so that a beam which holds one
    is never pushed out by likelier ones which do not. A beam continues with any word or with the next word of a
    phrase it lacks (as in Post and Vilar 2018); a phrase that is broken off must start anew. Only beams of the
    last bank may end. The cost is that of width * (N + 1) beams.

    Every caption holds all phrases whenever N is at most `max_length`, else there is a `SpecError`. One
    exception: where a rule forbids a phrase on the way (`no_repeat_ngram=1` and a phrase such as "dog dog"),
    the caption holds as much of it as the rule allows and is cut at `max_length`.

    Args:
        must_include: list of str. Words or phrases of the vocabulary, in any order.
        width: int. The beams of a bank. Defaults to `3`.
        length_penalty: float. As in `beam`. Defaults to `0.6`.
        n_best: int. Captions returned, best first. Defaults to `1`.
        **rules: `rerank` and the options of every strategy, see `Strategy` and `RULES`; among them `banned`.

    Raises:
        SpecError: for an option out of range; when decoding, for words that the vocabulary lacks, that are
            banned as well, or that do not fit into `max_length`.

    Example:
        >>> GridBeam(must_include=["dog", "fire hydrant"], banned=["cat"]).must_include
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
        """`width` beams for each number of required words held; see `Strategy.search_rows`.

        Example:
            >>> GridBeam(must_include=["dog", "fire hydrant"], width=5).search_rows(str.split)
            20
        """
        phrases = {tuple(words(text)) for text in self.must_include}
        return self.width * (1 + sum(map(len, phrases)))

    def bind(self, task: Task) -> Strategy:
        """The search for these phrases as ids; see `Strategy.bind`."""
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
            return Beam(self.width, self.ranker.alpha, self.list_size).with_rules(self.rules)
        grid = PhraseGrid(
            list(phrases), self.width, self.ranker, self.list_size, complete_only=self.reranker is not None
        )
        return grid.with_rules(self.rules)


class Progress(NamedTuple):
    """How far beams are with each of P phrases.

    Attributes:
        position: int32 [B, K, P]. How many words of the phrase the last words are; 0 once it is complete.
        complete: bool [B, K, P]. Whether the caption holds the phrase.
    """

    position: Array
    complete: Array


class PhraseAutomata:
    """P phrases and how words advance them: one automaton a phrase (Knuth, Morris and Pratt 1977).

    Args:
        phrases: sequence of tuples of ids, all different, none empty.
    """

    def __init__(self, phrases: Sequence[tuple[int, ...]]):
        self.lengths = np.array([len(p) for p in phrases], np.int32)
        self.total = int(self.lengths.sum())
        self._longest = int(self.lengths.max())
        self._alphabet = np.array(sorted({i for p in phrases for i in p}), np.int32)
        # The word that continues a phrase, [P, longest + 1]; `<pad>`, which is forbidden, after its last.
        self._next = np.full((len(phrases), self._longest + 1), PAD, np.int32)
        # The position after a word: [P, longest + 1, alphabet + 1], the first column for words of no phrase.
        self._transitions = np.zeros((*self._next.shape, len(self._alphabet) + 1), np.int32)
        for p, phrase in enumerate(phrases):
            self._next[p, : len(phrase)] = phrase
            for position in range(len(phrase)):
                for column, word in enumerate(self._alphabet, start=1):
                    ids = (*phrase[:position], int(word))
                    matches = (n for n in range(len(ids), -1, -1) if ids[len(ids) - n :] == phrase[:n])
                    self._transitions[p, position, column] = next(matches)

    def start(self, images: Array, beams: int) -> Progress:
        """The progress of empty captions."""
        shape = xp.stack([images, beams, len(self.lengths)])
        return Progress(xp.zeros(shape, xp.int32), xp.zeros(shape, xp.bool))

    def words_held(self, progress: Progress) -> Array:
        """Required words of complete phrases and of the longest begun one, N if all: int32 [B, K] or [B, K, N]."""
        complete = xp.reduce_sum(xp.where(progress.complete, self.lengths, 0), axis=-1)
        return complete + xp.reduce_max(progress.position, axis=-1)

    def next_words(self, progress: Progress) -> Array:
        """The next word of each phrase, int32 [B, K, P]; `<pad>` for a complete phrase."""
        row = np.arange(len(self.lengths), dtype=np.int32) * (self._longest + 1)
        return xp.where(progress.complete, PAD, xp.gather(self._next.reshape(-1), row + progress.position))

    def advance(self, progress: Progress, ids: Array) -> Progress:
        """Progress [B, K, P] after each of N words [B, K, N]: [B, K, N, P]."""
        same = xp.cast(ids[..., xp.newaxis] == self._alphabet, xp.int32)
        column = xp.reduce_sum(same * np.arange(1, len(self._alphabet) + 1, dtype=np.int32), axis=-1)
        row = np.arange(len(self.lengths), dtype=np.int32) * (self._longest + 1)
        cell = (row + progress.position)[:, :, xp.newaxis] * (len(self._alphabet) + 1)
        position = xp.gather(self._transitions.reshape(-1), cell + column[..., xp.newaxis])
        complete = progress.complete[:, :, xp.newaxis] | (position == self.lengths)
        return Progress(xp.where(complete, 0, position), complete)


class PhraseGrid(Strategy):
    """The search that `GridBeam` runs once its phrases are ids: N + 1 banks of `width` beams.

    Args:
        phrases: sequence of tuples of ids.
        width: int. The beams of a bank.
        ranker: LengthPenalty.
        n_best: int.
        complete_only: bool, default False. Leave out captions that hold fewer of the required words than another one
            does: a reranker would not know.
    """

    def __init__(
        self,
        phrases: Sequence[tuple[int, ...]],
        width: int,
        ranker: LengthPenalty,
        n_best: int,
        complete_only: bool = False,
    ):
        self.phrases, self.width, self.complete_only = PhraseAutomata(phrases), width, complete_only
        super().__init__(ranker, width * (self.phrases.total + 1), n_best)

    def check_vocabulary(self, size: int) -> None:
        """Raises a `SpecError` for a bank of more beams than words."""
        check_width_fits(self.width, size)

    def begin(self, images: Array, task: Task) -> Progress:
        """The progress of empty captions."""
        return self.phrases.start(images, self.rows)

    def order(self, score: Array, strategy_state: Progress) -> Array:
        """More required words first, then by score."""
        lacking = xp.cast(self.phrases.total - self.phrases.words_held(strategy_state), xp.float32)
        if self.complete_only:
            fewest = xp.reduce_min(xp.where(possible(score), lacking, 1e4), axis=1, keepdims=True)
            return xp.where(lacking > fewest, FORBIDDEN, score)
        return score - 1e5 * lacking

    def choose(self, step: Step, strategy_state: Progress, task: Task) -> Choice:
        """The likeliest continuations for each bank."""
        ids, word_logp = self._candidates(step, strategy_state)
        n = ids.shape[2]
        ranked = keep_ended(step, step.logp[..., xp.newaxis] + word_logp)
        progress = self.phrases.advance(strategy_state, ids)
        bank = self.phrases.words_held(progress)

        def flat(x: Array) -> Array:
            return xp.reshape(x, [-1, self.rows * n, *x.shape[3:]])

        best = [
            xp.math.top_k(flat(xp.where(bank == b, ranked, 2 * FORBIDDEN)), self.width)
            for b in range(self.phrases.total + 1)
        ]
        # A bank may have too few candidates: those that fill it up are made impossible.
        in_bank = possible(xp.concat([b.values for b in best], axis=1))
        picked = xp.concat([b.indices for b in best], axis=1)
        parents = picked // n
        ended = xp.gather(step.ended, parents, batch_dims=1)
        ids, word_logp, progress = xp.nest.map_structure(
            lambda x: xp.gather(flat(x), picked, batch_dims=1), (ids, word_logp, progress)
        )
        ids, word_logp = freeze_ended(ended, ids, word_logp)
        return Choice(parents, ids, xp.where(in_bank, word_logp, FORBIDDEN), progress)

    def _candidates(self, step: Step, progress: Progress) -> tuple[Array, Array]:
        """The likeliest words of each beam, then the next word of each phrase: ids and word_logp [B, K, N]."""
        size = step.allowed.shape[-1]
        incomplete = xp.where(self.phrases.words_held(progress) < self.phrases.total, FORBIDDEN, 0.0)
        allowed = step.allowed + incomplete[..., xp.newaxis] * one_hot(END, size)
        values, likeliest = xp.math.top_k(allowed, self.width)
        next_words = self.phrases.next_words(progress)
        forced = xp.gather(allowed, next_words, batch_dims=2)
        ids = xp.concat([likeliest, next_words], axis=-1)
        # A word may occur twice among these candidates; all but its first occurrence are made impossible.
        equal = xp.cast(next_words[..., xp.newaxis] == ids[..., xp.newaxis, :], xp.float32)
        before = np.tri(next_words.shape[-1], ids.shape[-1], self.width - 1, dtype=np.float32)
        forced += FORBIDDEN * xp.reduce_max(equal * before, axis=-1)
        word_logp = xp.concat([values, forced], axis=-1) - step.normaliser
        return ids, word_logp
