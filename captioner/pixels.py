"""The pixels that `captioner.images` makes, by Pillow and NumPy, for engines that have no TensorFlow.

Decoding and turning agree exactly, resizing within a grey level; a test holds both to it over every odd kind of file.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from captioner.errors import ImageError
from captioner.inputs import MAX_PIXELS, upright


def read(image_bytes: bytes, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads one encoded picture as a model wants it: upright, on white, squashed to `size`.

    Args:
        image_bytes: bytes. As `captioner.inputs.to_bytes` gives them.
        size: (height, width).
        max_pixels: int, default 50 million. A larger picture is refused by its header.

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
        max_pixels: int, default 50 million. A larger picture is refused by its header.

    Raises:
        ImageError: one line without the picture's name, if it cannot be read.
    """
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are refused below
            picture = PIL.Image.open(io.BytesIO(image_bytes))
        width, height = picture.size
        if width * height > max_pixels:
            raise ImageError(f"{width} x {height} pixels are more than {max_pixels / 1e6:g} megapixels")
        kind = picture.format
        if kind == "PNG":
            # Pillow passes over wrong checksums of pixels otherwise.
            PIL.Image.open(io.BytesIO(image_bytes)).verify()
        return _on_white(upright(picture), kind)
    except ImageError:
        raise
    except PIL.Image.DecompressionBombError:
        raise ImageError(f"more than {max_pixels / 1e6:g} megapixels") from None
    except Exception:  # damage shows in as many ways as there are bytes
        raise ImageError("damaged picture, it cannot be decoded") from None


def drawn(size: tuple[int, int]) -> bytes:
    """A JPEG of a size (height, width) that has something to look at everywhere, and is always the same."""
    import PIL.Image

    noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    held = io.BytesIO()
    picture = PIL.Image.fromarray(noise).resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)
    picture.save(held, "JPEG", quality=95)
    return held.getvalue()


def _on_white(picture: Any, kind: str | None) -> Any:
    """The same in RGB; what is transparent becomes white."""
    import PIL.Image

    # The fourth channel of a BMP is mostly left at 0 and means nothing.
    if not picture.has_transparency_data or kind == "BMP":
        return picture.convert("RGB")
    rgba = np.asarray(picture.convert("RGBA")).astype(np.uint16)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return PIL.Image.fromarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))
