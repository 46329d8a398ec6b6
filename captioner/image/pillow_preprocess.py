"""Preprocessing by Pillow and NumPy, equal to `captioner.image.tf_decode`, for engines without TensorFlow.

Decoding and turning agree exactly, resizing within a grey level; a test holds both to it over every odd kind of file.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from captioner.image import pillow_decode
from captioner.image.file_headers import MAX_PIXELS


def read(image_bytes: bytes, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads one encoded image as a model wants it: upright, on white, squashed to `size`.

    Args:
        image_bytes: bytes. As `captioner.image.loading.to_bytes` gives them.
        size: (height, width).
        max_pixels: int, default 50 million. The most pixels to decode, see `captioner.image.pillow_decode.decode`.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ImageError: one line without the image's name, if it cannot be read.

    Example:
        >>> from captioner.image.loading import to_bytes
        >>> read(to_bytes(np.full((4, 6, 3), 200, np.uint8)), (2, 2))[0, 0]
        array([200, 200, 200], dtype=uint8)
    """
    import PIL.Image

    image = upright_rgb(image_bytes, max_pixels)
    return np.asarray(image.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR))


def upright_rgb(image_bytes: bytes, max_pixels: int = MAX_PIXELS) -> Any:
    """One encoded image at its own size as a PIL image: upright, in RGB, on white where it is transparent.

    Args:
        image_bytes: bytes. As `captioner.image.loading.to_bytes` gives them.
        max_pixels: int, default 50 million. The most pixels to decode, see `captioner.image.pillow_decode.decode`.

    Raises:
        ImageError: one line without the image's name, if it cannot be read.
    """
    return pillow_decode.on_white(pillow_decode.decode(image_bytes, max_pixels))


def drawn(size: tuple[int, int]) -> bytes:
    """A deterministic JPEG of a size (height, width) with structure everywhere, for measurements."""
    import PIL.Image

    noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    held = io.BytesIO()
    image = PIL.Image.fromarray(noise).resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)
    image.save(held, "JPEG", quality=95)
    return held.getvalue()
