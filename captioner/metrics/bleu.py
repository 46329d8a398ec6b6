"""BLEU-1 to BLEU-4 (Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation").

Corpus BLEU as in the paper and in coco-caption: n-gram matches and lengths are summed over all images before
the division, never averaged over sentences; each image counts its closest reference length, the shorter on a
tie.

Clipped counts, brevity penalty and closest length are computed by nltk. Its `corpus_bleu` is not used: it counts one
4-gram for a caption of three words or fewer, which has none, where coco-caption counts zero. If no n-gram of some
order matches, the score is 0; that of coco-caption, which adds 1e-15 to the numerator and 1e-9 to the denominator,
is then slightly above 0 (up to 3 points, x100, where no caption is long enough to have such an n-gram).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from captioner.checks import integer
from captioner.errors import MissingDependency
from captioner.metrics.base import Candidates, References, Scores, check


class Bleu:
    """BLEU-1 ... BLEU-n of the corpus, and of every image by itself.

    Args:
        n: int, defaults to 4. The longest n-gram.

    Example:
        >>> references = [["a", "dog", "runs", "fast"], ["a", "dog"]]
        >>> Bleu().score([["a", "dog", "runs", "fast"]], [references]).corpus["BLEU-4"]
        100.0
    """

    def __init__(self, n: int = 4):
        self.n = integer(n, "n of BLEU", 1, 20)

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
        nltk_bleu = _nltk()
        counts = np.zeros((len(candidates), 2 * self.n + 2), np.int64)
        for i, (candidate, captions) in enumerate(zip(candidates, references, strict=True)):
            for k in range(1, self.n + 1):
                counts[i, k - 1] = nltk_bleu.modified_precision(captions, candidate, k).numerator
                counts[i, self.n + k - 1] = max(0, len(candidate) - k + 1)
            counts[i, -2:] = nltk_bleu.closest_ref_length(captions, len(candidate)), len(candidate)
        rows = [self.combine(row) for row in counts]
        per_image = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        return Scores(self.combine(counts.sum(0)), per_image, counts, self.combine)

    def combine(self, sums: np.ndarray) -> dict[str, float]:
        """BLEU-1 ... BLEU-n, x100, from the matches and totals of each order, closest reference length and length.

        Args:
            sums: int [2 n + 2], of one image or summed over images.
        """
        brevity = _nltk().brevity_penalty(int(sums[-2]), int(sums[-1]))
        means = _geometric(sums[: self.n], sums[self.n : 2 * self.n]) * brevity
        return {f"BLEU-{k}": 100 * float(mean) for k, mean in enumerate(means, 1)}


def _nltk() -> Any:
    try:
        from nltk.translate import bleu_score
    except ImportError:
        raise MissingDependency("nltk", "train", "BLEU") from None
    return bleu_score


def _geometric(matches: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Geometric means of the first 1, 2 ... n precisions; 0 from the first order without a match."""
    means, log_sum = np.zeros(len(matches)), 0.0
    for k, (match, total) in enumerate(zip(matches, totals, strict=True)):
        if not match:
            break
        log_sum += math.log(match / total)
        means[k] = math.exp(log_sum / (k + 1))
    return means
