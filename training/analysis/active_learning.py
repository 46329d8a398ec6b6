"""Active learning: which images without captions would teach a model most. NumPy alone.

An image is worth captioning if the model is unsure of it and if it is unlike the images that are captioned or chosen
already. Uncertainty alone chooses near-duplicates of one difficult image, diversity alone outliers that the model
captions well (Settles 2009, Active Learning Literature Survey, sections 3.1 and 3.6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner import checks
from captioner.errors import DataError
from captioner.types import Caption

# Distances below this share of the largest one are those of duplicates: what is left of them is rounding.
_DUPLICATE = 1e-6


def uncertainty(caption: Caption) -> float:
    """How unsure a model is of its caption: the mean negative log-probability of its words and its end, in nats.

    The normalised log-probability of Shen et al. 2018 (Deep Active Learning for Named Entity Recognition, eq. 2),
    negative: without the division long captions would always come first.

    Args:
        caption: Caption.

    Returns:
        float, 0 for a caption that the model is certain of.

    Example:
        >>> uncertainty(Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.7)))
        0.5
    """
    return max(0.0, -caption.logp / (len(caption.words) + 1))


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features of length 1, so that distances compare directions; a feature of zeros stays so.

    Args:
        features: float [N, C].

    Returns:
        float64 [N, C].

    Example:
        >>> unit_length(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1.0)


def select(
    features: np.ndarray,
    uncertainty: Sequence[float] | np.ndarray,
    count: int,
    labelled: np.ndarray | None = None,
) -> np.ndarray:
    """Chooses images to caption, those that would teach most first.

    Greedy k-center (Sener & Savarese 2018, Active Learning for Convolutional Neural Networks, algorithm 1) with
    distances weighted by uncertainty: the next image is the one with the largest product of its uncertainty and its
    distance to the closest image that is captioned or chosen. So of near-duplicates one is chosen early and the others
    last, however unsure the model is of them. Without captioned images the first is the most uncertain one. The order
    of a smaller `count` is the beginning of that of a larger one.

    Args:
        features: float [N, C]. Features of the images without captions, such as means over locations.
        uncertainty: float [N]. At least 0; see the function of that name.
        count: int. How many to choose, at most N are.
        labelled: float [M, C], default none. Features of the images with captions.

    Returns:
        int64 [min(count, N)]: numbers of the images, in order. Of equals the first comes first.

    Raises:
        DataError: if the shapes do not match, a number is not finite, or an uncertainty is negative.
        SpecError: if `count` is no whole number of at least 0.

    Example:
        >>> features = np.array([[0.0, 0.0], [0.0, 0.1], [5.0, 0.0], [9.0, 0.0]])
        >>> select(features, [2.0, 1.9, 1.0, 1.0], 4).tolist()
        [0, 3, 2, 1]
        >>> select(features, [2.0, 1.9, 1.0, 1.0], 2, labelled=np.array([[9.0, 0.0]])).tolist()
        [0, 2]
    """
    features, weights = np.asarray(features, np.float64), np.asarray(uncertainty, np.float64)
    count = min(checks.integer(count, "count", 0), len(features))
    centers = np.zeros((0, features.shape[-1])) if labelled is None else np.asarray(labelled, np.float64)
    _check(features, weights, centers)
    if not count:
        return np.zeros(0, np.int64)
    distances = np.full(len(features), np.inf)
    for center in centers:
        distances = np.minimum(distances, _distances(features, center))
    scale = np.linalg.norm(features - features.mean(0), axis=1).max(initial=0.0)
    chosen: list[int] = []
    remaining = np.ones(len(features), bool)
    for _ in range(count):
        number = _next(distances, weights, remaining, _DUPLICATE * scale)
        chosen.append(number)
        remaining[number] = False
        distances = np.minimum(distances, _distances(features, features[number]))
    return np.array(chosen, np.int64)


def _distances(features: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Euclidean distances of features [N, C] to one [C]: [N]."""
    return np.sqrt(np.square(features - center).sum(1))


def _next(distances: np.ndarray, weights: np.ndarray, remaining: np.ndarray, duplicate: float) -> int:
    """The number of the image to choose next: by product, then by distance, then by uncertainty."""
    # Before anything is captioned or chosen all are equally far, infinitely.
    distances = np.where(np.isinf(distances), 1.0, np.where(distances > duplicate, distances, 0.0))
    numbers = np.flatnonzero(remaining)
    distances, weights = distances[numbers], weights[numbers]
    keys = (-numbers, _rounded(weights), _rounded(distances), _rounded(distances * weights))
    return int(numbers[np.lexsort(keys)[-1]])


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values [N] as shares of the largest, in five digits: copies of an image, which differ by rounding, are equal."""
    return np.round(values / (values.max() or 1.0), 5)


def _check(features: np.ndarray, weights: np.ndarray, centers: np.ndarray) -> None:
    shapes = f"{list(features.shape)}, {list(weights.shape)} and {list(centers.shape)}"
    fits = features.ndim == centers.ndim == 2 and weights.shape == features.shape[:1]
    if not fits or centers.shape[1] != features.shape[1]:
        raise DataError(f"expected features [N, C], uncertainty [N] and labelled [M, C], got {shapes}")
    if not all(np.isfinite(array).all() for array in (features, weights, centers)):
        raise DataError("expected finite features and uncertainties, got NaN or infinity")
    if (weights < 0).any():
        raise DataError(f"expected uncertainties of at least 0, got {weights.min():g}")
