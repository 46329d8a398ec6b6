"""Images drawn with whole numbers alone, the same bits on every machine: for what must not change."""

from __future__ import annotations

from random import Random

import numpy as np

SIZES = ((224, 224), (240, 320), (300, 200))


def drawn_image(seed: int) -> np.ndarray:
    """A lit ground and sky with ellipses and boxes on them: uint8 [H, W, 3]."""
    random = Random(seed)

    def number(low: int, high: int) -> int:
        # Python promises that random() stays as it is, and nothing of what is built on it.
        return low + int(random.random() * (high - low))

    def colour() -> np.ndarray:
        return np.array([number(0, 256) for _ in range(3)])

    height, width = SIZES[number(0, len(SIZES))]
    y, x = np.mgrid[:height, :width]
    image = np.where((y < number(height // 5, height))[..., None], colour(), colour())
    for _ in range(number(1, 8)):
        cy, cx = number(0, height), number(0, width)
        ry, rx = number(height // 20, height // 3), number(width // 20, width // 3)
        if number(0, 2):
            inside = ((y - cy) * rx) ** 2 + ((x - cx) * ry) ** 2 < (rx * ry) ** 2
        else:
            inside = (abs(y - cy) < ry) & (abs(x - cx) < rx)
        image = np.where(inside[..., None], colour(), image)
    light = (x * number(-60, 60)) // width + (y * number(-60, 60)) // height
    grain = (x * 7919 + y * 104729 + x * y * 31) % 23 - 11
    return np.clip(image + (light + grain)[..., None], 0, 255).astype(np.uint8)
