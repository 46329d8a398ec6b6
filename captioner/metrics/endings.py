"""Incomplete captions: those that end on a function word.

Optimising CIDEr-D without its end token teaches a model to stop on a function word ("a man in front of a"),
which no n-gram score punishes enough (Guo et al. 2018, "Improving reinforcement learning based image
captioning with natural language prior", who count such "bad endings"; Rennie et al. 2017 score the end token
for the same reason). English only.
"""

from __future__ import annotations

import numpy as np

from captioner.metrics.base import Candidates, References, Scores, check

# Articles, prepositions, forms of "be", determiners and conjunctions that begin a phrase and cannot end one.
# About 1 % of human captions end on one of them nevertheless ("a dog with a hat on"): compare with the share of the
# references.
FUNCTION_WORDS = frozenset(
    ["a", "an", "the", "this", "that", "his", "her", "their", "its"]
    + ["of", "with", "in", "on", "at", "to", "for", "from", "by", "near", "upon", "before", "after"]
    + ["is", "are", "am", "and", "or"]
)


class BadEndings:
    """The share of captions that end on a function word, x100.

    Example:
        >>> captions = [["a", "man", "on", "a"], ["a", "man", "on", "a", "horse"]]
        >>> BadEndings().score(captions, [[c] for c in captions]).corpus
        {'bad endings': 50.0}
    """

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores the candidates, lists of words [B]; references are ignored."""
        check(candidates, references)
        per_image = np.array([100.0 * (bool(c) and c[-1] in FUNCTION_WORDS) for c in candidates])
        return Scores({"bad endings": float(per_image.mean())}, {"bad endings": per_image})
