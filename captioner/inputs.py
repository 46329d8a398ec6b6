"""From whatever a caller holds to the encoded bytes that every engine takes. No TensorFlow here.

A picture may come as a path, encoded bytes, a PIL image, a numpy array or a TensorFlow tensor. Bytes that
the graph (`captioner.images`) can decode pass untouched; kinds that only Pillow reads (TIFF, animated WebP,
palette BMP ...) and pictures in memory become PNG, which loses nothing.
"""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import ImageError

# What stands in a file of each kind that the graph decodes: (offset, bytes), all within the first 12 bytes.
SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "GIF": ((0, b"GIF8"),),
    "BMP": ((0, b"BM"),),
    "WebP": ((0, b"RIFF"), (8, b"WEBP")),
}

# What people take for pictures and Pillow does not: (offset, bytes, name), the first that fits.
_FOREIGN = (
    (0, b"%PDF", "a PDF document"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"PK\x03\x04", "a zip archive or document"),
)

# The most pixels of a picture, unless somebody says otherwise: a few kilobytes can hold billions.
MAX_PIXELS = 50_000_000


def _installed(module: str) -> bool:
    """Whether a module is there, without importing it."""
    return importlib.util.find_spec(module) is not None


# Kinds that Pillow reads only with some of its builds, or with a plugin of its own: endings to (module, name).
_WITH_PLUGIN = {
    (".avif",): ("PIL._avif", "AVIF"),
    (".heic", ".heif", ".hif"): ("pillow_heif", "HEIC"),
}
_RAW = ".3fr .arw .cr2 .cr3 .dng .iiq .nef .nrw .orf .pef .raf .rw2 .srw"

