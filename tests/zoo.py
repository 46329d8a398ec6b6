"""Odd pictures, made with Pillow or by hand: every kind and mode, damage of every sort, and files that lie."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
import PIL.Image
import PIL.ImageDraw


def drawn(width: int = 61, height: int = 40, turn: int = 0) -> PIL.Image.Image:
    """A picture with edges, a gradient and no symmetry."""
    image = PIL.Image.linear_gradient("L").rotate(turn).resize((width, height)).convert("RGB")
    draw = PIL.ImageDraw.Draw(image)
    draw.rectangle((3, 4, 20, 12), fill=(220, 30, 30))
    draw.ellipse((30, 10, 55, 35), fill=(20, 60, 200), outline=(255, 255, 0))
    return image


def encoded(image: PIL.Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes | None = None) -> bytes:
    """A PNG by hand; without rows all pixels are 0, and a huge one is still a few kilobytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    if rows is None:
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        squeeze = zlib.compressobj(9)
        line = bytes(1 + (width * channels * depth + 7) // 8)
        parts = [squeeze.compress(line * 100) for _ in range(height // 100)]
        packed = b"".join([*parts, squeeze.compress(line * (height % 100)), squeeze.flush()])
    else:
        packed = zlib.compress(rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


@cache
def bomb() -> bytes:
    """20000 x 20000 pixels in 48 kB."""
    return png(20000, 20000, 1, 0)


def gif_frame(width: int, height: int) -> bytes:
    """A GIF with a screen of one pixel and one frame that claims any size, and ends early."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame + b";"


@cache
def good() -> dict[str, bytes]:
    """Pictures that the graph reads."""
    image, found = drawn(), {}
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            name = f"jpeg-{mode}-{'progressive' if progressive else 'baseline'}"
            found[name] = encoded(image.convert(mode), "JPEG", progressive=progressive)
    for value in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x0112] = value
        found[f"jpeg-orientation-{value}"] = encoded(image, "JPEG", exif=exif)
        found[f"png-orientation-{value}"] = encoded(image, "PNG", exif=exif)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        array = (np.arange(240, dtype=np.uint16) * 270).reshape(12, 20)
        source = PIL.Image.fromarray(array) if mode == "I;16" else image.convert(mode)
        found[f"png-{mode}"] = encoded(source, "PNG")
    noise = np.random.default_rng(1).integers(0, 256, 4000, np.uint8).tobytes()
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            size = 1 + ({0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * 16 * depth + 7) // 8
            rows = b"".join(b"\0" + noise[i * 150 : i * 150 + size - 1] for i in range(12))
            found[f"png-type-{colour}-depth-{depth}"] = png(16, 12, depth, colour, rows)
    for mode in ("RGB", "RGBA"):
        found[f"bmp-{mode}"] = encoded(image.convert(mode), "BMP")
        for lossless in (False, True):
            found[f"webp-{mode}-{lossless}"] = encoded(image.convert(mode), "WEBP", lossless=lossless)
    found["gif"] = encoded(image, "GIF")
    frames = [drawn(turn=30 * i) for i in range(4)]
    found["gif-animated"] = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found["gif-local-tables"] = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        found[f"one-pixel-{kind}"] = encoded(PIL.Image.new("RGB", (1, 1), (200, 30, 90)), kind)
    found["long-and-thin"] = encoded(drawn(3000, 2), "PNG")
    found["jpeg-called-otherwise"] = found["jpeg-RGB-baseline"] + b"and something after the end"
    return found


@cache
def bad() -> dict[str, bytes]:
    """Files that no engine captions."""
    image, found = drawn(200, 150), {}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        data = encoded(image, kind)
        for share in (0.02, 0.3, 0.6, 0.95):
            found[f"cut-{kind}-{share}"] = data[: int(len(data) * share)]
    whole = encoded(drawn(200, 150), "PNG")
    for at in (60, len(whole) // 2, len(whole) - 30):
        found[f"png-damaged-at-{at}"] = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
    found["png-no-pixels"] = whole[:33] + whole[-12:]
    found["png-promises-more"] = png(64, 64, 8, 2, bytes(100))
    found["jpeg-no-size"] = encoded(image, "JPEG").replace(b"\xff\xc0", b"\xff\xed")
    found["jpeg-head-only"] = b"\xff\xd8\xff"
    found["webp-head-only"] = b"RIFF\x10\0\0\0WEBPVP8 "
    found["webp-animated"] = encoded(image, "WEBP", save_all=True, append_images=[drawn(200, 150, 90)])
    found["bmp-palette"] = encoded(image.convert("P"), "BMP")
    found["bmp-head-only"] = b"BM"
    found["tiff"] = encoded(image, "TIFF")
    found["empty"] = b""
    found["two-bytes"] = b"GI"
    found["text"] = b"some text, no picture"
    found["zeros"] = bytes(4000)
    found["html"] = b"<!doctype html><title>404</title>"
    found["svg"] = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    found["bomb-png"] = bomb()
    found["bomb-png-deep"] = png(8000, 7000, 16, 6, b"")
    found["bomb-gif-screen"] = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";"
    found["bomb-gif-frame"] = gif_frame(65535, 65535)
    plain = encoded(image, "BMP")
    found["bomb-bmp"] = plain[:18] + struct.pack("<ii", 30000, -30000) + plain[26:]
    jpeg = bytearray(encoded(image, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    found["bomb-jpeg"] = bytes(jpeg)
    webp = encoded(image, "WEBP", lossless=True)
    found["bomb-webp"] = webp[:21] + b"\xff\xff\xff\x0f" + webp[25:]
    return found
