"""Near-duplicates among training images: bursts and copies, which teach no more than one image does."""

from __future__ import annotations

import numpy as np

# Cosine of mean features. Recompressed, cropped by 2 % or brighter copies of a photograph have 0.965 and more with one
# another by EfficientNet-Lite0, the nearest of 600 photographs of flowers 0.93.
NEAR = 0.95
_MOST = 3000  # images to compare


def distinct(features: np.ndarray, near: float = NEAR) -> int:
    """How many images are left when near-duplicates of an earlier one are dropped.

    Args:
        features: float [N, C]. Mean features.
        near: float, default 0.95. Cosine from which two images are near-duplicates.

    Returns:
        int.

    Example:
        >>> distinct(np.array([[1.0, 0.0], [0.0, 1.0], [0.99, 0.01]]))
        2
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    kept = np.empty((0, unit.shape[1]), unit.dtype)
    for vector in unit:
        if not len(kept) or (kept @ vector).max() < near:
            kept = np.concatenate([kept, vector[None]])
    return len(kept)


def sample(count: int) -> np.ndarray:
    """Numbers of the images to compare, of `count`: all, or 3,000 evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(int))
