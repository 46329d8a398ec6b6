"""Diversity of captions, which reference-based metrics do not measure.

The shares and counts are those of the literature on diverse captions (Shetty et al. 2017, "Speaking the same
language", table 2; van Miltenburg et al. 2018, "Measuring the diversity of automatic image descriptions").
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from captioner.errors import DataError
from captioner.metrics.base import Candidates, References, Scores, check
from captioner.text import words


class Diversity:
    """Unique captions, vocabulary used, mean length, and new captions if the training captions are given.

    The scores are "unique captions" (share x100 of different captions among all), "vocabulary" (a count of
    different words), "mean length" (in words) and "novel captions" (share x100 that no training caption
    equals, word for word).

    Args:
        training: iterable of str, or None. The captions that the model was trained on.

    Example:
        >>> candidates = [["a", "dog"], ["a", "dog"], ["a", "cat"], ["two", "cats", "play"]]
        >>> metric = Diversity(training=["A dog ."])
        >>> metric.score(candidates, candidates and [[c] for c in candidates]).corpus
        {'unique captions': 75.0, 'vocabulary': 6.0, 'mean length': 2.25, 'novel captions': 50.0}
    """

    def __init__(self, training: Iterable[str] | None = None):
        if isinstance(training, str):
            raise DataError(f"expected training captions as a list, got one string {training[:40]!r}")
        self._known = None if training is None else {tuple(words(caption)) for caption in training}

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores the candidates, lists of words [B]; references are ignored."""
        check(candidates, references)
        sentences = [tuple(candidate) for candidate in candidates]
        lengths = np.array([len(sentence) for sentence in sentences], np.float64)
        scores = {
            "unique captions": 100 * len(set(sentences)) / len(sentences),
            "vocabulary": float(len({word for sentence in sentences for word in sentence})),
            "mean length": float(lengths.mean()),
        }
        per_image = {"mean length": lengths}
        if self._known is not None:
            novel = np.array([100.0 * (sentence not in self._known) for sentence in sentences])
            scores["novel captions"] = float(novel.mean())
            per_image["novel captions"] = novel
        return Scores(scores, per_image)
