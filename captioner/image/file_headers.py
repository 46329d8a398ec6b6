"""Headers of image files: kind, size, orientation, colour profile. Plain Python, no decoder.

`captioner.image.tf_headers` follows the same rules inside a graph, so that every engine sees the same image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from captioner.errors import ImageError

# What stands in a file of each kind that the graph decodes: (offset, bytes), all within the first 12 bytes.
SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "GIF": ((0, b"GIF8"),),
    "BMP": ((0, b"BM"),),
    "WebP": ((0, b"RIFF"), (8, b"WEBP")),
}

# The most pixels that are decoded, unless somebody says otherwise: a few kilobytes can hold billions.
MAX_PIXELS = 50_000_000

# A JPEG of more pixels is decoded at a half or a quarter of its sides, if it has at most so many times the limit:
# a progressive one takes 3 to 6 bytes of memory for each pixel of the file, whatever it is decoded to.
JPEG_RATIOS = (1, 2, 4)
JPEG_TIMES = 8

# A longer side no decoder of PNG takes.
MAX_SIDE = 1_000_000

EXIF = b"Exif\0\0"
ORIENTATION_TAG = 0x0112
MAX_SEGMENTS = 4096  # against files made of a million empty segments
MAX_ENTRIES = 256
MAX_PIECES = 8192

_MAX_PROFILE = 16_000_000  # bytes; those of printers have one or two million


class GifFrame(NamedTuple):
    """The first frame of a GIF as a file of its own, whose transparent colour is white, and where it belongs."""

    data: bytes
    left: int
    top: int
    width: int  # of the whole image
    height: int


def kind(image_bytes: bytes) -> str | None:
    """Names the kind of an encoded image by its first bytes.

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


def orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP file by the rule of browsers.

    The first EXIF segment of a JPEG, the eXIf chunk of a PNG if it stands before the pixels, the EXIF chunk of a
    WebP file. XMP and text chunks are not asked.

    Args:
        data: bytes of the file.

    Returns:
        int from 1 to 8; 1 for upright, for none, and for what makes no sense.

    Example:
        >>> orientation(b"GIF89a...")
        1
    """
    at = None
    match kind(data):
        case "JPEG":
            at = next((s for m, s, _ in jpeg_segments(data) if m == 0xE1 and data[s : s + 6] == EXIF), None)
        case "PNG" | "WebP" as name:
            at = next((s for chunk, s, _ in _chunks(data, name) if chunk in (b"eXIf", b"EXIF")), None)
    return 1 if at is None else tiff_orientation(data, at)


def tiff_orientation(data: bytes, at: int = 0) -> int:
    """The orientation in the EXIF block that starts at `at` (TIFF 6.0, section 2), or 1.

    Example:
        >>> tiff_orientation(b"MM\\0*\\0\\0\\0\\x08\\0\\x01\\x01\\x12\\0\\x03\\0\\0\\0\\x01\\0\\x06")
        6
    """
    if data[at : at + 6] == EXIF:
        at += 6
    order: Literal["little", "big"] | None
    order = {b"II": "little", b"MM": "big"}.get(data[at : at + 2])  # type: ignore[assignment]
    if order is None:
        return 1

    def number(offset: int, count: int) -> int:
        return int.from_bytes(data[offset : offset + count].ljust(count, b"\0"), order)

    directory = at + number(at + 4, 4)
    for i in range(min(number(directory, 2), MAX_ENTRIES)):
        entry = directory + 2 + 12 * i
        width = {3: 2, 4: 4}.get(number(entry + 2, 2))  # SHORT, and the LONG that some write
        if number(entry, 2) == ORIENTATION_TAG and width and 1 <= number(entry + 8, width) <= 8:
            return number(entry + 8, width)
    return 1


def profile(data: bytes) -> bytes | None:
    """The ICC profile of a JPEG, PNG or WebP file, whole or damaged, or None. Reads headers only.

    Args:
        data: bytes of the file.

    Returns:
        bytes, or None.

    Example:
        >>> profile(b"GIF89a...") is None
        True
    """
    match kind(data):
        case "JPEG":
            mark = b"ICC_PROFILE\0"
            parts = [data[s:e] for m, s, e in jpeg_segments(data) if m == 0xE2 and data[s : s + 12] == mark]
            # Each part says its number and how many there are.
            parts = sorted((part for part in parts if len(part) > 14), key=lambda part: part[12])
            return b"".join(part[14:] for part in parts)[:_MAX_PROFILE] or None
        case "PNG" | "WebP" as name:
            body = next(
                (data[s:e] for chunk, s, e in _chunks(data, name) if chunk in (b"iCCP", b"ICCP")), b""
            )
            if name == "WebP":
                return body[:_MAX_PROFILE] or None
            try:
                # A name, a zero, the way of packing.
                return zlib.decompressobj().decompress(body[body.index(b"\0") + 2 :], _MAX_PROFILE) or None
            except (ValueError, zlib.error):
                return None
    return None


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG before its pixels: marker, where the content starts and where it ends.

    Example:
        >>> list(jpeg_segments(b"\\xff\\xd8\\xff\\xe0\\0\\x05abc\\xff\\xda"))
        [(224, 6, 9)]
    """
    at = 2
    for _ in range(MAX_SEGMENTS):
        if at + 2 > len(data) or data[at] != 0xFF or data[at + 1] in (0, 0xDA):
            return
        if data[at + 1] == 0xFF:  # a fill byte: the marker starts one further
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], at + 4, end
        at = end


