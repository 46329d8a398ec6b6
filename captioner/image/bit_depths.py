"""Pixels of other depths than 8 bits a channel, and floats, to 8 bits. No TensorFlow here."""

from __future__ import annotations

from typing import Any

import numpy as np

from captioner.errors import ImageError

_DEPTHS = "expected 8 or 16 bits a channel, or floats from 0 to 1"
_ADVICE = "scale it and save it as JPEG or PNG"

# Floats may be so far outside of 0 to 1, as a resize leaves them: a quarter of a grey level.
_ROUNDING = 1e-3


def eight_bits(image: Any, raw: str, tags: dict[int, Any]) -> Any:
    """The image with channels of 8 bits, scaled by the range of their type.

    Args:
        image: PIL image with its pixels read.
        raw: str. How Pillow describes the pixels in the file; empty for an image made in memory.
        tags: of a TIFF.

    Raises:
        ImageError: for depths that do not say what black and white are.
    """
    import PIL.Image

    bits, sample = (np.atleast_1d(tags.get(tag, default)).max() for tag, default in ((258, 8), (339, 1)))
    if tags and sample == 2:
        raise ImageError(f"{_DEPTHS}; got signed integers of {bits} bits: {_ADVICE}")
    if image.mode == "F":
        values = unit_to_bytes(np.asarray(image))
        return PIL.Image.fromarray(255 - values if tags.get(262) == 0 else values)
    if image.mode == "I" and not (tags == {} and image.format in ("PNG", "PPM", "JPEG2000")):
        raise ImageError(f"{_DEPTHS}; got integers of 32 bits: {_ADVICE}")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        # Pillow's own conversion clips at 255; the upper 8 bits are what the graph keeps of 16 bit PNGs.
        upper = (values >> (int(bits) - 8 if 8 < bits < 16 else 8)).astype(np.uint8)
        clear = image.info.get("transparency")
        upper = 255 - upper if tags.get(262) == 0 else upper  # TIFF: white is zero
        image = PIL.Image.fromarray(upper)
        if isinstance(clear, int):
            image.putalpha(PIL.Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        return image
    clear = image.info.get("transparency")
    # Pillow leaves the transparent colour of a PNG in the depth of the file when it scales the pixels.
    if image.mode in ("1", "L") and isinstance(clear, int):
        clear *= {"1": 255, "L;2": 85, "L;4": 17}.get(raw, 1)
        image = image.convert("L")
        image.putalpha(image.point([0 if level == clear else 255 for level in range(256)]))
    elif "16" in raw and isinstance(clear, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    return image


def unit_to_bytes(values: np.ndarray) -> np.ndarray:
    """uint8 of floats from 0 to 1.

    Raises:
        ImageError: for other floats.

    Example:
        >>> unit_to_bytes(np.array([0, 0.5, 1]))
        array([  0, 128, 255], dtype=uint8)
    """
    low, high = float(values.min()), float(values.max())
    if np.isnan(low):
        raise ImageError("expected float pixels from 0 to 1, got nan (not a number): replace it")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ImageError(
            f"expected float pixels from 0 to 1, got {low:g} to {high:g}; use uint8 for 0 to 255"
        )
    return np.round(values * 255).astype(np.uint8)
