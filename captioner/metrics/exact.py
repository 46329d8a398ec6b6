"""Exact match with a reference, for data sets with few correct captions, such as drawn scenes."""

from __future__ import annotations

import numpy as np

from captioner.metrics.base import Candidates, References, Scores, check


class ExactMatch:
    """The share of captions that equal one of their references, x100.

    Example:
        >>> ExactMatch().score([["a", "dog"], ["a", "cat"]], [[["a", "dog"]], [["a", "dog"]]]).corpus
        {'exact match': 50.0}
    """

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores one candidate an image: lists of words [B], lists of lists of words [B]."""
        check(candidates, references)
        per_image = np.array(
            [
                100.0 * any(list(r) == list(c) for r in image)
                for c, image in zip(candidates, references, strict=True)
            ]
        )
        return Scores({"exact match": float(per_image.mean())}, {"exact match": per_image})
