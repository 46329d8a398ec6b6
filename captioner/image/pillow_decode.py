"""Decoding by Pillow: encoded bytes or a PIL image to upright pixels of 8 bits. No TensorFlow here.

Everything that Pillow raises becomes an `ImageError` here, and nowhere else: it raises whatever there is.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from captioner.errors import ImageError
from captioner.image import file_headers
from captioner.image.bit_depths import eight_bits
from captioner.image.file_headers import MAX_PIXELS
from captioner.image.icc_profiles import to_srgb

# What Pillow is asked for, in this order: no kind that starts a program (EPS) or holds no pixels of its own.
# fmt: off
_FORMATS = (
    "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "QOI", "PSD", "DDS", "ICO", "CUR", "ICNS",
    "DIB", "PCX", "SGI", "TGA",
)
# fmt: on

_CLOSED = "its file was closed: open it again, or call load() before that"


class UnknownKind(ImageError):
    """Bytes that are no image of a kind that Pillow reads."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS, convert: bool = False) -> Any:
    """Decodes an image file at its own size, turned upright.

    Args:
        data: bytes of the file.
        max_pixels: int, default 50 million. The most pixels to decode; a larger JPEG is decoded at a half or a
            quarter of its sides, anything else is refused by its header.
        convert: bool, default False. Whether a colour profile is converted to sRGB; graphs do not.

    Returns:
        PIL image of the mode L, LA, RGB or RGBA.

    Raises:
        UnknownKind: if Pillow knows no such kind.
        ImageError: one line without the image's name, if it cannot be read.
    """
    kind = file_headers.kind(data)
    with _guarded(kind):
        box = None
        if kind == "GIF":
            frame = file_headers.gif_frame(data)
            if frame.width * frame.height > max_pixels:
                raise file_headers.too_large(frame.height, frame.width, max_pixels, kind)
            data, box = frame.data, frame
        core = file_headers.png_core(data) if kind == "PNG" else data
        image = _opened(core, kind)
        width, height = image.size
        ratio = 1 if width * height <= max_pixels else None
        if kind == "JPEG":
            ratio = file_headers.jpeg_ratio(height, width, max_pixels)
        if max(width, height) > file_headers.MAX_SIDE:
            raise ImageError(
                f"expected sides of at most {file_headers.MAX_SIDE} pixels, got {width} x {height}"
            )
        if ratio is None or min(width, height) < ratio:
            raise file_headers.too_large(height, width, max_pixels, kind)
        if ratio > 1:
            image.draft(image.mode, (width // ratio, height // ratio))
        if kind == "PNG":
            _opened(core, kind).verify()  # Pillow passes over wrong checksums of pixels otherwise
        known = kind in ("JPEG", "PNG", "WebP")
        turn = file_headers.orientation(data) if known else None
        profile = (
            (file_headers.profile(data) if known else image.info.get("icc_profile")) if convert else None
        )
        image = _finished(image, turn, profile)
        if box is not None:
            image = _placed(image.convert("RGB"), box)
        if kind == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getextrema()[1]:
            image = image.convert("RGB")  # nothing but zeros: it means nothing
        return image


def from_pil(image: Any) -> Any:
    """A PIL image upright, in sRGB and of 8 bits; the image itself is left as it is.

    Args:
        image: PIL image, with its pixels read or not.

    Returns:
        PIL image of the mode L, LA, RGB or RGBA.

    Raises:
        ImageError: one line without the image's name, if its pixels cannot be read.
    """
    if 0 in image.size:
        raise ImageError(f"expected an image with pixels, got {image.width} x {image.height}")
    if getattr(image, "_im", image) is None and getattr(image, "fp", None) is None:
        raise ImageError(_CLOSED)
    with _guarded(None):
        # Asked before the pixels are read: a PNG's block behind them does not count.
        block = image.info.get("exif")
        turn = file_headers.tiff_orientation(block) if isinstance(block, bytes) else 1
        return _finished(image, turn, image.info.get("icc_profile"))


def on_white(image: Any) -> Any:
    """A PIL image in RGB; what is transparent becomes white."""
    import PIL.Image

    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    rgba = np.asarray(image.convert("RGBA")).astype(np.uint16)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return PIL.Image.fromarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))


def _opened(data: bytes, kind: str | None) -> Any:
    """A PIL image with nothing read but its header. Not `PIL.Image.open`: that has a limit of its own."""
    import PIL.Image
    import PIL.JpegImagePlugin

    _prepare()
    if kind == "JPEG":  # the factory would make several images of some
        return PIL.JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    names = [kind.upper()] if kind else [name for name in _FORMATS if name in PIL.Image.OPEN]
    for name in names:
        factory, accept = PIL.Image.OPEN[name]
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
            fits = accept is None or accept(data[:16])
            if fits and not isinstance(fits, str):  # a str says why not
                return factory(io.BytesIO(data), "")
    if kind:
        raise ImageError(f"damaged {kind}, it cannot be decoded")
    raise UnknownKind("not an image")


