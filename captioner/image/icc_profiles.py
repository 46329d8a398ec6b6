"""Colour profiles (ICC) of images, converted to sRGB by Pillow's LittleCMS."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np

# The mode that a profile's colour space describes.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}

# Modes that hold colours of a profile in another form.
_PLAIN = {"1": "L", "P": "RGB", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}

# Profiles whose colours are at most so many grey levels from sRGB's are taken for it: they round otherwise.
_ALIKE = 2


def to_srgb(image: Any, profile: bytes | None) -> Any:
    """Converts an image from its colour profile to sRGB.

    A profile that is sRGB itself, damaged, or made for another kind of image changes nothing, as in browsers.

    Args:
        image: PIL image.
        profile: bytes of an ICC profile, or None.

    Returns:
        PIL image; of the mode RGB or RGBA when it was converted.
    """
    if not profile:
        return image
    alpha = None
    if image.mode in ("LA", "RGBA"):
        alpha, colours = image.getchannel("A"), image.convert(image.mode[:-1])
    else:
        colours = image.convert(_PLAIN.get(image.mode, image.mode))
    if space(profile) != colours.mode:
        return image
    converted = _transformed(colours, profile)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@functools.lru_cache(maxsize=32)
def space(profile: bytes) -> str | None:
    """The mode of images whose colours a profile changes, or None for one that is sRGB or cannot be used.

    Example:
        >>> space(b"no profile") is None
        True
    """
    import PIL.Image
    from PIL import ImageCms

    try:
        mode = _MODES[ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()]
        steps = np.linspace(0, 255, 256 if mode == "L" else 6).astype(np.uint8)
        grid = np.stack(np.meshgrid(*[steps] * len(mode)), -1).reshape(-1, len(mode))
        probe = PIL.Image.frombytes(mode, (len(grid), 1), grid.tobytes())
        away = np.asarray(_transformed(probe, profile)).astype(int) - np.asarray(probe.convert("RGB"))
    except Exception:  # whatever a damaged profile makes Pillow raise
        return None
    return mode if np.abs(away).max() > _ALIKE else None


def _transformed(image: Any, profile: bytes) -> Any:
    from PIL import ImageCms

    return ImageCms.profileToProfile(
        image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
