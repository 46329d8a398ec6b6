"""Incomplete captions: those that end on a function word.

Optimising CIDEr-D without its end token teaches a model to stop on a function word ("a man in front of a"),
which no n-gram score punishes enough (Guo et al. 2018, "Improving reinforcement learning based image
captioning with natural language prior", who count such "bad endings"; Rennie et al. 2017 score the end token
for the same reason). Which words these are is a row of `captioner.text.languages.LANGUAGES`.
"""

from __future__ import annotations

import numpy as np

from captioner.metrics.base import Candidates, References, Scores, check
from captioner.text.languages import ENGLISH, rules


class BadEndings:
    """The share of captions that end on a function word, x100; no score in a language without rules.

    Args:
        language: str, default "en". The language of the captions; see `captioner.text.languages.rules`.

    Raises:
        SpecError: if `language` is no code.

    Example:
        >>> captions = [["a", "man", "on", "a"], ["a", "man", "on", "a", "horse"]]
        >>> BadEndings().score(captions, [[c] for c in captions]).corpus
        {'bad endings': 50.0}
        >>> BadEndings(language="fr").score(captions, [[c] for c in captions]).corpus
        {}
    """

    def __init__(self, language: str = ENGLISH):
        self._function_words = rules(language).function_words

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores the candidates, lists of words [B]; references are ignored."""
        check(candidates, references)
        if not self._function_words:
            return Scores({}, {})
        per_image = np.array([100.0 * (bool(c) and c[-1] in self._function_words) for c in candidates])
        return Scores({"bad endings": float(per_image.mean())}, {"bad endings": per_image})
