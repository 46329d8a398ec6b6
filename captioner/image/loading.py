"""Loading images: a path, bytes, PIL image or array to the encoded bytes that every engine takes. No TensorFlow here.

An image may come as a path, encoded bytes, a PIL image, a numpy array or a TensorFlow tensor. Bytes that the
graph (`captioner.image.tf_decode`) can decode pass untouched; kinds that only Pillow reads (TIFF, AVIF, animated WebP,
palette BMP ...) and images in memory become PNG, which loses nothing.

Colours: an image with an ICC profile other than sRGB is converted to sRGB here, as browsers show it, because the
graph cannot. Other statements about colour (PNG's gAMA, cHRM and cICP, profiles in BMP files) are passed over.
"""

from __future__ import annotations

import importlib.util
import io
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import ImageError
from captioner.image import bit_depths, file_headers, not_images, pillow_decode
from captioner.image.file_headers import MAX_PIXELS, SIGNATURES, kind
from captioner.image.icc_profiles import space

__all__ = [
    "MAX_PIXELS",
    "SIGNATURES",
    "SUFFIXES",
    "UNREADABLE_SUFFIXES",
    "kind",
    "name",
    "passes",
    "to_bytes",
]

# The largest file that is read, in bytes.
_MAX_BYTES = 2**30
# An image converted from another profile stays lossless up to so many pixels. A larger JPEG becomes a JPEG again:
# as PNG it would not fit into a request to a server, and what that changes is gone once it is resized.
_LOSSLESS_PIXELS = 2_000_000


