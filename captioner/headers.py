"""Reading the headers of picture files inside a graph, and refusing by them.

`data` is always the file as `padded` gives it: its bytes, and some zeros after them. Reads beyond the end see
zeros, so that a damaged length leads nowhere worse, and every loop is bounded. Kept lean: a graph costs
start-up time by the op.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from captioner import inputs
from captioner.inputs import MAX_PIXELS

# What stands at the front of a file, as in `inputs.SIGNATURES`; the order gives the branch in `images`.
KINDS = ("JPEG", "PNG", "WebP", "BMP", "GIF")

_ORIENTATION_TAG = 0x0112
_EXIF = b"Exif\0\0"
_MAX_SEGMENTS = 512  # against files made of a million empty chunks
_MAX_ENTRIES = 256
_MAX_PIECES = 8192
_MANY_PIXELS = 2**40
_PADDING = 12 * _MAX_ENTRIES  # the most that is read at once


def kind(image_bytes: tf.Tensor) -> tf.Tensor:
    """int32, shaped like the strings: the place in `KINDS`, or their number for anything else.

    Example:
        >>> KINDS[kind(tf.constant("GIF89a..."))]
        'GIF'
    """
    head = tf.strings.join([tf.strings.substr(image_bytes, 0, 12), b"\0" * 12])
    found = []
    for name in KINDS:
        parts = [tf.strings.substr(head, at, len(magic)) == magic for at, magic in inputs.SIGNATURES[name]]
        found.append(tf.reduce_all(parts, axis=0))
    return tf.argmax(tf.cast([*found, tf.fill(tf.shape(head), True)], tf.int32), 0, output_type=tf.int32)


def padded(image_bytes: tf.Tensor) -> tf.Tensor:
    """uint8 [N + padding]: the bytes of a string scalar and zeros."""
    return tf.concat([tf.io.decode_raw(image_bytes, tf.uint8), tf.zeros((_PADDING,), tf.uint8)], 0)


def _bytes(data: tf.Tensor, at: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """int64 [count]: up to `_PADDING` bytes from offset `at` on."""
    at = tf.minimum(tf.cast(at, tf.int64), tf.size(data, out_type=tf.int64) - _PADDING)
    return tf.cast(tf.slice(data, [at], [count]), tf.int64)


def uint(data: tf.Tensor, at: tf.Tensor | int, count: int, big: bool = True) -> tf.Tensor:
    """int64 scalar: the unsigned number in `count` bytes at offset `at`.

    Example:
        >>> data = padded(tf.constant(b"ab" + bytes([1, 2])))
        >>> uint(data, 2, 2).numpy().item(), uint(data, 2, 2, big=False).numpy().item()
        (258, 513)
    """
    powers = [256**i for i in range(count)]
    return tf.reduce_sum(_bytes(data, at, count) * tf.constant(powers[::-1] if big else powers, tf.int64))


def _walk(going: Callable, read: Callable, at: int) -> tf.Tensor:
    """Walks segments from offset `at` while `going`; returns where `read` found what it wanted, or -1."""
    loop = tf.while_loop(
        lambda at, found: (found < 0) & going(at),
        lambda at, found: read(at),
        (tf.constant(at, tf.int64), tf.constant(-1, tf.int64)),
        maximum_iterations=_MAX_SEGMENTS,
        parallel_iterations=1,
    )
    return loop[1]


def chunk(data: tf.Tensor, at: int, name: bytes, until: bytes = b"", riff: bool = False) -> tf.Tensor:
    """Finds a chunk of a PNG or RIFF file.

    Args:
        data: see `padded`.
        at: int. Where the first chunk starts.
        name: bytes. The chunk's name.
        until: bytes, default none. A chunk at which to stop looking.
        riff: bool, default False. Whether chunks are as in RIFF (WebP) rather than PNG.

    Returns:
        int64 scalar: where the content of the first such chunk starts, or -1.

    Example:
        >>> chunk(padded(tf.constant(b"....\\0\\0\\0\\0tEXtcrc4\\0\\0\\0\\0eXIf")), 4, b"eXIf").numpy().item()
        24
    """
    wanted, stop = int.from_bytes(name, "big"), int.from_bytes(until, "big")
    kind_at, length_at = (0, 4) if riff else (4, 0)

    def going(at: tf.Tensor) -> tf.Tensor:
        # Past the end all is zero, which is what `until` is when nothing is named.
        return tf.not_equal(uint(data, at + kind_at, 4), stop)

    def read(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = uint(data, at + length_at, 4, big=not riff)
        # PNG chunks end in a checksum of 4 bytes; RIFF chunks are padded to an even length.
        following = at + 8 + length + (length % 2 if riff else 4)
        found = tf.equal(uint(data, at + kind_at, 4), wanted)
        return following, tf.where(found, at + 8, tf.constant(-1, tf.int64))

    return _walk(going, read, at)


def jpeg_exif(data: tf.Tensor) -> tf.Tensor:
    """int64: where the EXIF block of a JPEG starts (its "Exif" word), or -1."""

    def going(at: tf.Tensor) -> tf.Tensor:
        # After SOS (FF DA) come the pixels; a segment that starts with no FF is damage, or the end.
        marker = uint(data, at, 2)
        return (marker > 0xFF00) & tf.not_equal(marker, 0xFFDA)

    def read(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker = uint(data, at, 2)
        is_exif = tf.equal(marker, 0xFFE1) & tf.equal(uint(data, at + 4, 6), int.from_bytes(_EXIF, "big"))
        # FF FF is a fill byte: the marker starts one further.
        following = tf.where(tf.equal(marker, 0xFFFF), at + 1, at + 2 + uint(data, at + 2, 2))
        return following, tf.where(is_exif, at + 4, tf.constant(-1, tf.int64))

    return _walk(going, read, 2)


def _webp_size(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width that a WebP file states, int64 scalars; 0 where its first chunk is not known."""
    kind = uint(data, 12, 4)
    lossy = (uint(data, 28, 2, big=False) & 0x3FFF, uint(data, 26, 2, big=False) & 0x3FFF)
    packed = uint(data, 21, 4, big=False)
    lossless = (((packed // 2**14) & 0x3FFF) + 1, (packed & 0x3FFF) + 1)
    canvas = (uint(data, 27, 3, big=False) + 1, uint(data, 24, 3, big=False) + 1)

    def which(axis: int) -> tf.Tensor:
        chosen = tf.constant(0, tf.int64)
        for name, size in ((b"VP8 ", lossy), (b"VP8L", lossless), (b"VP8X", canvas)):
            chosen = tf.where(tf.equal(kind, int.from_bytes(name, "big")), size[axis], chosen)
        return chosen

    return which(0), which(1)


def _gif_size(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Walks all frames of a GIF: the decoder makes room for every one of them, and trusts what each states.

    Args:
        data: see `padded`.

    Returns:
        int64 scalars: the largest height, the largest width (the screen's count too), and the pixels of all
        frames together; these are `_MANY_PIXELS` for a file cut up so finely that the walk was given up.
    """

    def table(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of the colour table that these flags announce."""
        return tf.where(flags >= 0x80, 6 * tf.bitwise.left_shift(tf.constant(1, tf.int64), flags & 7), 0)

    def advance(at: tf.Tensor, inside: tf.Tensor, *sizes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = _bytes(data, at, 10)
        # Data comes in runs of pieces of one length: up to 64 of them in one step.
        piece = head[0] + 1
        places = at + piece * tf.range(64, dtype=tf.int64)
        there = tf.gather(data, tf.minimum(places, tf.size(data, out_type=tf.int64) - 1))
        same = tf.math.cumprod(tf.cast(tf.equal(tf.cast(there, tf.int64), head[0]), tf.int64))
        width, height = head[5] + 256 * head[6], head[7] + 256 * head[8]
        frame = ~inside & tf.equal(head[0], 0x2C)
        known = frame | tf.equal(head[0], 0x21)
        after = at + tf.where(frame, 11 + table(head[9]), 2)  # 11: with the byte before the pixels
        moved = tf.where(tf.equal(head[0], 0), at + 1, at + piece * tf.reduce_sum(same))
        at = tf.where(inside, moved, tf.where(known, after, -1))
        inside = tf.where(inside, tf.not_equal(head[0], 0), known)
        largest = [tf.where(frame, tf.maximum(a, b), a) for a, b in zip(sizes, (height, width), strict=False)]
        return at, inside, *largest, sizes[2] + tf.where(frame, height * width, 0)

    screen = (uint(data, 8, 2, big=False), uint(data, 6, 2, big=False))
    start = 13 + table(uint(data, 10, 1))
    at, _, height, width, total = tf.while_loop(
        # Past the end all is zero, which is no block.
        lambda at, *_: at >= 0,
        advance,
        (start, tf.constant(False), *screen, tf.constant(0, tf.int64)),
        maximum_iterations=_MAX_PIECES,
        parallel_iterations=1,
    )
    return height, width, tf.where(at >= 0, _MANY_PIXELS, total)


def tiff_orientation(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """int32 scalar: the orientation in the EXIF block at `at` (TIFF 6.0, section 2), or 1; 1 too for -1."""
    at = tf.where(at < 0, tf.size(data, out_type=tf.int64), at)
    prefixed = tf.equal(uint(data, at, 6), int.from_bytes(_EXIF, "big"))
    at = tf.where(prefixed, at + 6, at)
    order = uint(data, at, 2)
    big = tf.equal(order, int.from_bytes(b"MM", "big"))

    def number(raw: tf.Tensor) -> tf.Tensor:
        """int64 [...] of bytes [..., n] in the block's byte order."""
        powers = [256**i for i in range(raw.shape[-1])]
        return tf.reduce_sum(raw * tf.where(big, tf.constant(powers[::-1], tf.int64), powers), -1)

    directory = at + number(_bytes(data, at + 4, 4))
    count = tf.minimum(number(_bytes(data, directory, 2)), _MAX_ENTRIES)
    entries = tf.reshape(_bytes(data, directory + 2, 12 * count), (-1, 12))
    # A SHORT stands at the front of the four bytes of a value, whatever the order; some write a LONG.
    long = tf.equal(number(entries[:, 2:4]), 4)
    values = tf.where(long, number(entries[:, 8:12]), number(entries[:, 8:10]))
    wanted = tf.equal(number(entries[:, 0:2]), _ORIENTATION_TAG) & (values >= 1) & (values <= 8)
    wanted &= big | tf.equal(order, int.from_bytes(b"II", "big"))
    values = tf.concat([tf.boolean_mask(values, wanted), [1]], 0)
    return tf.cast(values[0], tf.int32)


def refusal(image_bytes: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Says why a picture is not decoded at all, from its header alone.

    Args:
        image_bytes: string scalar.
        max_pixels: int, default 50 million.

    Returns:
        string scalar, one line; empty for a picture worth trying.

    Raises:
        tf.errors.InvalidArgumentError: when run, if the header of a JPEG is damaged.

    Example:
        >>> refusal(tf.io.encode_png(tf.zeros((5, 7, 3), tf.uint8)), max_pixels=30).numpy().decode()
        '7 x 5 pixels are more than 3e-05 megapixels'
    """
    data = padded(image_bytes)

    def plain(reason: tf.Tensor | str, height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tf.convert_to_tensor(reason), tf.cast(height, tf.int64), tf.cast(width, tf.int64)

    def jpeg() -> tuple[tf.Tensor, ...]:
        shape = tf.image.extract_jpeg_shape(image_bytes)
        return plain("", shape[0], shape[1])

    def png() -> tuple[tf.Tensor, ...]:
        return plain("", uint(data, 20, 4), uint(data, 16, 4))

    def webp() -> tuple[tf.Tensor, ...]:
        extended = tf.equal(uint(data, 12, 4), int.from_bytes(b"VP8X", "big"))
        animated = extended & tf.not_equal(uint(data, 20, 1) & 0x02, 0)
        # The op misreads animations: it returns their RGBA frames as RGB.
        return plain(tf.where(animated, "animated WebP is not supported", ""), *_webp_size(data))

    def bmp() -> tuple[tf.Tensor, ...]:
        modern = uint(data, 14, 4, big=False) >= 40
        depth, compression = uint(data, 28, 2, big=False), uint(data, 30, 4, big=False)
        # The op returns palette indices as grey levels and takes compressed rows for plain ones.
        fits = modern & ((depth == 24) | (depth == 32)) & ((compression == 0) | (compression == 3))
        # Sizes are signed: a negative height is that of a picture stored from the top.
        size = [tf.cast(tf.cast(uint(data, at, 4, big=False), tf.int32), tf.int64) for at in (22, 18)]
        return plain(tf.where(fits, "", "BMP must be 24 or 32 bit, uncompressed"), *map(tf.abs, size))

    def gif() -> tuple[tf.Tensor, ...]:
        height, width, total = _gif_size(data)
        # All frames are unpacked to find the first, a byte a pixel where the picture has three.
        long = tf.where(total > 3 * max_pixels, "GIF with too many frames or pieces", "")
        return plain(long, height, width)

    def other() -> tuple[tf.Tensor, ...]:
        return plain("not a JPEG, PNG, GIF, BMP or WebP file", 0, 0)

    branches = dict(enumerate((jpeg, png, webp, bmp, gif)))
    reason, height, width = tf.switch_case(kind(image_bytes), branches, default=other)
    number = tf.strings.as_string
    limit = f" pixels are more than {max_pixels / 1e6:g} megapixels"
    large = tf.strings.join([number(width), " x ", number(height), limit])
    return tf.where(tf.equal(reason, "") & (height * width > max_pixels), large, reason)
