"""Odd images, made with Pillow or by hand: every kind and mode, damage of every sort, and files that lie."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
import PIL.Image
import PIL.ImageDraw


def drawn(width: int = 61, height: int = 40, turn: int = 0) -> PIL.Image.Image:
    """An image with edges, a gradient and no symmetry."""
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
    """Images that the graph reads."""
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
    found["png-chunk-nobody-knows"] = whole[:33] + chunk(b"CgBI", bytes(4)) + whole[33:]
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
    found["text"] = b"some text, no image"
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


# Odd files that are right: what every decoder must make of them is known.


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block without its prefix, with other entries around the orientation."""
    value = struct.pack(order + "HHI", 0x0112, kind, 1)
    value += struct.pack(order + {1: "Bxxx", 3: "Hxx", 4: "I"}[kind], orientation)
    before, after = (struct.pack(order + "HHII", tag, 4, 1, 6) for tag in (0x0100, 0x0132))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 3)
    return start + before + value + after + bytes(4)


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows of pixels that are stored with an EXIF orientation (EXIF 2.32, table 6)."""
    transposed = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    flips = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, right = flips.get(orientation, (1, 1))
    return transposed[::down, ::right]


def gif(screen: tuple[int, int], box: tuple[int, int, int, int], clear: int | None = None, **parts) -> bytes:
    """A GIF of one frame whose four pixels have the indices 0 to 3, with any screen, place and colour table."""
    source = PIL.Image.frombytes("P", (2, 2), bytes([0, 1, 2, 3]))
    source.putpalette(bytes(range(12)))
    data = encoded(source, "GIF", optimize=False)
    pixels = data[data.rindex(b",", 0, data.rindex(b"\x08")) + 10 :]
    pixels = pixels[pixels.index(b"\x08") :] if pixels[0] != 8 else pixels
    table = parts.get("table", bytes([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200]) + bytes(12))
    flags = {0: 0, 6: 0x80, 24: 0x82, 768: 0x87}[len(table)]
    made = b"GIF89a" + struct.pack("<HHBBB", *screen, 0 if parts.get("local") else flags, 0, 0)
    made += b"" if parts.get("local") else table
    if clear is not None:
        made += b"\x21\xf9\x04" + struct.pack("<BHBB", 1, 0, clear, 0)
    made += b"," + struct.pack("<HHHHB", *box, flags if parts.get("local") else 0)
    return made + (table if parts.get("local") else b"") + pixels


def bmp(pixels: np.ndarray, masks: tuple[int, ...], size: int = 108) -> bytes:
    """A BMP of 32 bits with the masks of red, green, blue and alpha, and a header of a size; pixels [H, W, 4]."""
    height, width = pixels.shape[:2]
    shifts = [(mask & -mask).bit_length() - 1 if mask else 0 for mask in masks]
    words = sum((pixels[..., i].astype(np.uint32) << shifts[i]) for i in range(4) if masks[i])
    head = struct.pack("<IiiHHIIiiII", size, width, -height, 1, 32, 3, width * height * 4, 0, 0, 0, 0)
    head = (head + struct.pack("<4I", *masks)).ljust(size, b"\0")
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + len(head) + words.nbytes, 0, 0, 14 + len(head))
        + head
        + words.tobytes()
    )


def profile(red_and_blue: bool = True, gamma: float = 2.2, kind: bytes = b"RGB ") -> bytes:
    """An ICC profile: sRGB's primaries, with red and blue exchanged if so, and a curve; or a grey one."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    primaries = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]
    primaries = primaries[::-1] if red_and_blue else primaries
    tags = [
        (b"desc", b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)),
        (b"cprt", b"text\0\0\0\0-\0"),
    ]
    tags += [(b"wtpt", b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249))]
    names = [b"k"] if kind == b"GRAY" else [b"r", b"g", b"b"]
    tags += [(n + b"TRC", b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))) for n in names]
    if kind == b"RGB ":
        tags += [(n + b"XYZ", b"XYZ \0\0\0\0" + fixed(*p)) for n, p in zip(names, primaries, strict=True)]
    table, content, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags:
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(content), len(value))
        content += value
    head = struct.pack(">I", 128 + len(table + content)) + bytes(4) + struct.pack(">I", 0x02100000)
    head += b"mntr" + kind + b"XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return (head + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + table + content


