"""The grid behind `constrained`: banks of beams by the number of required words said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from captioner.decoding.backend import tf
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task, one_hot, possible
from captioner.decoding.strategies.beam import check_size, stay
from captioner.decoding.strategy import Choice, Step, Strategy, frozen
from captioner.types import END, PAD


class Progress(NamedTuple):
    """How far beams are with each of P phrases.

    Attributes:
        at: int32 [B, K, P]. How many words of the phrase the last words are; 0 once it is met.
        met: bool [B, K, P]. Whether the phrase was said.
    """

    at: tf.Tensor
    met: tf.Tensor


class Phrases:
    """P phrases and how words advance them (Knuth, Morris and Pratt 1977, one automaton a phrase).

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
        # Where a word leads: [P, longest + 1, alphabet + 1], the first column for words of no phrase.
        self._moves = np.zeros((*self._next.shape, len(self._alphabet) + 1), np.int32)
        for p, phrase in enumerate(phrases):
            self._next[p, : len(phrase)] = phrase
            for at in range(len(phrase)):
                for column, word in enumerate(self._alphabet, start=1):
                    said = (*phrase[:at], int(word))
                    fits = (n for n in range(len(said), -1, -1) if said[len(said) - n :] == phrase[:n])
                    self._moves[p, at, column] = next(fits)

    def start(self, images: tf.Tensor, beams: int) -> Progress:
        """Nothing said."""
        shape = tf.stack([images, beams, len(self.lengths)])
        return Progress(tf.zeros(shape, tf.int32), tf.zeros(shape, tf.bool))

    def said(self, progress: Progress) -> tf.Tensor:
        """How many required words were said, N when all: those of phrases met, and of one on its way."""
        whole = tf.reduce_sum(tf.where(progress.met, self.lengths, 0), axis=-1)
        return whole + tf.reduce_max(progress.at, axis=-1)

    def wanted(self, progress: Progress) -> tf.Tensor:
        """The next word of each phrase, int32 [B, K, P]; `<pad>` for a phrase that is met."""
        row = np.arange(len(self.lengths), dtype=np.int32) * (self._longest + 1)
        return tf.where(progress.met, PAD, tf.gather(self._next.reshape(-1), row + progress.at))

    def advance(self, progress: Progress, ids: tf.Tensor) -> Progress:
        """Progress [B, K, P] after each of N words [B, K, N]: [B, K, N, P]."""
        same = tf.cast(ids[..., tf.newaxis] == self._alphabet, tf.int32)
        column = tf.reduce_sum(same * np.arange(1, len(self._alphabet) + 1, dtype=np.int32), axis=-1)
        row = np.arange(len(self.lengths), dtype=np.int32) * (self._longest + 1)
        cell = (row + progress.at)[:, :, tf.newaxis] * (len(self._alphabet) + 1) + column[..., tf.newaxis]
        at = tf.gather(self._moves.reshape(-1), cell)
        met = progress.met[:, :, tf.newaxis] | (at == self.lengths)
        return Progress(tf.where(met, 0, at), met)


class Grid(Strategy):
    """N + 1 banks of `width` beams; see `Constrained`.

    Args:
        phrases: sequence of tuples of ids.
        width: int. Beams a bank.
        ranker: LengthPenalty.
        n_best: int.
        complete: bool, default False. Leave out captions that hold fewer of the required words than another one does: a
            reranker would not know.
    """

    def __init__(
        self,
        phrases: Sequence[tuple[int, ...]],
        width: int,
        ranker: LengthPenalty,
        n_best: int,
        complete: bool = False,
    ):
        self.phrases, self.width, self.complete = Phrases(phrases), width, complete
        super().__init__(ranker, width * (self.phrases.total + 1), n_best)

    def fit(self, size: int) -> None:
        """Refuses a bank of more beams than words."""
        check_size(self.width, size)

    def begin(self, images: tf.Tensor, task: Task) -> Any:
        """Nothing said."""
        return self.phrases.start(images, self.rows)

    def order(self, score: tf.Tensor, own: Any) -> tf.Tensor:
        """More required words first, then by score."""
        behind = tf.cast(self.phrases.total - self.phrases.said(own), tf.float32)
        if self.complete:
            least = tf.reduce_min(tf.where(possible(score), behind, 1e4), axis=1, keepdims=True)
            return tf.where(behind > least, FORBIDDEN, score)
        return score - 1e5 * behind

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """The likeliest continuations for each bank."""
        ids, word_logp = self._candidates(step, own)
        n = ids.shape[2]
        ranked = stay(step, step.logp[..., tf.newaxis] + word_logp)
        progress = self.phrases.advance(own, ids)
        bank = self.phrases.said(progress)

        def flat(x: tf.Tensor) -> tf.Tensor:
            return tf.reshape(x, [-1, self.rows * n, *x.shape[3:]])

        best = [
            tf.math.top_k(flat(tf.where(bank == b, ranked, 2 * FORBIDDEN)), self.width)
            for b in range(self.phrases.total + 1)
        ]
        # A bank may have too few candidates: what fills it is dead, whatever it is elsewhere.
        alive = possible(tf.concat([b.values for b in best], axis=1))
        picked = tf.concat([b.indices for b in best], axis=1)
        parents = picked // n
        ended = tf.gather(step.ended, parents, batch_dims=1)
        ids, word_logp, progress = tf.nest.map_structure(
            lambda x: tf.gather(flat(x), picked, batch_dims=1), (ids, word_logp, progress)
        )
        ids, word_logp = frozen(ended, ids, word_logp)
        return Choice(parents, ids, tf.where(alive, word_logp, FORBIDDEN), progress)

    def _candidates(self, step: Step, progress: Progress) -> tuple[tf.Tensor, tf.Tensor]:
        """Each beam's likeliest words, then the next word of each phrase: ids and word_logp [B, K, N]."""
        size = step.allowed.shape[-1]
        early = tf.where(self.phrases.said(progress) < self.phrases.total, FORBIDDEN, 0.0)
        allowed = step.allowed + early[..., tf.newaxis] * one_hot(END, size)
        values, ids = tf.math.top_k(allowed, self.width)
        wanted = self.phrases.wanted(progress)
        forced = tf.gather(allowed, wanted, batch_dims=2)
        known = tf.concat([ids, wanted], axis=-1)
        # A word may be wanted twice over; it is one candidate all the same.
        equal = tf.cast(wanted[..., tf.newaxis] == known[..., tf.newaxis, :], tf.float32)
        before = np.tri(wanted.shape[-1], known.shape[-1], self.width - 1, dtype=np.float32)
        forced += FORBIDDEN * tf.reduce_max(equal * before, axis=-1)
        word_logp = tf.concat([values, forced], axis=-1) - step.normaliser
        return known, word_logp