def jpeg_ratio(height: int, width: int, max_pixels: int) -> int | None:
    """The scale (1, 2 or 4) at which a JPEG is decoded, or None for one that is too large.

    Example:
        >>> jpeg_ratio(3000, 4000, 50_000_000), jpeg_ratio(12240, 16320, 50_000_000)
        (1, 2)
    """
    if height * width > JPEG_TIMES * max_pixels:
        return None
    return next((r for r in JPEG_RATIOS if -(-height // r) * -(-width // r) <= max_pixels), None)


def too_large(height: int, width: int, max_pixels: int, name: str | None) -> ImageError:
    """The error of an image with too many pixels, in the words of `captioner.image.tf_headers.refusal`."""
    limit = max_pixels * (JPEG_TIMES if name == "JPEG" else 1) / 1e6
    advice = "make it smaller" if name == "JPEG" else "make it smaller or save it as JPEG"
    return ImageError(f"{width} x {height} pixels are more than {limit:g} megapixels: {advice}")


def png_core(data: bytes) -> bytes:
    """A PNG file reduced to its pixels, palette and transparency.

    Pillow refuses files for what stands in other chunks, and turns them by some that browsers pass over.
    """
    kept = [data[:8]]
    previous = b""
    for name, start, end in _chunks(data, "PNG", until=b"", most=len(data)):
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or (name == b"tRNS" and previous != b"IDAT"):
            kept.append(data[start - 8 : end + 4])
        elif not name[0] & 0x20:
            # A chunk that nobody knows, and that nobody may pass over.
            raise ImageError("damaged PNG, it cannot be decoded")
        if name in (b"IDAT", b"IEND"):
            previous = name
        if name == b"IEND":
            break
    return b"".join(kept)


def gif_frame(data: bytes) -> GifFrame:
    """Takes the first frame of a GIF out of it, with a colour table of its own.

    Raises:
        ImageError: if it has none, or is cut up too finely (see `captioner.image.tf_headers`).
    """
    at, inside, transparent, frame, pieces = 13 + _table(data[10:11]), False, -1, -1, 0
    while frame < 0 or inside:
        pieces += 1
        head = data[at : at + 10].ljust(10, b"\0")
        if pieces > MAX_PIECES:
            raise ImageError("GIF with too many pieces")
        if inside:
            run = 0
            while run < 64 and head[0] and data[at + run * (head[0] + 1) :][:1] == head[:1]:
                run += 1
            inside = head[0] != 0
            at += run * (head[0] + 1) if inside else 1
        elif head[0] == 0x2C:
            frame, inside = at, True
            at += 11 + _table(head[9:10])  # 11: with the byte before the pixels
        elif head[0] == 0x21:
            if head[1] == 0xF9:
                transparent = head[6] if head[3] & 1 else -1
            at, inside = at + 2, True
        else:
            raise ImageError("damaged GIF, it cannot be decoded")
    left, top, width, height, flags = struct.unpack("<HHHHB", data[frame + 1 : frame + 10].ljust(9, b"\0"))
    screen = struct.unpack("<HH", data[6:10])
    length = _table(bytes([flags]))
    start, length = (frame + 10, length) if length else (13, _table(data[10:11]))
    # Without any table an index is a grey level.
    table = bytearray(data[start : start + length] if length else bytes(i // 3 for i in range(768)))
    table = table.ljust(768, b"\0")
    if transparent >= 0:
        table[3 * transparent : 3 * transparent + 3] = b"\xff\xff\xff"
    size = struct.pack("<HH", width, height)
    pixels_at = frame + 10 + _table(bytes([flags]))
    alone = b"GIF89a" + size + bytes(3) + b"," + bytes(4) + size + bytes([flags & 0x40 | 0x87]) + table
    alone += data[pixels_at:at] + b";"
    return GifFrame(alone, left, top, max(screen[0], left + width), max(screen[1], top + height))


def plain_bmp(data: bytes) -> bool:
    """Whether a BMP is of the sort that the graph decodes: 24 or 32 bits, not compressed, channels in usual order."""
    size, depth, compression = struct.unpack("<I10xHI", data[14:34].ljust(20, b"\0"))
    start = int.from_bytes(data[10:14], "little")
    if size < 40 or start < 14 + size or (depth, compression) not in ((24, 0), (32, 0), (32, 3)):
        return False
    masks = struct.unpack("<4I", data[54:70].ljust(16, b"\0"))
    usual = masks[:3] == (0xFF0000, 0xFF00, 0xFF) and (size < 56 or masks[3] in (0, 0xFF000000))
    return compression == 0 or usual


def _table(flags: bytes) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 6 << (flags[0] & 7) if flags and flags[0] & 0x80 else 0


def _chunks(
    data: bytes, name: str, until: bytes = b"IDAT", most: int = MAX_SEGMENTS
) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG or WebP file: name, where the content starts and where it ends."""
    at, riff = (12, True) if name == "WebP" else (8, False)
    for _ in range(most):
        if at + 8 > len(data):
            return
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        chunk, length = (first, second) if riff else (second, first)
        end = at + 8 + int.from_bytes(length, "little" if riff else "big")
        if chunk == until and not riff:
            return
        yield chunk, at + 8, end
        at = end + ((end - at) % 2 if riff else 4)
