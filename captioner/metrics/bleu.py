"""BLEU-1 to BLEU-4 (Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation").

Corpus BLEU as in the paper and in coco-caption: n-gram matches and lengths are summed over all images before
the division, never averaged over sentences; each image counts its closest reference length, the shorter on a
tie.

The parts are those of nltk. Its `corpus_bleu` itself is not used: it counts one 4-gram for a caption of three
words or fewer, which has none, where coco-caption counts zero. Where not one n-gram of some order matches,
the score is 0; coco-caption, which adds 1e-15 above and 1e-9 below the line, then leaves a trace (up to 3
points, x100, where no caption is long enough to hold such an n-gram).
"""

from __future__ import annotations

import math

import numpy as np

from captioner.errors import MissingDependency, SpecError
from captioner.metrics.base import Candidates, References, Scores, check


class Bleu:
    """BLEU-1 ... BLEU-n of the corpus, and of every image by itself.

    Args:
        n: int, defaults to 4. The longest n-gram.

    Example:
        >>> references = [["a", "dog", "runs", "fast"], ["a", "dog"]]
        >>> Bleu().score([["a", "dog", "runs", "fast"]], [references]).figures["BLEU-4"]
        100.0
    """

    def __init__(self, n: int = 4):
        if n < 1:
            raise SpecError(f"expected n of 1 or more for BLEU, got {n}")
        self.n = n

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores one candidate an image.

        Args:
            candidates: sequence of lists of words, [B].
            references: sequence of lists of lists of words, [B].

        Returns:
            `Scores` named "BLEU-1" ... "BLEU-n".

        Raises:
            MissingDependency: if nltk is not installed.
        """
        check(candidates, references)
        try:
            from nltk.translate import bleu_score as nltk_bleu
        except ImportError:
            raise MissingDependency("nltk", "train", "BLEU") from None
        names = [f"BLEU-{k}" for k in range(1, self.n + 1)]
        orders = range(1, self.n + 1)
        matches = np.zeros((len(candidates), self.n), np.int64)
        totals = np.zeros((len(candidates), self.n), np.int64)
        lengths = np.array([len(candidate) for candidate in candidates])
        closest = np.zeros(len(candidates), np.int64)
        for i, (candidate, captions) in enumerate(zip(candidates, references, strict=True)):
            closest[i] = nltk_bleu.closest_ref_length(captions, len(candidate))
            for k in orders:
                matches[i, k - 1] = nltk_bleu.modified_precision(captions, candidate, k).numerator
                totals[i, k - 1] = max(0, len(candidate) - k + 1)
        brevity = nltk_bleu.brevity_penalty
        corpus = _geometric(matches.sum(0), totals.sum(0)) * brevity(int(closest.sum()), int(lengths.sum()))
        rows = [
            _geometric(matches[i], totals[i]) * brevity(int(closest[i]), int(lengths[i]))
            for i in range(len(candidates))
        ]
        each = 100 * np.array(rows)
        return Scores(
            {name: 100 * float(corpus[k]) for k, name in enumerate(names)},
            {name: each[:, k] for k, name in enumerate(names)},
        )


def _geometric(matches: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Geometric means of the first 1, 2 ... n precisions; 0 from the first order without a match."""
    means, log_sum = np.zeros(len(matches)), 0.0
    for k, (match, total) in enumerate(zip(matches, totals, strict=True)):
        if not match:
            break
        log_sum += math.log(match / total)
        means[k] = math.exp(log_sum / (k + 1))
    return means