# The endings under which images are looked for in a folder: all that can be read here.
SUFFIXES = (
    *".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .webp .tif .tiff".split(),
    *".jp2 .j2k .jpx .ppm .pgm .pbm .pnm .tga .ico .psd .pcx .sgi .dds .qoi".split(),
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
    """Turns a picture in any usual form into encoded bytes that every engine decodes.

    Args:
        image: str or `os.PathLike` (a file that exists), bytes (an encoded picture), PIL image (turned
            upright by its EXIF orientation), or an array or tensor [H, W], [H, W, 1], [H, W, 3] or
            [H, W, 4] of uint8, or of floats from 0 to 1.
        called: str, default `name(image)`. What error messages call the picture.

    Returns:
        bytes of a JPEG, PNG, GIF, BMP or WebP file.

    Raises:
        ImageError: if there is no such file, the bytes are no picture or end too early, or the type, shape or
            values are none of the above.

    Example:
        >>> to_bytes(np.zeros((2, 3, 3), np.uint8))[1:4]
        b'PNG'
    """
    try:
        if isinstance(image, str | os.PathLike):
            return _checked(_file(Path(image)))
        if isinstance(image, bytes | bytearray | memoryview):
            return _checked(bytes(image))
        if hasattr(image, "getexif") and hasattr(image, "convert"):
            return _from_pil(image)
        if hasattr(image, "__array__") and hasattr(image, "shape"):
            return _from_array(image)
        raise ImageError(f"expected {_EXPECTED}; got {type(image).__name__}")
    except ImageError as error:
        raise ImageError(f"{called or name(image)}: {error}") from None


def kind(image_bytes: bytes) -> str | None:
    """Names the kind of an encoded picture by its first bytes.

    Args:
        image_bytes: bytes.

    Returns:
        str such as "JPEG", or None when it is none that the graph decodes.

    Example:
        >>> kind(b"GIF89a...")
        'GIF'
    """
    for name, parts in SIGNATURES.items():
        if all(image_bytes[at : at + len(magic)] == magic for at, magic in parts):
            return name
    return None


def name(image: Any, place: int | None = None) -> str:
    """What to call a picture in a message: its path, or its kind and its place in a list.

    Args:
        image: anything that `to_bytes` takes.
        place: int, default None. Counted from 0.

    Returns:
        str.

    Example:
        >>> name("photos/dog.jpg"), name(b"GIF89a", 3)
        ('photos/dog.jpg', 'picture 4 (bytes)')
    """
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    what = type(image).__name__
    return f"picture {place + 1} ({what})" if place is not None else f"picture ({what})"


def _file(path: Path) -> bytes:
    if path.is_dir():
        raise ImageError("expected a picture file, got a folder")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError("no such picture file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"cannot read it: {getattr(error, 'strerror', None) or error}") from None


def _checked(data: bytes) -> bytes:
    """The bytes, or what Pillow makes of them if the graph cannot decode that kind."""
    if not data:
        raise ImageError("expected a picture, got an empty file")
    found = kind(data)
    if found is None or _only_pillow(found, data):
        return _through_pillow(data)
    if _ends_early(found, data):
        raise ImageError(f"truncated {found}, the end of the picture is missing")
    return data


def _ends_early(found: str, data: bytes) -> bool:
    """Whether the end mark is missing. Damage that this does not see, decoding does."""
    if found == "PNG":
        return data.rfind(b"IEND") < 0
    if found == "JPEG":
        # A thumbnail inside the header has an end mark of its own, so the search starts where the pixels do.
        return data.rfind(b"\xff\xd9", _scan_start(data)) < 0
    return False


def _scan_start(data: bytes) -> int:
    """Where the first scan of a JPEG starts, or its length if there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        if data[at + 1] == 0xFF:
            at += 1
        elif data[at + 1] == 0x01 or 0xD0 <= data[at + 1] <= 0xD8:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return min(at, len(data))


def _only_pillow(found: str, data: bytes) -> bool:
    """Whether a file of a kind the graph decodes is of the sort that it refuses (see `images.decode`)."""
    if found == "WebP":
        return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 0x02)
    if found == "BMP":
        depth, compression = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
        modern = int.from_bytes(data[14:18], "little") >= 40
        return not (modern and depth in (24, 32) and compression in (0, 3))
    return False


def _through_pillow(data: bytes) -> bytes:
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            return _from_pil(picture)
    except PIL.UnidentifiedImageError:
        raise ImageError(
            f"expected a picture (JPEG, PNG, GIF, BMP, WebP, TIFF ...), got {_looks(data)}: save it as JPEG or PNG"
        ) from None
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"picture too large: {error}") from None


def _looks(data: bytes) -> str:
    """What bytes that are no picture seem to be."""
    found = next((name for at, magic, name in _FOREIGN if data[at : at + len(magic)] == magic), None)
    is_text = not any(byte < 9 or 13 < byte < 32 for byte in data[:512])
    return found or ("text" if is_text else "unknown bytes")


def _from_pil(image: Any) -> bytes:
    image = upright(image)
    if image.mode not in ("L", "RGB", "RGBA", "LA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return _png(image)


def upright(image: Any) -> Any:
    """A PIL image with its pixels read, turned upright by its EXIF orientation, and of no more than 8 bits a channel.

    Args:
        image: PIL image.

    Returns:
        PIL image.

    Raises:
        ImageError: if its pixels cannot be read.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        image.load()
        image = PIL.ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"cannot read the picture: {' '.join(str(error).split())}") from None
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255; the upper 8 bits are what the graph keeps of 16 bit PNGs.
        image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def _from_array(image: Any) -> bytes:
    import PIL.Image

    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))) or 0 in array.shape:
        hint = "; caption a batch with caption_many" if array.ndim == 4 else ""
        raise ImageError(f"expected an array [H, W, 3] or [H, W], got shape {list(np.shape(image))}{hint}")
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # NaN fails this too
            raise ImageError(
                f"expected float pixels from 0 to 1, got {low:g} to {high:g}; use uint8 for 0 to 255"
            )
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"expected pixels of uint8 (0 to 255) or float (0 to 1), got {array.dtype}")
    return _png(PIL.Image.fromarray(np.ascontiguousarray(array)))


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    # Level 1: the bytes live for a moment, and squeezing them takes longer than captioning.
    image.save(buffer, "PNG", compress_level=1, exif=b"", icc_profile=None)
    return buffer.getvalue()