def _installed(module: str) -> bool:
    """Whether a module is there, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


# Kinds that Pillow reads only with some of its builds, or with a plugin of its own: endings to (module, name).
_WITH_PLUGIN = {
    (".avif",): ("PIL._avif", "AVIF"),
    (".heic", ".heif", ".hif"): ("pillow_heif", "HEIC"),
}
_COMMON = ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .webp .tif .tiff"
_RARE = ".jp2 .j2k .jpx .ppm .pgm .pbm .pnm .tga .ico .psd .pcx .sgi .dds .qoi"
_RAW = ".3fr .arw .cr2 .cr3 .dng .iiq .nef .nrw .orf .pef .raf .rw2 .srw"

# The endings under which images are looked for in a folder: all that can be read here.
SUFFIXES = (
    *_COMMON.split(),
    *_RARE.split(),
    *(ending for endings, (module, _) in _WITH_PLUGIN.items() if _installed(module) for ending in endings),
)

# The endings of images that cannot be read here, and what such a file is called.
UNREADABLE_SUFFIXES = {
    **{
        e: kind for endings, (module, kind) in _WITH_PLUGIN.items() if not _installed(module) for e in endings
    },
    **{ending: "a camera's raw file" for ending in _RAW.split()},
    ".jxl": "JPEG XL",
    ".svg": "SVG, a drawing",
    ".eps": "EPS, a drawing",
    ".xcf": "a GIMP document",
    ".psb": "a large Photoshop document",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
}

_EXPECTED = "a path, encoded bytes, a PIL image, an array [H, W, 3] or [H, W], or a tensor"


def to_bytes(image: Any, called: str | None = None) -> bytes:
    """Turns an image in any usual form into encoded bytes that every engine decodes.

    Args:
        image: str or `os.PathLike` (a file that exists), bytes (an encoded image), PIL image (turned
            upright by its EXIF orientation), or an array or tensor [H, W], [H, W, 1], [H, W, 3] or
            [H, W, 4] of uint8, uint16 or bool, or of floats from 0 to 1.
        called: str, default `name(image)`. What error messages call the image.

    Returns:
        bytes of a JPEG, PNG, GIF, BMP or WebP file.

    Raises:
        ImageError: if there is no such file, the bytes are no image or end too early, or the type, shape or
            values are none of the above.

    Example:
        >>> to_bytes(np.zeros((2, 3, 3), np.uint8))[1:4]
        b'PNG'
    """
    try:
        if isinstance(image, str | os.PathLike):
            return _checked(_file(os.fspath(image)))
        if isinstance(image, bytes | bytearray | memoryview):
            return _checked(bytes(image))
        if hasattr(image, "getexif") and hasattr(image, "convert"):
            return _encoded(pillow_decode.from_pil(image))
        if hasattr(image, "__array__") and hasattr(image, "shape"):
            return _from_array(image)
        hint = ": pass its .read()" if hasattr(image, "read") else ""
        hint = ": caption several with caption_many" if isinstance(image, list | tuple) else hint
        raise ImageError(f"expected {_EXPECTED}; got {type(image).__name__}{hint}")
    except Exception as error:  # of a class that others wrote, too
        reason = (
            error if isinstance(error, ImageError) else f"cannot read it: {type(error).__name__}: {error}"
        )
        raise ImageError(f"{_shown(called or name(image))}: {' '.join(str(reason).split())}") from None


def passes(image_bytes: bytes) -> bool:
    """Whether `to_bytes` hands a file on as it is, without decoding it.

    Args:
        image_bytes: bytes.

    Returns:
        bool.

    Example:
        >>> passes(b"GIF89a..."), passes(b"II*\\0...")
        (True, False)
    """
    name = kind(image_bytes)
    return not (name is None or _only_pillow(name, image_bytes) or _has_profile(image_bytes))


def name(image: Any, index: int | None = None) -> str:
    """The name of an image in messages: its path, or its kind and index in a list.

    Args:
        image: anything that `to_bytes` takes.
        index: int, default None. Counted from 0.

    Returns:
        str.

    Example:
        >>> name("photos/dog.jpg"), name(b"GIF89a", 3)
        ('photos/dog.jpg', 'image 4 (bytes)')
    """
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    what = type(image).__name__
    return f"image {index + 1} ({what})" if index is not None else f"image ({what})"


def _shown(called: str) -> str:
    """A name in one line, cut where it is too long for one: some people pass the text of a file."""
    called = "".join(letter if letter >= " " else repr(letter)[1:-1] for letter in called)
    return called if len(called) <= 1000 else f"{called[:60]}..."


def _file(path: str) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise ImageError(f"expected an image file, got {what}")
        if status.st_size > _MAX_BYTES:
            raise ImageError(
                f"expected an image file of at most {_MAX_BYTES >> 20} MB, got {status.st_size >> 20} MB"
            )
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if advice := not_images.text_advice(path):
            raise ImageError(f"expected the path of an image file: {advice}") from None
        if not path:
            raise ImageError("expected the path of an image file, got an empty one") from None
        if not isinstance(error, FileNotFoundError):
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"cannot read it: {reason}") from None
        if os.path.islink(path):
            raise ImageError(f"a link to {os.readlink(path)}, which is not there") from None
        home = ": write out the home folder, ~ is for shells" if path.startswith("~") else ""
        raise ImageError(f"no such image file{home}") from None


def _checked(data: bytes) -> bytes:
    """The bytes, re-encoded by Pillow if the graph cannot decode that kind or would see other colours."""
    if not data:
        raise ImageError("expected an image, got an empty file")
    name = kind(data)
    if name is not None and _ends_early(name, data):
        raise ImageError(f"truncated {name}, the end of the image is missing")
    if passes(data):
        return data
    try:
        image = pillow_decode.decode(data, convert=True)
    except pillow_decode.UnknownKind:
        raise ImageError(not_images.unknown(data)) from None
    large = image.width * image.height > _LOSSLESS_PIXELS
    return _encoded(image, "JPEG" if name == "JPEG" and large else "PNG")


def _has_profile(data: bytes) -> bool:
    """Whether a file has a colour profile that is to be converted."""
    profile = file_headers.profile(data)
    return profile is not None and space(profile) is not None


def _ends_early(kind: str, data: bytes) -> bool:
    """Whether the end mark is missing. Damage that this does not see, decoding does."""
    if kind == "PNG":
        return data.rfind(b"IEND") < 0
    if kind == "JPEG":
        # A thumbnail inside the header has an end mark of its own, so the search starts where the pixels do.
        return data.rfind(b"\xff\xd9", _scan_start(data)) < 0
    return False


def _scan_start(data: bytes) -> int:
    """Where the first scan of a JPEG starts, or its length if there is none."""
    return min(max((end for _, _, end in file_headers.jpeg_segments(data)), default=2), len(data))


def _only_pillow(name: str, data: bytes) -> bool:
    """Whether a file of a kind the graph decodes is of the sort that it refuses (see `captioner.image.tf_headers`)."""
    if name == "WebP":
        return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 0x02)
    if name == "BMP":
        return not file_headers.plain_bmp(data)
    return False


def _from_array(image: Any) -> bytes:
    import PIL.Image

    try:
        array = np.asarray(image)
    except Exception as error:  # a tensor of a graph, or of another device
        raise ImageError(f"cannot read its pixels: {' '.join(str(error).split())[:200]}") from None
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))) or 0 in array.shape:
        hint = "; caption a batch with caption_many" if array.ndim == 4 else ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "; put the channels last"
        elif array.ndim < 2 and array.dtype.kind in "uSO":
            hint = "; pass an encoded file as bytes"
        raise ImageError(f"expected an array [H, W, 3] or [H, W], got shape {list(np.shape(image))}{hint}")
    if array.dtype.kind == "f":
        array = bit_depths.unit_to_bytes(array)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either byte order
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(
            f"expected pixels of uint8 (0 to 255), uint16 (0 to 65535) or float (0 to 1), got {array.dtype}:"
            " convert it with astype if it holds one of these, or scale it"
        )
    return _encoded(PIL.Image.fromarray(np.ascontiguousarray(array)))


def _encoded(image: Any, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    # Level 1: the bytes live for a moment, and squeezing them takes longer than captioning.
    options = {"compress_level": 1} if form == "PNG" else {"quality": 95, "subsampling": 0}
    image.save(buffer, form, exif=b"", icc_profile=None, **options)
    return buffer.getvalue()
