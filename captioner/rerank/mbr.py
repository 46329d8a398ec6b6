"""Minimum Bayes risk reranking: the caption of the highest expected n-gram F1 with the n-best list."""

from __future__ import annotations

from typing import Any

import numpy as np

from captioner import checks
from captioner.decoding.backend import xp
from captioner.decoding.rules import FORBIDDEN, possible
from captioner.rerank.base import Reranker
from captioner.rerank.ngrams import ORDERS, ngrams
from captioner.types import END, PAD, Hypotheses


class MinimumBayesRisk(Reranker):
    """Minimum Bayes risk: the caption of the highest expected n-gram F1 with the others of the n-best list.

    Kumar & Byrne 2004, "Minimum Bayes-Risk Decoding for Statistical Machine Translation". The hypotheses of the
    n-best list are both the candidates and the evidence. The utility of caption a, were b the right one, is the F1 of
    their n-grams, averaged over n = 1 ... 4 (1 for a itself); b has the posterior probability that the list's
    log-probabilities give it at a temperature, and a caption's `score` is its expected utility, from 0 to 1.

    Args:
        temperature: float from 0.001 to 1e9. Of the posterior, `softmax(logp / temperature)`: at 1 the model's own
            probabilities, and the higher it is, the more alike all captions count. Defaults to `5.0`.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> MinimumBayesRisk(temperature=1).temperature
        1.0
    """

    def __init__(self, temperature: float = 5.0):
        self.temperature = checks.number(temperature, "temperature", 1e-3, 1e9)

    def score(self, hypotheses: Hypotheses, features: Any, parameters: Any) -> Any:
        """Expected utilities, see `Reranker.score`."""
        logp = hypotheses.logp
        posterior = xp.nn.softmax(xp.where(possible(logp), logp / self.temperature, FORBIDDEN))
        return xp.reduce_sum(ngram_f1(hypotheses.ids) * posterior[:, xp.newaxis], axis=-1)


def ngram_f1(ids: Any) -> Any:
    """F1 of the n-grams of every two captions of an image, averaged over n = 1 ... 4.

    Args:
        ids: int32 [B, K, T], `<pad>` after the end. The end token itself is no word.

    Returns:
        float32 [B, K, K], symmetric, 1 on the diagonal.

    Example:
        >>> from captioner.decoding.backend import numpy_backend
        >>> with numpy_backend():
        ...     ngram_f1(np.array([[[5, 6, 7, 2], [5, 6, 2, 0]]], np.int32))[0, 0]
        array([1.        , 0.36666667], dtype=float32)
    """
    k, length = ids.shape[1:]
    lengths = xp.reduce_sum(xp.cast((ids != PAD) & (ids != END), xp.int32), axis=-1)
    total = 0.0
    for n, grams, real in ngrams(ids):
        positions = length - n + 1
        flat = xp.reshape(grams, [-1, k * positions])
        real = xp.cast(xp.reshape(real, [-1, k * positions]), xp.float32)
        same = xp.cast(flat[:, :, xp.newaxis] == flat[:, xp.newaxis], xp.float32) * real[:, xp.newaxis]
        # Clipped counts: the i-th occurrence in one caption is shared if the other has i or more.
        occurrence = xp.reduce_sum(same * np.kron(np.eye(k), np.tri(positions)).astype(np.float32), axis=-1)
        count = xp.reduce_sum(xp.reshape(same, [-1, k * positions * k, positions]), axis=-1)
        shared = xp.cast(
            occurrence[:, :, xp.newaxis] <= xp.reshape(count, [-1, k * positions, k]), xp.float32
        )
        shared = xp.reduce_sum(xp.reshape(shared * real[:, :, xp.newaxis], [-1, k, positions, k]), axis=2)
        number = xp.cast(xp.maximum(lengths - (n - 1), 0), xp.float32)
        both = number[:, :, xp.newaxis] + number[:, xp.newaxis]
        total += 2.0 * shared / xp.maximum(both, 1.0)
    diagonal = np.eye(k, dtype=np.float32)
    return xp.where(diagonal > 0, 1.0, total / ORDERS)
