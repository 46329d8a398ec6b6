"""Decoding each kind of image file inside a TensorFlow graph.

`image_bytes` is a string scalar, `data` the same as `tf_bytes.padded` gives it. Each decoder returns pixels uint8
[H, W, 3 or 4] and the offset of the EXIF block, int64, -1 if there is none.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from captioner.image import file_headers, tf_headers
from captioner.image.tf_bytes import chunk, uint


def jpeg(image_bytes: tf.Tensor, data: tf.Tensor, max_pixels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a JPEG, divided as `jpeg_ratio` says."""

    def decoded(ratio: int) -> tf.Tensor:
        # The default DCT is the fast one, up to 7 grey levels away from what everybody else decodes.
        return tf.io.decode_jpeg(image_bytes, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    shape = tf.cast(tf.image.extract_jpeg_shape(image_bytes), tf.int64)
    which = tf_headers.jpeg_ratio(shape[0], shape[1], max_pixels)
    ratios = {i: functools.partial(decoded, ratio) for i, ratio in enumerate(file_headers.JPEG_RATIOS)}
    return tf.switch_case(tf.minimum(which, len(ratios) - 1), ratios), tf_headers.jpeg_exif(data)


def png(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a PNG, with alpha where the file has it."""
    colour_type = uint(data, 25, 1)
    # The op makes up a wrong alpha for greys of 1, 2 and 4 bits: ask for one only where the file has it.
    transparent = (colour_type >= 4) | (chunk(data, 8, b"tRNS", until=b"IDAT") >= 0)
    pixels = tf.cond(
        transparent,
        lambda: tf.io.decode_png(image_bytes, channels=4),
        lambda: tf.io.decode_png(image_bytes, channels=3),
    )
    return pixels, chunk(data, 8, b"eXIf", until=b"IDAT")


def webp(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a WebP that is not animated."""
    return tf.io.decode_webp(image_bytes, channels=0)[0], chunk(data, 12, b"EXIF", riff=True)


def bmp(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an uncompressed BMP of 24 or 32 bits."""
    header = tf_headers.bmp_header(data)
    # The op refuses what stands behind the pixels, such as the two zeros that some programs write.
    pixels = tf.io.decode_bmp(
        tf.strings.substr(image_bytes, tf.constant(0, tf.int64), header.end), channels=0
    )
    # The fourth channel of a BMP is mostly left at 0 and means nothing.
    transparent = header.alpha & tf.reduce_any(pixels[..., 3:] > 0)
    return tf.cond(transparent, lambda: pixels, lambda: pixels[..., :3]), tf.constant(-1, tf.int64)


def gif(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes the first frame of a GIF as a file of its own, with white for the transparent colour."""

    def cut(text: tf.Tensor, at: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
        return tf.strings.substr(text, tf.cast(at, tf.int64), tf.cast(count, tf.int64))

    frame = tf_headers.gif_frame(data)
    # Without any table an index is a grey level.
    table = tf.where(frame.table[1] > 0, cut(image_bytes, *frame.table), bytes(i // 3 for i in range(768)))
    table = cut(tf.strings.join([table, bytes(768)]), 0, 768)
    clear = 3 * frame.transparent
    cleared = [cut(table, 0, clear), b"\xff\xff\xff", cut(table, clear + 3, 768)]
    table = tf.cond(clear >= 0, lambda: tf.strings.join(cleared), lambda: table)
    size = cut(image_bytes, frame.at + 5, 4)
    flags = tf.where(frame.interlaced, b"\xc7", b"\x87")
    # Without a frame there is nothing to cut out, and what is left is no GIF.
    pixels = cut(
        image_bytes, frame.start, tf.maximum(frame.end - frame.start, 0) * tf.cast(frame.at >= 0, tf.int64)
    )
    alone = tf.strings.join([b"GIF89a", size, bytes(3), b",", bytes(4), size, flags, table, pixels, b";"])
    left, top, width, height = frame.box
    around = [[top, frame.height - top - height], [left, frame.width - left - width], [0, 0]]
    frame_pixels = tf.io.decode_image(alone, channels=3, expand_animations=False)
    return 255 - tf.pad(255 - frame_pixels, around), tf.constant(-1, tf.int64)  # white around it


def on_white(rgba: tf.Tensor) -> tf.Tensor:
    """Composites uint8 [H, W, 4] on white: uint8 [H, W, 3]."""
    pixels = tf.cast(rgba, tf.uint16)  # 255 * 255 + 127 still fits
    colour, alpha = pixels[..., :3], pixels[..., 3:4]
    return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)
