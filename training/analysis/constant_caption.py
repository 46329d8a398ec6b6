"""The best constant caption: the score of a model that says the same of every image, which any model has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.metrics.base import References
from captioner.metrics.cider import CiderD
from captioner.text.normalize import words


def best_constant(
    candidates: Sequence[str], references: Sequence[Sequence[str]], most: int = 300
) -> tuple[str, float]:
    """The caption with the highest CIDEr-D if it were said of every image.

    Args:
        candidates: captions, such as those of the training images.
        references: captions of each image.
        most: int, default 300. So many candidates are scored against all images: those that score best on the first
            few images.

    Returns:
        The caption and its CIDEr-D, x100.

    Example:
        >>> best_constant(["a dog", "a cat"], [["a dog runs"], ["a dog sits"], ["two cats"]])[0]
        'a dog'
    """
    tokens = list({tuple(words(caption)): None for caption in candidates})
    targets = [[words(caption) for caption in captions] for captions in references]
    if len(tokens) > most:
        few = targets[: max(2, 20_000 // len(tokens))]
        tokens = [
            tokens[number] for number in np.argsort(-_scores(tokens, few, targets), kind="stable")[:most]
        ]
    scores = _scores(tokens, targets, targets)
    best = int(np.argmax(scores))
    return " ".join(tokens[best]), float(scores[best])


def _scores(candidates: Sequence[Sequence[str]], images: References, corpus: References) -> np.ndarray:
    """CIDEr-D of each candidate over images, x100, with the document frequencies of a corpus."""
    reward = CiderD(corpus=corpus).prepare(images)
    return np.array([100 * reward.words([list(c)] * len(images)).mean() for c in candidates])
