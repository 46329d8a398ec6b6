"""Bootstrap confidence intervals over images.

Each bootstrap sample draws as many images as there are, with replacement (Efron and Tibshirani 1993, "An
introduction to the bootstrap", chapters 6 and 13; Koehn 2004, "Statistical significance tests for machine
translation evaluation", for pairs of models). Corpus scores of a sample are computed from per-image statistics: BLEU
from summed counts, other scores as means. The per-image scores are those of the full set, so that the document
frequencies of CIDEr-D are those of all images. Other statistics (unique captions, vocabulary) have no interval, as
samples contain images repeatedly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner.metrics import Scored

PERCENT, SEED = 95, 0
_AT_ONCE = 4_000_000  # draws in memory at a time


def resampled(models: Sequence[Scored], count: int, seed: int = SEED) -> list[dict[str, np.ndarray]]:
    """Scores of bootstrap samples, with the same samples for all models.

    Args:
        models: sequence of `Scored`, of the same images in the same order.
        count: int. Number of bootstrap samples, R.
        seed: int, default 0.

    Returns:
        For each model a dict of a score's name to float64 [R], without the scores that have no interval.

    Example:
        >>> from captioner.metrics import scored
        >>> world = scored(["a dog", "a cat"], [["a dog"], ["two dogs"]], metrics=["exact_match"])
        >>> sorted({float(value) for value in resampled([world], 100)[0]["exact match"]})
        [0.0, 50.0, 100.0]
    """
    size = len(models[0].names)
    generator = np.random.default_rng(seed)
    parts: list[dict[str, list[np.ndarray]]] = [{} for _ in models]
    step = max(1, _AT_ONCE // size)
    for start in range(0, count, step):
        rows = min(step, count - start)
        drawn = generator.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
        for model, values_of in zip(models, parts, strict=True):
            for name, values in _resampled_scores(model, times).items():
                values_of.setdefault(name, []).append(values)
    return [{name: np.concatenate(values) for name, values in values_of.items()} for values_of in parts]


def spread(values: np.ndarray) -> dict[str, float]:
    """Standard error and the percentile interval of resampled scores [R].

    Example:
        >>> spread(np.arange(101.0))["low"], spread(np.arange(101.0))["high"]
        (2.5, 97.5)
    """
    low, high = np.percentile(values, [(100 - PERCENT) / 2, (100 + PERCENT) / 2])
    return {"error": float(values.std(ddof=1)), "low": float(low), "high": float(high)}


def _resampled_scores(model: Scored, times: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of the samples that contain each image `times` [R, B] times."""
    sample_scores: dict[str, np.ndarray] = {}
    for scores in model.scores:
        if scores.combine is not None and scores.counts is not None:
            sums: Any = (times @ scores.counts).round().astype(np.int64)
            rows = [scores.combine(row) for row in sums]
            sample_scores |= {name: np.array([row[name] for row in rows]) for name in rows[0]}
            continue
        for name, values in scores.per_image.items():
            # Corpus scores that are not means over images (METEOR) cannot be computed from those of images.
            if np.isclose(values.mean(), scores.corpus[name], rtol=1e-9, atol=1e-9):
                sample_scores[name] = times @ values / times.shape[1]
    return sample_scores