@cache
def odd() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files that the graph reads, and the pixels uint8 [H, W, 3] that they show."""
    image = few_colours()
    pixels, found = np.asarray(image), {}
    whole, plain = encoded(image, "PNG"), encoded(image, "JPEG", quality=95)
    end = whole.rindex(b"IEND") - 4
    raw = (
        b"\nexif\n" + str(len(exif(6)) + 6).rjust(8).encode() + b"\n" + (b"Exif\0\0" + exif(6)).hex().encode()
    )
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    raw = b"Raw profile type exif\0\0" + zlib.compress(raw + b"\n")
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp

    def before(*chunks: bytes) -> bytes:
        return whole[:33] + b"".join(chunks) + whole[33:]

    for value in range(10):
        shown = turned(pixels, value if 1 <= value <= 8 else 1)
        found[f"png-exif-{value}"] = before(chunk(b"eXIf", exif(value))), shown
        webp = encoded(image, "WEBP", lossless=True, exif=b"Exif\0\0" + exif(value, ">"))
        found[f"webp-exif-{value}"] = webp, shown
    found["png-exif-long"] = before(chunk(b"eXIf", exif(6, ">", 4))), turned(pixels, 6)
    found["png-exif-byte"] = before(chunk(b"eXIf", exif(6, "<", 1))), pixels
    found["png-exif-late"] = whole[:end] + chunk(b"eXIf", exif(6)) + whole[end:], pixels
    found["png-exif-twice"] = before(chunk(b"eXIf", exif(3)), chunk(b"eXIf", exif(6))), turned(pixels, 3)
    found["png-exif-far"] = before(chunk(b"eXIf", b"II*\0\xff\xff\xff\x7f")), pixels
    found["png-raw-profile"] = before(chunk(b"zTXt", raw)), pixels
    found["png-xmp"] = before(chunk(b"iTXt", text)), pixels
    found["png-large-text"] = before(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000)))), pixels
    found["png-broken-profile"] = before(chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))), pixels
    found["webp-xmp"] = encoded(image, "WEBP", lossless=True, xmp=xmp), pixels
    as_jpeg, block = np.asarray(PIL.Image.open(io.BytesIO(plain))), segment(0xE1, b"Exif\0\0" + exif(6))
    adobe = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)
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
        found[f"jpeg-{name}"] = plain[:2] + segments + plain[2:], turned(as_jpeg, value)
    # Only the Adobe marker says that ink is stored as its opposite.
    ink = encoded(PIL.Image.new("CMYK", (8, 8), (255, 255, 255, 55)), "JPEG", quality=100)
    marker = ink.index(b"\xff\xee\0\x0eAdobe")
    found["jpeg-cmyk-adobe"] = ink, np.zeros((8, 8, 3), np.uint8)
    found["jpeg-cmyk"] = ink[:marker] + ink[marker + 16 :], np.full((8, 8, 3), 55, np.uint8)
    # Transparency.
    found["gif-clear"] = encoded_clear(pixels, "GIF"), clear_corner(pixels)
    colours = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8).reshape(2, 2, 3)
    white, grey = np.full((4, 5, 3), 255, np.uint8), np.array([[0, 1], [2, 3]], np.uint8)[..., None]
    without = colours.copy()
    without[0, 1] = 255
    offset, enlarged = white.copy(), white[:3, :3].copy()
    offset[1:3, 2:4], enlarged[1:, 1:] = without, colours
    found["gif-index-clear"] = gif((2, 2), (0, 0, 2, 2), 1), without
    found["gif-local-table"] = gif((2, 2), (0, 0, 2, 2), 1, local=True), without
    found["gif-small-frame"] = gif((5, 4), (2, 1, 2, 2), 1), offset
    found["gif-frame-beyond"] = gif((2, 2), (1, 1, 2, 2)), enlarged
    found["gif-no-screen"] = gif((0, 0), (0, 0, 2, 2)), colours
    found["gif-no-table"] = gif((2, 2), (0, 0, 2, 2), table=b""), np.repeat(grey, 3, -1)
    two = bytes([10, 20, 30, 200, 0, 0])
    short = np.where(np.arange(4).reshape(2, 2, 1) < 2, colours, 0).astype(np.uint8)
    found["gif-short-table"] = gif((2, 2), (0, 0, 2, 2), table=two), short
    for depth in (1, 2, 4):
        levels = np.arange(2**depth)
        bits = "".join(format(level, f"0{depth}b") for level in levels).ljust(8, "0")
        row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        data = png(len(levels), 1, depth, 0, row)
        shown = np.where(levels == 1, 255, levels * 255 // levels[-1]).astype(np.uint8)
        clear = data[:33] + chunk(b"tRNS", b"\0\1") + data[33:]
        found[f"png-clear-grey-{depth}"] = clear, np.repeat(shown[None, :, None], 3, -1)
    for colour, value in ((0, b"\1\2"), (2, b"\1\2\3\4\5\6")):
        data = png(2, 1, 16, colour, b"\0" + value + bytes(len(value)))
        clear = data[:33] + chunk(b"tRNS", value) + data[33:]
        found[f"png-clear-16-type-{colour}"] = clear, np.array([[[255] * 3, [0] * 3]], np.uint8)
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    rgba[:5, :5, 3] = 0
    usual = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    found["bmp-alpha"] = bmp(rgba, usual), clear_corner(pixels)
    found["bmp-alpha-unset"] = bmp(rgba * np.array([1, 1, 1, 0], np.uint8), usual), pixels
    found["bmp-two-bytes-more"] = encoded(image, "BMP") + bytes(2), pixels
    found["bmp-from-the-top-and-more"] = bmp(rgba, usual) + b"more", clear_corner(pixels)
    found["bmp-no-alpha"] = bmp(rgba, (*usual[:3], 0)), pixels
    found["webp-clear"] = encoded_clear(pixels, "WEBP", lossless=True), clear_corner(pixels)
    return found


@cache
def only_pillow() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files that `captioner.image.loading` makes PNGs of, and the pixels uint8 [H, W, 3] that they show."""
    image = few_colours()
    pixels, found = np.asarray(image), {}
    for value in range(1, 9):
        found[f"tiff-{value}"] = encoded(image, "TIFF", tiffinfo={274: value}), turned(pixels, value)
    found["tiff-xmp"] = encoded(image, "TIFF", tiffinfo={700: b'<a tiff:Orientation="6"/>'}), pixels
    grey = np.asarray(image.convert("L"))
    shown = np.repeat(grey[..., None], 3, -1)
    of_grey = PIL.Image.fromarray
    found["tiff-16"] = encoded(of_grey(grey.astype(np.uint16) * 257), "TIFF"), shown
    found["tiff-float"] = encoded(of_grey(grey.astype(np.float32) / 255), "TIFF"), shown
    white_is_zero = encoded(of_grey(65535 - grey.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0})
    found["tiff-16-white-is-zero"] = white_is_zero, shown
    header = b"P5 24 16 65535\n"
    paper = encoded(of_grey(1 - grey.astype(np.float32) / 255), "TIFF", tiffinfo={262: 0})
    found["tiff-float-white-is-zero"] = paper, shown
    found["pgm-16"] = header + (grey.astype(">u2") * 257).astype(">u2").tobytes(), shown
    found["tiff-clear"] = encoded_clear(pixels, "TIFF"), clear_corner(pixels)
    found["tiff-bit"] = encoded(image.convert("1"), "TIFF"), np.asarray(image.convert("1").convert("RGB"))
    found["bmp-palette"] = encoded(image.quantize(64), "BMP"), pixels
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    rgba[:5, :5, 3] = 0
    found["bmp-other-masks"] = bmp(rgba, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)), clear_corner(pixels)
    found["webp-animated"] = (
        encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)], lossless=True),
        pixels,
    )
    found["tga"] = encoded_clear(pixels, "TGA"), clear_corner(pixels)
    found["ico"] = encoded(image, "ICO", sizes=[(24, 16)]), pixels
    return found


def few_colours() -> PIL.Image.Image:
    """A small image without symmetry that a palette holds."""
    return drawn(24, 16).quantize(64).convert("RGB")


def clear_corner(pixels: np.ndarray) -> np.ndarray:
    """The same with 5 x 5 pixels of white."""
    shown = pixels.copy()
    shown[:5, :5] = 255
    return shown


def encoded_clear(pixels: np.ndarray, kind: str, **options) -> bytes:
    """An image of few colours whose corner of 5 x 5 pixels is transparent."""
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    rgba[:5, :5, 3] = 0
    return encoded(PIL.Image.fromarray(rgba), kind, **options)
