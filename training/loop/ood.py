"""Fitting of `captioner.outputs.ood`: the Gaussian of the training images, the thresholds, and their figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from captioner.decoding.backend import numpy_backend
from captioner.decoding.pooling import unit
from captioner.errors import DataError
from captioner.outputs.ood import OutOfDistribution

RANK, TRIM, LEAST_CONFIDENCE = 64, 0.2, 0.3
MAX_DECLINED, MAX_HEDGED = 0.02, 0.1
_ROUNDS = 2  # of leaving out the farthest images
_LEAST_IMAGES = 8


def fit(features: np.ndarray, rank: int = RANK, trim: float = TRIM) -> OutOfDistribution:
    """Probabilistic principal component analysis in closed form (Tipping and Bishop 1999, eq. 7 and 8).

    A training set has images that are not typical of it, screenshots among photographs for example, and a few of them
    stretch the Gaussian towards all that are like them. So the farthest are left out, and it is fitted again, twice.

    Args:
        features: float [N, C]. Mean features of the training images.
        rank: int, default 64. R; at most C and about half as many as images.
        trim: float, default 0.2. Share of the images that is left out.

    Returns:
        `OutOfDistribution` whose thresholds are so high that nothing is hedged or declined; see `calibrated`.

    Raises:
        DataError: for fewer than 8 images, or images that all have the same feature.

    Example:
        >>> photos = np.random.default_rng(0).normal(size=(200, 12)) + 4
        >>> ood = fit(photos, rank=3)
        >>> scores = scored(ood, np.concatenate([photos, -photos]))
        >>> bool(0.8 < np.median(scores[:200]) < 1.2), bool(scores[200:].min() > 5)
        (True, True)
    """
    count, channels = features.shape
    if count < _LEAST_IMAGES:
        raise DataError(f"expected at least {_LEAST_IMAGES} training images to fit on, got {count}")
    rank = min(rank, channels, max(1, count // 2 - 1))
    kept = features
    for remaining in range(_ROUNDS if trim > 0 else 0, -1, -1):
        ood = _gaussian(kept, rank, count)
        if remaining:
            scores = scored(ood, features)
            kept = features[scores <= np.quantile(scores, 1 - trim)]
    return ood


def _gaussian(features: np.ndarray, rank: int, images: int) -> OutOfDistribution:
    with numpy_backend():
        rows = unit(features.astype(np.float64))
    centre = rows.mean(axis=0)
    covariance = (rows - centre).T @ (rows - centre) / len(rows)
    variances, axes = (part[..., ::-1] for part in np.linalg.eigh(covariance))
    if variances[0] <= 1e-12:
        raise DataError(f"expected training images that differ, got {len(rows)} with the same mean feature")
    floor = max(1e-6 * variances[0], 1e-12)
    besides = variances[rank:].mean() if rank < len(variances) else variances[-1]
    return OutOfDistribution(
        centre=centre.astype(np.float32),
        axes=axes[:, :rank].astype(np.float16),
        precisions=(1 / np.maximum(variances[:rank], floor)).astype(np.float32),
        residual_precision=np.array(1 / max(besides, floor), np.float32),
        hedge=np.array(1e9, np.float32),
        decline=np.array(1e9, np.float32),
        least_confidence=np.array(0, np.float32),
        images=np.array(images, np.int32),
        figures=np.array(""),
    )


def scored(ood: OutOfDistribution, features: np.ndarray) -> np.ndarray:
    """Out-of-distribution scores float32 [N] of mean features float [N, C]."""
    with numpy_backend():
        return ood.score(features)


def threshold(scores: np.ndarray, share: float) -> float:
    """The lowest of the scores above which lies at most this share of them.

    Example:
        >>> threshold(np.arange(100), 0.02)
        97.0
    """
    return float(np.sort(scores)[len(scores) - 1 - int(share * len(scores) + 1e-9)])


def decline_threshold(in_domain: np.ndarray, far_off: np.ndarray, max_declined: float) -> float:
    """The threshold of the fewest errors among those that decline at most a share of the in-domain images.

    Errors are the share of in-domain images that are declined, and that of far-off images that are not. Where far-off
    images are far, fewer images are declined in error than may be; of equally good thresholds it is the lowest.

    Args:
        in_domain, far_off: float [N], [M]. Scores.
        max_declined: float, 0..1. Share of the in-domain images.

    Example:
        >>> photos, drawings = np.arange(100.0), np.arange(200.0, 210.0)
        >>> decline_threshold(photos, drawings, 0.02), decline_threshold(photos, drawings - 102, 0.02)
        (99.0, 97.0)
    """
    candidates = np.unique(in_domain[in_domain >= threshold(in_domain, max_declined)])
    errors = [np.mean(in_domain > t) + np.mean(far_off <= t) for t in candidates]
    return float(candidates[int(np.argmin(errors))])


def auroc(in_domain: np.ndarray, far_off: np.ndarray) -> float:
    """The probability that a far-off image has a higher score than an in-domain one, ties counted as a half: the area
    under the ROC curve (Hanley and McNeil 1982).

    Example:
        >>> auroc(np.array([1, 2]), np.array([2, 3]))
        0.875
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([in_domain, far_off]))[len(in_domain) :]
    pairs = len(in_domain) * len(far_off)
    return float((ranks.sum() - len(far_off) * (len(far_off) + 1) / 2) / pairs)


