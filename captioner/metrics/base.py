"""The interface of metrics.

A metric is a class with `score(candidates, references) -> Scores`. Image i has one candidate, a list of
words, and one or more references, each a list of words. The words come from `captioner.text.words`, or from
any other rule that was applied to both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from captioner.errors import DataError

Words = Sequence[str]
Candidates = Sequence[Words]
References = Sequence[Sequence[Words]]


@dataclass(frozen=True)
class Scores:
    """Scores of captions under one metric, x100 unless the score is a count.

    Attributes:
        corpus: dict of str to float. The corpus scores by name, which are not always means over images.
        per_image: dict of str to float64 array [B], in the order of the candidates; a subset of the names.
        counts: array [B, S] or None. Where corpus scores are not means over images, the statistics that are summed
            over images.
        combine: function from such sums [S] to corpus scores, or None. `combine(counts.sum(0))` is `corpus`.

    Example:
        >>> Scores({"ROUGE-L": 50.0}, {"ROUGE-L": np.array([100.0, 0.0])}).corpus
        {'ROUGE-L': 50.0}
    """

    corpus: dict[str, float]
    per_image: Mapping[str, np.ndarray] = field(default_factory=dict)
    counts: np.ndarray | None = None
    combine: Callable[[np.ndarray], dict[str, float]] | None = None


class Metric(Protocol):
    """A row of `METRICS`."""

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores one candidate an image against its references."""


def check(candidates: Candidates, references: References) -> None:
    """Raises DataError unless every image has one candidate, given as words, and at least one reference."""
    if len(candidates) != len(references):
        raise DataError(
            f"expected one candidate an image, got {len(candidates)} candidates for {len(references)} images"
        )
    if not len(candidates):
        raise DataError("expected at least one candidate to score, got none")
    for i, (candidate, captions) in enumerate(zip(candidates, references, strict=True)):
        if (
            isinstance(candidate, str)
            or isinstance(captions, str)
            or any(isinstance(c, str) for c in captions)
        ):
            raise DataError(f"expected captions as lists of words, got a string for image {i}")
        if not len(captions):
            raise DataError(f"expected at least one reference an image, got none for image {i}")
