"""Tables of image files: kinds and modes that are read, files that are refused, odd files and what they show."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
import PIL.Image

from tests.support.images.image_files import (
    bmp,
    chunk,
    clear_corner,
    drawn,
    encoded,
    encoded_clear,
    exif,
    few_colours,
    gif,
    gif_frame,
    png,
    segment,
    turned,
)


@cache
def bomb() -> bytes:
    """20000 x 20000 pixels in 48 kB."""
    return png(20000, 20000, 1, 0)


@cache
def good() -> dict[str, bytes]:
    """Images that the graph reads."""
    image, files = drawn(), {}
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            name = f"jpeg-{mode}-{'progressive' if progressive else 'baseline'}"
            files[name] = encoded(image.convert(mode), "JPEG", progressive=progressive)
    for value in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x0112] = value
        files[f"jpeg-orientation-{value}"] = encoded(image, "JPEG", exif=exif)
        files[f"png-orientation-{value}"] = encoded(image, "PNG", exif=exif)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        array = (np.arange(240, dtype=np.uint16) * 270).reshape(12, 20)
        source = PIL.Image.fromarray(array) if mode == "I;16" else image.convert(mode)
        files[f"png-{mode}"] = encoded(source, "PNG")
    noise = np.random.default_rng(1).integers(0, 256, 4000, np.uint8).tobytes()
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            size = 1 + ({0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * 16 * depth + 7) // 8
            rows = b"".join(b"\0" + noise[i * 150 : i * 150 + size - 1] for i in range(12))
            files[f"png-type-{colour}-depth-{depth}"] = png(16, 12, depth, colour, rows)
    for mode in ("RGB", "RGBA"):
        files[f"bmp-{mode}"] = encoded(image.convert(mode), "BMP")
        for lossless in (False, True):
            files[f"webp-{mode}-{lossless}"] = encoded(image.convert(mode), "WEBP", lossless=lossless)
    files["gif"] = encoded(image, "GIF")
    frames = [drawn(turn=30 * i) for i in range(4)]
    files["gif-animated"] = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    files["gif-local-tables"] = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        files[f"one-pixel-{kind}"] = encoded(PIL.Image.new("RGB", (1, 1), (200, 30, 90)), kind)
    files["long-and-thin"] = encoded(drawn(3000, 2), "PNG")
    files["jpeg-called-otherwise"] = files["jpeg-RGB-baseline"] + b"and something after the end"
    return files


@cache
def bad() -> dict[str, bytes]:
    """Files that no engine captions."""
    image, files = drawn(200, 150), {}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        data = encoded(image, kind)
        for share in (0.02, 0.3, 0.6, 0.95):
            files[f"cut-{kind}-{share}"] = data[: int(len(data) * share)]
    intact = encoded(drawn(200, 150), "PNG")
    for at in (60, len(intact) // 2, len(intact) - 30):
        files[f"png-damaged-at-{at}"] = intact[:at] + bytes([intact[at] ^ 0x55]) + intact[at + 1 :]
    files["png-chunk-nobody-knows"] = intact[:33] + chunk(b"CgBI", bytes(4)) + intact[33:]
    files["png-no-pixels"] = intact[:33] + intact[-12:]
    files["png-promises-more"] = png(64, 64, 8, 2, bytes(100))
    files["jpeg-no-size"] = encoded(image, "JPEG").replace(b"\xff\xc0", b"\xff\xed")
    files["jpeg-head-only"] = b"\xff\xd8\xff"
    files["webp-head-only"] = b"RIFF\x10\0\0\0WEBPVP8 "
    files["webp-animated"] = encoded(image, "WEBP", save_all=True, append_images=[drawn(200, 150, 90)])
    files["bmp-palette"] = encoded(image.convert("P"), "BMP")
    files["bmp-head-only"] = b"BM"
    files["tiff"] = encoded(image, "TIFF")
    files["empty"] = b""
    files["two-bytes"] = b"GI"
    files["text"] = b"some text, no image"
    files["zeros"] = bytes(4000)
    files["html"] = b"<!doctype html><title>404</title>"
    files["svg"] = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    files["bomb-png"] = bomb()
    files["bomb-png-deep"] = png(8000, 7000, 16, 6, b"")
    files["bomb-gif-screen"] = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";"
    files["bomb-gif-frame"] = gif_frame(65535, 65535)
    plain = encoded(image, "BMP")
    files["bomb-bmp"] = plain[:18] + struct.pack("<ii", 30000, -30000) + plain[26:]
    jpeg = bytearray(encoded(image, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    files["bomb-jpeg"] = bytes(jpeg)
    webp = encoded(image, "WEBP", lossless=True)
    files["bomb-webp"] = webp[:21] + b"\xff\xff\xff\x0f" + webp[25:]
    return files


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def png_and_webp_metadata(image: PIL.Image.Image) -> dict[str, tuple[bytes, np.ndarray]]:
    """PNG and WebP files with EXIF, XMP, text, or a broken profile."""
    pixels = np.asarray(image)
    files: dict[str, tuple[bytes, np.ndarray]] = {}
    intact = encoded(image, "PNG")
    end = intact.rindex(b"IEND") - 4
    raw = (
        b"\nexif\n" + str(len(exif(6)) + 6).rjust(8).encode() + b"\n" + (b"Exif\0\0" + exif(6)).hex().encode()
    )
    raw = b"Raw profile type exif\0\0" + zlib.compress(raw + b"\n")
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP

    def before(*chunks: bytes) -> bytes:
        return intact[:33] + b"".join(chunks) + intact[33:]

    for value in range(10):
        shown = turned(pixels, value if 1 <= value <= 8 else 1)
        files[f"png-exif-{value}"] = before(chunk(b"eXIf", exif(value))), shown
        webp = encoded(image, "WEBP", lossless=True, exif=b"Exif\0\0" + exif(value, ">"))
        files[f"webp-exif-{value}"] = webp, shown
    files["png-exif-long"] = before(chunk(b"eXIf", exif(6, ">", 4))), turned(pixels, 6)
    files["png-exif-byte"] = before(chunk(b"eXIf", exif(6, "<", 1))), pixels
    files["png-exif-late"] = intact[:end] + chunk(b"eXIf", exif(6)) + intact[end:], pixels
    files["png-exif-twice"] = before(chunk(b"eXIf", exif(3)), chunk(b"eXIf", exif(6))), turned(pixels, 3)
    files["png-exif-far"] = before(chunk(b"eXIf", b"II*\0\xff\xff\xff\x7f")), pixels
    files["png-raw-profile"] = before(chunk(b"zTXt", raw)), pixels
    files["png-xmp"] = before(chunk(b"iTXt", text)), pixels
    files["png-large-text"] = before(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000)))), pixels
    files["png-broken-profile"] = before(chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))), pixels
    files["webp-xmp"] = encoded(image, "WEBP", lossless=True, xmp=XMP), pixels
    return files


def jpegs(image: PIL.Image.Image) -> dict[str, tuple[bytes, np.ndarray]]:
    """JPEG files with odd segments before the image, and in CMYK."""
    files: dict[str, tuple[bytes, np.ndarray]] = {}
    plain = encoded(image, "JPEG", quality=95)
    as_jpeg, block = np.asarray(PIL.Image.open(io.BytesIO(plain))), segment(0xE1, b"Exif\0\0" + exif(6))
    adobe = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    for name, segments, value in [
        ("exif", block, 6),
        ("xmp", adobe, 1),
        ("xmp-then-exif", adobe + block, 6),
        ("exif-twice", segment(0xE1, b"Exif\0\0" + exif(3)) + block, 3),
        ("exif-behind-600-segments", segment(0xE5, b"") * 600 + block, 6),
        ("exif-behind-5000-segments", segment(0xE5, b"") * 5000 + block, 1),
        ("exif-cut", segment(0xE1, b"Exif\0\0" + exif(6)[:12]), 1),
        ("exif-of-bytes", segment(0xE1, b"Exif\0\0" + exif(6, "<", 1)), 1),
        ("fill-bytes", b"\xff\xff" + block, 6),
    ]:
        files[f"jpeg-{name}"] = plain[:2] + segments + plain[2:], turned(as_jpeg, value)
    # Only the Adobe marker says that ink is stored as its opposite.
    ink = encoded(PIL.Image.new("CMYK", (8, 8), (255, 255, 255, 55)), "JPEG", quality=100)
    marker = ink.index(b"\xff\xee\0\x0eAdobe")
    files["jpeg-cmyk-adobe"] = ink, np.zeros((8, 8, 3), np.uint8)
    files["jpeg-cmyk"] = ink[:marker] + ink[marker + 16 :], np.full((8, 8, 3), 55, np.uint8)
    return files


def gifs(image: PIL.Image.Image) -> dict[str, tuple[bytes, np.ndarray]]:
    """GIF files with clear pixels, frames smaller or larger than the screen, and tables that are short or missing."""
    pixels = np.asarray(image)
    files: dict[str, tuple[bytes, np.ndarray]] = {}
    files["gif-clear"] = encoded_clear(pixels, "GIF"), clear_corner(pixels)
    colours = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8).reshape(2, 2, 3)
    white, grey = np.full((4, 5, 3), 255, np.uint8), np.array([[0, 1], [2, 3]], np.uint8)[..., None]
    without = colours.copy()
    without[0, 1] = 255
    offset, enlarged = white.copy(), white[:3, :3].copy()
    offset[1:3, 2:4], enlarged[1:, 1:] = without, colours
    files["gif-index-clear"] = gif((2, 2), (0, 0, 2, 2), 1), without
    files["gif-local-table"] = gif((2, 2), (0, 0, 2, 2), 1, local=True), without
    files["gif-small-frame"] = gif((5, 4), (2, 1, 2, 2), 1), offset
    files["gif-frame-beyond"] = gif((2, 2), (1, 1, 2, 2)), enlarged
    files["gif-no-screen"] = gif((0, 0), (0, 0, 2, 2)), colours
    files["gif-no-table"] = gif((2, 2), (0, 0, 2, 2), table=b""), np.repeat(grey, 3, -1)
    two = bytes([10, 20, 30, 200, 0, 0])
    short = np.where(np.arange(4).reshape(2, 2, 1) < 2, colours, 0).astype(np.uint8)
    files["gif-short-table"] = gif((2, 2), (0, 0, 2, 2), table=two), short
    return files


def clear_files(image: PIL.Image.Image) -> dict[str, tuple[bytes, np.ndarray]]:
    """PNG, BMP, and WebP files with clear pixels, and BMP files that only seem to have them."""
    pixels = np.asarray(image)
    files: dict[str, tuple[bytes, np.ndarray]] = {}
    for depth in (1, 2, 4):
        levels = np.arange(2**depth)
        bits = "".join(format(level, f"0{depth}b") for level in levels).ljust(8, "0")
        row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        data = png(len(levels), 1, depth, 0, row)
        shown = np.where(levels == 1, 255, levels * 255 // levels[-1]).astype(np.uint8)
        clear = data[:33] + chunk(b"tRNS", b"\0\1") + data[33:]
        files[f"png-clear-grey-{depth}"] = clear, np.repeat(shown[None, :, None], 3, -1)
    for colour, value in ((0, b"\1\2"), (2, b"\1\2\3\4\5\6")):
        data = png(2, 1, 16, colour, b"\0" + value + bytes(len(value)))
        clear = data[:33] + chunk(b"tRNS", value) + data[33:]
        files[f"png-clear-16-type-{colour}"] = clear, np.array([[[255] * 3, [0] * 3]], np.uint8)
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    rgba[:5, :5, 3] = 0
    usual = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    files["bmp-alpha"] = bmp(rgba, usual), clear_corner(pixels)
    files["bmp-alpha-unset"] = bmp(rgba * np.array([1, 1, 1, 0], np.uint8), usual), pixels
    files["bmp-two-bytes-more"] = encoded(image, "BMP") + bytes(2), pixels
    files["bmp-from-the-top-and-more"] = bmp(rgba, usual) + b"more", clear_corner(pixels)
    files["bmp-no-alpha"] = bmp(rgba, (*usual[:3], 0)), pixels
    files["webp-clear"] = encoded_clear(pixels, "WEBP", lossless=True), clear_corner(pixels)
    return files


@cache
def odd() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files that the graph reads, and the pixels uint8 [H, W, 3] that they show."""
    image = few_colours()
    return png_and_webp_metadata(image) | jpegs(image) | gifs(image) | clear_files(image)


