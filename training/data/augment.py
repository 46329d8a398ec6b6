"""Random crops and changes of brightness, contrast and saturation of training images.

Horizontal flips are in `training/data/transforms.py`, since captions must be changed with them.
"""

from __future__ import annotations

import numpy as np

# The least share of the area that a crop keeps, the largest factor on its aspect ratio, and the largest changes of
# brightness, contrast and saturation.
MIN_AREA, MAX_ASPECT, BRIGHTNESS, CONTRAST, SATURATION = 0.6, 1.2, 0.15, 0.25, 0.3
# Part of the keys of cached features: to be raised whenever the same seed would give other images.
VERSION = "augment 1"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augmented(pixels: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Images with random crops, brightness, contrast and saturation.

    Args:
        pixels: uint8 [B, H, W, 3].
        seed: ints. The same seed does the same to each position in the batch.

    Returns:
        uint8 [B, H, W, 3].

    Example:
        >>> grey = np.full((2, 8, 8, 3), 100, np.uint8)
        >>> augmented(grey, np.array([1, 2])).shape
        (2, 8, 8, 3)
    """
    import tensorflow as tf  # reading datasets must not need TensorFlow

    rng = np.random.default_rng(seed)
    count, height, width, _ = pixels.shape
    area = rng.uniform(MIN_AREA, 1.0, count)
    aspect = np.exp(rng.uniform(-np.log(MAX_ASPECT), np.log(MAX_ASPECT), count))
    sides = np.minimum(np.sqrt(np.stack([area * aspect, area / aspect], axis=1)), 1.0)
    corner = rng.uniform(0.0, 1.0, (count, 2)) * (1.0 - sides)
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    crops = tf.image.crop_and_resize(pixels, boxes, tf.range(count), (height, width)).numpy()
    brightness, contrast, saturation = (
        rng.uniform(1 - change, 1 + change, (count, 1, 1, 1)).astype(np.float32)
        for change in (BRIGHTNESS, CONTRAST, SATURATION)
    )
    grey = crops @ np.array(_LUMA, np.float32)
    mean = grey.mean(axis=(1, 2), keepdims=True)[..., None]
    # Saturation around the image's greys, contrast around their mean, then brightness.
    pixels = grey[..., None] + saturation * (crops - grey[..., None])
    pixels = brightness * (mean + contrast * (pixels - mean))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
