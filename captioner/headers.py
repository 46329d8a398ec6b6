"""Reading the headers of picture files inside a graph.

`data` is always the file as `padded` gives it: its bytes, and some zeros after them. Reads beyond the end see
zeros, so that a damaged length leads nowhere worse, and every loop is bounded. Kept lean: a graph costs
start-up time by the op.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_ORIENTATION_TAG = 0x0112
_EXIF = b"Exif\0\0"
_MAX_SEGMENTS = 512  # against files made of a million empty chunks
_MAX_ENTRIES = 256
_PADDING = 12 * _MAX_ENTRIES  # the most that is read at once


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