def calibrated(
    ood: OutOfDistribution,
    in_domain: np.ndarray,
    far_off: Mapping[str, np.ndarray],
    max_declined: float = MAX_DECLINED,
    max_hedged: float = MAX_HEDGED,
    least_confidence: float = LEAST_CONFIDENCE,
) -> OutOfDistribution:
    """Sets the thresholds by images that were not fitted on.

    Args:
        ood: OutOfDistribution.
        in_domain: float [N]. Scores of images of the training images' kind.
        far_off: mapping of a kind of images to their scores.
        max_declined: float, default 0.02. The largest share of the in-domain images that may be declined.
        max_hedged: float, default 0.1. The share of them with a score above the threshold of hedging, declined ones
            included.
        least_confidence: float, default 0.3; see `OutOfDistribution`.

    Returns:
        `OutOfDistribution` without figures.
    """
    every = np.concatenate(list(far_off.values()))
    return replace(
        ood,
        hedge=np.array(threshold(in_domain, max(max_hedged, max_declined)), np.float32),
        decline=np.array(decline_threshold(in_domain, every, max_declined), np.float32),
        least_confidence=np.array(least_confidence, np.float32),
    )


def with_figures(
    ood: OutOfDistribution, in_domain: np.ndarray, far_off: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> OutOfDistribution:
    """Adds what was measured: "auroc", and shares "declined" and "hedged" (by the score alone), for each kind.

    Args:
        ood: OutOfDistribution with thresholds.
        in_domain: float [N]. Scores of further images of the training images' kind.
        far_off: mapping of a kind of images to their scores.
        about: mapping that JSON can hold. What else to record, such as the names of splits.
    """
    every = {**far_off, "all": np.concatenate(list(far_off.values()))}

    def shares(scores: np.ndarray) -> dict[str, Any]:
        declined, above = np.mean(scores > ood.decline), np.mean(scores > ood.hedge)
        return {"images": len(scores), "declined": float(declined), "hedged": float(above - declined)}

    figures = {
        **about,
        "in_domain": shares(in_domain),
        "far_off": {kind: {"auroc": auroc(in_domain, s), **shares(s)} for kind, s in every.items()},
    }
    return replace(ood, figures=np.array(json.dumps(figures, allow_nan=False)))


def figures_table(measured: Mapping[str, Any]) -> list[str]:
    """The figures as lines of Markdown, for the card and the terminal.

    Args:
        measured: what `OutOfDistribution.measured` returns.
    """
    lines = ["| images | number | AUROC | declined | hedged |", "|---|---:|---:|---:|---:|"]
    rows = {f"like those it was trained on ({measured['eval_split']})": measured["in_domain"]}
    rows |= {kind.replace("_", " "): row for kind, row in measured["far_off"].items()}
    for kind, row in rows.items():
        area = f"{row['auroc']:.3f}" if "auroc" in row else ""
        declined, hedged = (f"{100 * row[name]:.1f} %" for name in ("declined", "hedged"))
        lines.append(f"| {kind} | {row['images']} | {area} | {declined} | {hedged} |")
    return lines