@cache
def only_pillow() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files that `captioner.image.loading` makes PNGs of, and the pixels uint8 [H, W, 3] that they show."""
    image = few_colours()
    pixels, files = np.asarray(image), {}
    for value in range(1, 9):
        files[f"tiff-{value}"] = encoded(image, "TIFF", tiffinfo={274: value}), turned(pixels, value)
    files["tiff-xmp"] = encoded(image, "TIFF", tiffinfo={700: b'<a tiff:Orientation="6"/>'}), pixels
    grey = np.asarray(image.convert("L"))
    shown = np.repeat(grey[..., None], 3, -1)
    of_grey = PIL.Image.fromarray
    files["tiff-16"] = encoded(of_grey(grey.astype(np.uint16) * 257), "TIFF"), shown
    files["tiff-float"] = encoded(of_grey(grey.astype(np.float32) / 255), "TIFF"), shown
    white_is_zero = encoded(of_grey(65535 - grey.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0})
    files["tiff-16-white-is-zero"] = white_is_zero, shown
    header = b"P5 24 16 65535\n"
    paper = encoded(of_grey(1 - grey.astype(np.float32) / 255), "TIFF", tiffinfo={262: 0})
    files["tiff-float-white-is-zero"] = paper, shown
    files["pgm-16"] = header + (grey.astype(">u2") * 257).astype(">u2").tobytes(), shown
    files["tiff-clear"] = encoded_clear(pixels, "TIFF"), clear_corner(pixels)
    files["tiff-bit"] = encoded(image.convert("1"), "TIFF"), np.asarray(image.convert("1").convert("RGB"))
    files["bmp-palette"] = encoded(image.quantize(64), "BMP"), pixels
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    rgba[:5, :5, 3] = 0
    files["bmp-other-masks"] = bmp(rgba, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)), clear_corner(pixels)
    files["webp-animated"] = (
        encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)], lossless=True),
        pixels,
    )
    files["tga"] = encoded_clear(pixels, "TGA"), clear_corner(pixels)
    files["ico"] = encoded(image, "ICO", sizes=[(24, 16)]), pixels
    return files
