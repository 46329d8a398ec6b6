"""ROUGE-L (Lin 2004, "ROUGE: a package for automatic evaluation of summaries", section 3).

The coco-caption variant: precision and recall of the longest common subsequence are each maximised over the
references before they are combined, F = (1 + b^2) P R / (R + b^2 P) with b = 1.2, and images are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.checks import number
from captioner.metrics.base import Candidates, References, Scores, Words, check


class RougeL:
    """ROUGE-L, averaged over images.

    Args:
        beta: float, defaults to 1.2. How much more recall counts than precision.

    Example:
        >>> RougeL().score([["a", "dog"]], [[["a", "brown", "dog"]]]).corpus["ROUGE-L"]  # P 1, R 2/3
        77.21518987341773
    """

    def __init__(self, beta: float = 1.2):
        self.beta = number(beta, "beta of ROUGE-L", 0, 1000)

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores one candidate an image: lists of words [B], lists of lists of words [B]."""
        check(candidates, references)
        per_image = np.array([100 * self._image(c, r) for c, r in zip(candidates, references, strict=True)])
        return Scores({"ROUGE-L": float(per_image.mean())}, {"ROUGE-L": per_image})

    def _image(self, candidate: Words, captions: Sequence[Words]) -> float:
        common = [longest_common_subsequence(candidate, caption) for caption in captions]
        if not any(common):
            return 0.0
        precision = max(common) / len(candidate)
        recall = max(c / len(caption) for c, caption in zip(common, captions, strict=True) if len(caption))
        square = self.beta**2
        return (1 + square) * precision * recall / (recall + square * precision)


def longest_common_subsequence(first: Words, second: Words) -> int:
    """Length of the longest common subsequence of two lists of words.

    Bit-parallel (Hyyrö 2004): bit i of `row` is 0 where the table of lengths grows at word i of `first`.

    Example:
        >>> longest_common_subsequence("a man on a horse".split(), "a horse on a hill".split())
        3
    """
    positions: dict[str, int] = {}
    for i, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << i
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        match = row & positions.get(word, 0)
        row = ((row + match) | (row - match)) & full
    return len(first) - row.bit_count()
