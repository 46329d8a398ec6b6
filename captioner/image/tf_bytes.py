"""Reading numbers and chunks from the bytes of a file inside a TensorFlow graph.

`data` is always the file as `padded` gives it: its bytes, and some zeros after them. Reads beyond the end see
zeros, so that a damaged length does no harm, and every loop is bounded. Kept small: a graph costs start-up time
by the op.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from captioner.image.file_headers import MAX_ENTRIES, MAX_SEGMENTS

_PADDING = 12 * MAX_ENTRIES  # the most that is read at once


def padded(image_bytes: tf.Tensor) -> tf.Tensor:
    """uint8 [N + padding]: the bytes of a string scalar and zeros."""
    return tf.concat([tf.io.decode_raw(image_bytes, tf.uint8), tf.zeros((_PADDING,), tf.uint8)], 0)


def slice_bytes(data: tf.Tensor, at: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
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
    return tf.reduce_sum(
        slice_bytes(data, at, count) * tf.constant(powers[::-1] if big else powers, tf.int64)
    )


def fields(data: tf.Tensor, at: tf.Tensor | int, *widths: int) -> list[tf.Tensor]:
    """int64 scalars: little-endian numbers of so many bytes each, one after the other from offset `at` on.

    Example:
        >>> [int(x) for x in fields(padded(tf.constant(bytes([1, 2, 3, 0]))), 1, 1, 2)]
        [2, 3]
    """
    powers = [[0] * sum(widths) for _ in widths]
    for row, width in enumerate(widths):
        for byte in range(width):
            powers[row][sum(widths[:row]) + byte] = 256**byte
    return tf.unstack(tf.reduce_sum(slice_bytes(data, at, sum(widths)) * tf.constant(powers, tf.int64), -1))


def walk(going: Callable, read: Callable, at: int) -> tf.Tensor:
    """Walks segments from offset `at` while `going`: the position that `read` returned first, or -1."""
    loop = tf.while_loop(
        lambda at, position: (position < 0) & going(at),
        lambda at, position: read(at),
        (tf.constant(at, tf.int64), tf.constant(-1, tf.int64)),
        maximum_iterations=MAX_SEGMENTS,
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
        is_wanted = tf.equal(uint(data, at + kind_at, 4), wanted)
        return following, tf.where(is_wanted, at + 8, tf.constant(-1, tf.int64))

    return walk(going, read, at)
