"""Bootstrap confidence intervals over images.

Images are drawn with replacement, as many as there are, again and again (Efron and Tibshirani 1993, "An
introduction to the bootstrap", chapters 6 and 13; Koehn 2004, "Statistical significance tests for machine
translation evaluation", for pairs). Every figure is computed as it is for the whole: BLEU from the drawn
images' summed counts, a mean from their values. What each image scores stays, so that the document
frequencies of CIDEr-D are those of all images. A figure that is neither (different captions, vocabulary) has no
interval: drawn images repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner.metrics import Scored

PERCENT, SEED = 95, 0
_AT_ONCE = 4_000_000  # draws held in memory


def resampled(models: Sequence[Scored], count: int, seed: int = SEED) -> list[dict[str, np.ndarray]]:
    """Scores of bootstrap samples, drawn alike for one or more models.

    Args:
        models: sequence of `Scored`, of the same images in the same order.
        count: int. How often images are drawn, R.
        seed: int, default 0.

    Returns:
        For each model a dict of figure name to float64 [R], without the scores that have no spread.

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
    """Scores of samples in which each image occurs `times` [R, B] times."""
    drawn_metrics: dict[str, np.ndarray] = {}
    for scores in model.scores:
        if scores.combine is not None and scores.counts is not None:
            sums: Any = (times @ scores.counts).round().astype(np.int64)
            rows = [scores.combine(row) for row in sums]
            drawn_metrics |= {name: np.array([row[name] for row in rows]) for name in rows[0]}
            continue
        for name, values in scores.per_image.items():
            # A corpus figure of another kind (METEOR) cannot be put together from those of its images.
            if np.isclose(values.mean(), scores.corpus[name], rtol=1e-9, atol=1e-9):
                drawn_metrics[name] = times @ values / times.shape[1]
    return drawn_metrics
