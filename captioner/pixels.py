"""The pixels that `captioner.images` makes, by Pillow and NumPy, for engines that have no TensorFlow.

Decoding and turning agree exactly, resizing within a grey level; a test holds both to it over every odd kind of file.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from captioner import pillow_decode
from captioner.containers import MAX_PIXELS


def read(image_bytes: bytes, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads one encoded picture as a model wants it: upright, on white, squashed to `size`.

    Args:
        image_bytes: bytes. As `captioner.inputs.to_bytes` gives them.
        size: (height, width).
        max_pixels: int, default 50 million. The most pixels to decode, see `captioner.pillow_decode.decode`.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ImageError: one line without the picture's name, if it cannot be read.

    Example:
        >>> from captioner.inputs import to_bytes
        >>> read(to_bytes(np.full((4, 6, 3), 200, np.uint8)), (2, 2))[0, 0]
        array([200, 200, 200], dtype=uint8)
    """
    import PIL.Image

    picture = upright_rgb(image_bytes, max_pixels)
    return np.asarray(picture.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR))


def upright_rgb(image_bytes: bytes, max_pixels: int = MAX_PIXELS) -> Any:
    """One encoded picture at its own size as a PIL image: upright, in RGB, on white where it is transparent.

    Args:
        image_bytes: bytes. As `captioner.inputs.to_bytes` gives them.
        max_pixels: int, default 50 million. The most pixels to decode, see `captioner.pillow_decode.decode`.

    Raises:
        ImageError: one line without the picture's name, if it cannot be read.
    """
    return pillow_decode.on_white(pillow_decode.decode(image_bytes, max_pixels))


def drawn(size: tuple[int, int]) -> bytes:
    """A JPEG of a size (height, width) that has something to look at everywhere, and is always the same."""
    import PIL.Image

    noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    held = io.BytesIO()
    picture = PIL.Image.fromarray(noise).resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)
    picture.save(held, "JPEG", quality=95)
    return held.getvalue()
