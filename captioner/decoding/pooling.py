"""Features of an image as one vector, for TensorFlow and NumPy."""

from __future__ import annotations

from typing import Any

from captioner.decoding.backend import xp


def mean_feature(features: Any) -> Any:
    """Features averaged over locations: float32 [B, C] of float [B, L, C]."""
    return xp.reduce_sum(xp.cast(features, xp.float32), axis=1) / float(features.shape[1])


def unit(x: Any) -> Any:
    """Rows [N, C] at unit length; zeros stay zeros."""
    return x / xp.maximum(xp.reduce_sum(x * x, axis=-1, keepdims=True), 1e-12) ** 0.5
