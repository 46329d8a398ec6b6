"""Training images as another photographer might have taken them: cut a little closer, in another light.

Left and right are another matter, since captions speak of them: see `data.mirror`.
"""

from __future__ import annotations

import numpy as np

# The least share of an image that stays, the most that its shape changes, and how far light and colours stray.
LEAST_AREA, SHAPE, LIGHT, CONTRAST, COLOUR = 0.6, 1.2, 0.15, 0.25, 0.3
# Named in what is kept on disk: another number whenever the same seed would give other images.
WAYS = "augment 1"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augmented(pixels: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Each image cropped, brightened or darkened, and its contrast and colours made stronger or weaker.

    Args:
        pixels: uint8 [B, H, W, 3].
        seed: ints. The same seed does the same to each place in the batch.

    Returns:
        uint8 [B, H, W, 3].

    Example:
        >>> grey = np.full((2, 8, 8, 3), 100, np.uint8)
        >>> augmented(grey, np.array([1, 2])).shape
        (2, 8, 8, 3)
    """
    import tensorflow as tf  # datasets are read, and their mistakes told, without it

    draw = np.random.default_rng(seed)
    count, height, width, _ = pixels.shape
    area = draw.uniform(LEAST_AREA, 1.0, count)
    shape = np.exp(draw.uniform(-np.log(SHAPE), np.log(SHAPE), count))
    sides = np.minimum(np.sqrt(np.stack([area * shape, area / shape], axis=1)), 1.0)
    corner = draw.uniform(0.0, 1.0, (count, 2)) * (1.0 - sides)
    boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    found = tf.image.crop_and_resize(pixels, boxes, tf.range(count), (height, width)).numpy()
    light, contrast, colour = (
        draw.uniform(1 - most, 1 + most, (count, 1, 1, 1)).astype(np.float32)
        for most in (LIGHT, CONTRAST, COLOUR)
    )
    grey = found @ np.array(_LUMA, np.float32)
    mean = grey.mean(axis=(1, 2), keepdims=True)[..., None]
    # Toward the image's own greys, then toward their mean, then brighter or darker.
    found = grey[..., None] + colour * (found - grey[..., None])
    found = light * (mean + contrast * (found - mean))
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)
