"""Messages for what is passed as an image and is none: URLs, base64 text, documents, videos. No TensorFlow here."""

from __future__ import annotations

import re

# Files that people take for images and that Pillow does not read: (offset, bytes, name), the first that matches.
_FOREIGN = (
    (0, b"%PDF", "a PDF document"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftypcrx", "a camera's raw file"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"PK\x03\x04", "a zip archive or document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"II*\0", "a TIFF of a depth or layout that is not read"),
    (0, b"MM\0*", "a TIFF of a depth or layout that is not read"),
    (0, b"II+\0", "a BigTIFF"),
)

# Texts that are passed for images: a pattern of their start, in the syntax that Python and the graph share, and advice.
TEXTS = (
    (
        r"([/_]9j[/_]|iVBOR|R0lGOD|UklGR|Qk)[A-Za-z0-9+/=_\s-]*",
        'this is base64 text: decode it first, or over REST wrap it as {"b64": ...}',
    ),
    (r"(?s)data:[a-z]+/.*", "this is a data: URL: decode the base64 text behind its comma"),
    (r"(?s)version https://git-lfs.*", "this is a Git LFS pointer: run git lfs pull"),
)
TEXT_LENGTH = 64  # so much of a text is matched
# More of them, outside a graph.
_MORE_TEXTS = (
    *TEXTS,
    (r"(?s)file:/.*", "this is a file: URL: pass the path in it"),
    (r"(?s)[A-Za-z][A-Za-z0-9+.-]+:/.*", "this is a URL: download it, and pass the file or its bytes"),
    (r"(?is)\s*<(!doctype html|html).*", "this is an HTML page: download the image itself"),
    (r"(?is)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype svg|svg).*", "this is SVG: save it as PNG"),
)


def text_advice(start: str) -> str | None:
    """What to do with a text that was passed for an image, if it is of a known sort.

    Example:
        >>> text_advice("https://example.com/a.jpg")
        'this is a URL: download it, and pass the file or its bytes'
    """
    return next(
        (advice for pattern, advice in _MORE_TEXTS if re.fullmatch(pattern, start[:TEXT_LENGTH])), None
    )


def unknown(data: bytes) -> str:
    """The error message for bytes that are no image."""
    if advice := text_advice(data[:TEXT_LENGTH].decode("latin-1")):
        return f"expected an image, got text: {advice}"
    if len(data) < 1000 and re.fullmatch(rb"[^\r\n\0]+\.\w{2,5}", data):
        return "expected an image, got text: this is a path: pass it as str"
    what = next((name for at, magic, name in _FOREIGN if data[at : at + len(magic)] == magic), None)
    is_text = not any(byte < 9 or 13 < byte < 32 for byte in data[:512])
    what = what or ("text" if is_text else "unknown bytes")
    return f"expected an image (JPEG, PNG, GIF, BMP, WebP, TIFF ...), got {what}: save it as JPEG or PNG"