@functools.cache
def _prepare() -> None:
    """Loads what Pillow reads with, and the plugin for HEIC where it is installed."""
    import PIL.Image

    PIL.Image.init()
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()


def _finished(image: Any, turn: int | None, profile: bytes | None) -> Any:
    """An opened image with its pixels read, of 8 bits, in sRGB if a profile is given, and upright."""
    import PIL.Image

    tiff = hasattr(image, "tag_v2")
    tags = dict(image.tag_v2) if tiff else {}
    tile = getattr(image, "tile", None)
    args = tile[0][3] if tile else ""
    if tags.get(284) == 2 and np.max(tags.get(258, 1)) > 8 and args and args[0] in ("R", "C"):
        # Pillow takes each byte of them for a pixel.
        raise ImageError(
            "expected 16 bits with the channels side by side, got planes: save it as JPEG or PNG"
        )
    # Around a first frame that is smaller than the screen nothing is drawn; Pillow fills in the first colour.
    box = tile[0][1] if tile and image.format == "GIF" and image.tell() == 0 else None
    # Pillow turns a TIFF itself while reading, by XMP as well if that is there.
    xmp = {key: image.info.pop(key) for key in ("xmp", "XML:com.adobe.xmp") if tiff and key in image.info}
    try:
        image.load()
    finally:
        image.info.update(xmp)
    if tiff:
        turn = image.tag_v2.get(file_headers.ORIENTATION_TAG, 1)
    elif turn is None:
        block = image.info.get("exif")
        turn = file_headers.tiff_orientation(block) if isinstance(block, bytes) else 1
    if image.format in ("JPEG", "MPO") and image.mode == "CMYK" and "adobe" not in image.info:
        # Only Adobe stores ink as its opposite; Pillow thinks that everybody does, libjpeg's users do not.
        ink = PIL.Image.fromarray(255 - np.asarray(image), "CMYK")
        ink.info, image = dict(image.info), ink
    eight = eight_bits(image, args if isinstance(args, str) else "", tags)
    if image.mode == "LAB":
        raise ImageError("expected colours in RGB, CMYK or grey, got CIELAB: save it as JPEG or PNG")
    if box is not None and box != (0, 0, *image.size):
        drawn = PIL.Image.new("L", image.size)
        drawn.paste(255, box)
        eight = PIL.Image.composite(eight.convert("RGBA"), PIL.Image.new("RGBA", image.size), drawn)
    image = to_srgb(_with_alpha(eight), profile)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    flip = PIL.Image.Transpose
    turns = {2: flip.FLIP_LEFT_RIGHT, 3: flip.ROTATE_180, 4: flip.FLIP_TOP_BOTTOM, 5: flip.TRANSPOSE}
    turns |= {6: flip.ROTATE_270, 7: flip.TRANSVERSE, 8: flip.ROTATE_90}
    return image.transpose(turns[turn]) if turn in turns else image


def _with_alpha(image: Any) -> Any:
    """The image with a channel of alpha where something in it is transparent."""
    if image.mode == "La":  # which converts to nothing else
        return image.convert("LA")
    if image.mode in ("LA", "RGBA", "L", "RGB") and "transparency" not in image.info:
        return image
    return image.convert("RGBA") if image.has_transparency_data else image


def _placed(image: Any, frame: file_headers.GifFrame) -> Any:
    """The first frame of a GIF on its screen, which is transparent elsewhere, so white."""
    import PIL.Image

    if image.size == (frame.width, frame.height):
        return image
    screen = PIL.Image.new("RGB", (frame.width, frame.height), "white")
    screen.paste(image, (frame.left, frame.top))
    return screen


@contextlib.contextmanager
def _guarded(kind: str | None) -> Iterator[None]:
    """Turns every exception raised inside into an `ImageError` and suppresses warnings."""
    try:
        with _QUIET:
            yield
    except ImageError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError):
            raise ImageError("not enough memory to decode it: make it smaller") from None
        closed = "closed image" in str(error)
        raise ImageError(_CLOSED if closed else f"damaged {kind or 'image'}, it cannot be decoded") from None


class _Quiet:
    """Ignores warnings while any thread is inside: `warnings.catch_warnings` alone is for one thread."""

    def __init__(self) -> None:
        self._lock, self._inside, self._caught = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_QUIET = _Quiet()
