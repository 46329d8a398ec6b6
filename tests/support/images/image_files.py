"""Images to test with, files of them, and parts of files written by hand."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
import PIL.Image
import PIL.ImageDraw
import skimage.data


def drawn(width: int = 61, height: int = 40, turn: int = 0) -> PIL.Image.Image:
    """An image with edges, a gradient and no symmetry."""
    image = PIL.Image.linear_gradient("L").rotate(turn).resize((width, height)).convert("RGB")
    draw = PIL.ImageDraw.Draw(image)
    draw.rectangle((3, 4, 20, 12), fill=(220, 30, 30))
    draw.ellipse((30, 10, 55, 35), fill=(20, 60, 200), outline=(255, 255, 0))
    return image


def few_colours() -> PIL.Image.Image:
    """A small image without symmetry that a palette holds."""
    return drawn(24, 16).quantize(64).convert("RGB")


def photo(name: str) -> PIL.Image.Image:
    """A photo of scikit-image."""
    return PIL.Image.fromarray(getattr(skimage.data, name)())


def encoded(image: PIL.Image.Image, kind: str, **options) -> bytes:
    """A PIL image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pillow(data: bytes) -> np.ndarray:
    """Pixels int [H, W, 3] as Pillow decodes them."""
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def decoded(data: bytes) -> np.ndarray:
    """Pixels of `tf_decode.decode`."""
    return _graphs()[0](data).numpy().astype(int)


def loaded(data: bytes) -> np.ndarray:
    """Pixels [96, 64, 3] of `tf_decode.load`."""
    return load_graph()(data).numpy()


@cache
def _graphs():
    import tensorflow as tf

    from captioner.image import tf_decode

    signature = [tf.TensorSpec([], tf.string)]
    return [
        tf.function(tf_decode.decode, input_signature=signature, autograph=False),
        tf.function(lambda data: tf_decode.load(data, (96, 64)), input_signature=signature, autograph=False),
    ]


def load_graph():
    """The graph that `loaded` runs."""
    return _graphs()[1]


def png(width: int, height: int, depth: int, colour: int, rows: bytes | None = None) -> bytes:
    """A PNG by hand; without rows all pixels are 0, and a huge one is still a few kilobytes."""
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


def gif_frame(width: int, height: int) -> bytes:
    """A GIF with a screen of one pixel and one frame that claims any size, and ends early."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame + b";"


def gif(screen: tuple[int, int], box: tuple[int, int, int, int], clear: int | None = None, **parts) -> bytes:
    """A GIF of one frame whose four pixels have the indices 0 to 3, with any screen, box and colour table."""
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


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows of pixels that are stored with an EXIF orientation (EXIF 2.32, table 6)."""
    transposed = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    flips = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, right = flips.get(orientation, (1, 1))
    return transposed[::down, ::right]


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
