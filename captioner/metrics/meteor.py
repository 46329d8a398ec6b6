"""METEOR 1.5 (Denkowski & Lavie 2014, "Meteor universal: language specific translation evaluation").

The Java program of its authors, English with default parameters, as pycocoevalcap runs it; there is no other
implementation here. Exact, stem, synonym and paraphrase matches are aligned; precision, recall and fragmentation are
combined into one score, and each image keeps its best reference. The corpus score is computed from statistics summed
over images.
"""

from __future__ import annotations

from captioner.metrics.base import Candidates, References, Scores, check
from captioner.metrics.official import meteor_scores


class Meteor:
    """METEOR 1.5 for English, through pycocoevalcap; needs Java.

    Example:
        ```python
        Meteor().score([["a", "dog", "runs"]], [[["a", "dog", "is", "running"]]]).corpus["METEOR"]
        ```
    """

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores one candidate an image: lists of words [B], lists of lists of words [B].

        Raises:
            MissingDependency: if pycocoevalcap or Java is missing.
            EngineError: if the Java program dies.
        """
        check(candidates, references)
        corpus, per_image = meteor_scores(candidates, references)
        return Scores({"METEOR": 100 * float(corpus)}, {"METEOR": 100 * per_image})
