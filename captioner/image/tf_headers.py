"""Parsing the headers of image files inside a TensorFlow graph; `data` is a file as `tf_bytes.padded` gives it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import tensorflow as tf

from captioner.image import file_headers
from captioner.image.file_headers import EXIF, MAX_ENTRIES, MAX_PIXELS
from captioner.image.not_images import TEXT_LENGTH, TEXTS
from captioner.image.tf_bytes import fields, padded, slice_bytes, uint, walk

# The kinds that the graph decodes, as in `file_headers.SIGNATURES`; `kind` returns indices of it.
KINDS = ("JPEG", "PNG", "WebP", "BMP", "GIF")


class GifFrame(NamedTuple):
    """Where the parts of a GIF's first frame are, int64 scalars; -1 for a part that is not there."""

    at: tf.Tensor  # its descriptor; -1 also for a file cut up so finely that the walk was given up
    start: tf.Tensor  # of its data
    end: tf.Tensor
    transparent: tf.Tensor  # index of the transparent colour
    table: tuple[tf.Tensor, tf.Tensor]  # where its colour table is, and how long
    interlaced: tf.Tensor  # bool scalar
    box: list[tf.Tensor]  # left, top, width, height
    height: tf.Tensor  # of the whole image
    width: tf.Tensor


def kind(image_bytes: tf.Tensor) -> tf.Tensor:
    """int32, shaped like the strings: the index in `KINDS`, or `len(KINDS)` for anything else.

    Example:
        >>> KINDS[kind(tf.constant("GIF89a..."))]
        'GIF'
    """
    head = tf.strings.join([tf.strings.substr(image_bytes, 0, 12), b"\0" * 12])
    matches = []
    for name in KINDS:
        parts = [
            tf.strings.substr(head, at, len(magic)) == magic for at, magic in file_headers.SIGNATURES[name]
        ]
        matches.append(tf.reduce_all(parts, axis=0))
    return tf.argmax(tf.cast([*matches, tf.fill(tf.shape(head), True)], tf.int32), 0, output_type=tf.int32)


def jpeg_exif(data: tf.Tensor) -> tf.Tensor:
    """int64: where the EXIF block of a JPEG starts (its "Exif" word), or -1."""

    def going(at: tf.Tensor) -> tf.Tensor:
        # After SOS (FF DA) come the pixels; a segment that starts with no FF is damage, or the end.
        marker = uint(data, at, 2)
        return (marker > 0xFF00) & tf.not_equal(marker, 0xFFDA)

    def read(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker = uint(data, at, 2)
        is_exif = tf.equal(marker, 0xFFE1) & tf.equal(uint(data, at + 4, 6), int.from_bytes(EXIF, "big"))
        # FF FF is a fill byte: the marker starts one further.
        following = tf.where(tf.equal(marker, 0xFFFF), at + 1, at + 2 + uint(data, at + 2, 2))
        return following, tf.where(is_exif, at + 4, tf.constant(-1, tf.int64))

    return walk(going, read, 2)


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


def _gif_table(flags: tf.Tensor) -> tf.Tensor:
    """int64: bytes of the colour table that a GIF's flags announce."""
    return tf.where(flags >= 0x80, 6 * tf.bitwise.left_shift(tf.constant(1, tf.int64), flags & 7), 0)


def gif_frame(data: tf.Tensor) -> GifFrame:
    """Walks a GIF up to the end of its first frame.

    Args:
        data: see `tf_bytes.padded`.
    """

    def advance(
        at: tf.Tensor, inside: tf.Tensor, frame: tf.Tensor, clear: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        head = slice_bytes(data, at, 10)
        # Data comes in runs of pieces of one length: up to 64 of them in one step.
        piece = head[0] + 1
        offsets = at + piece * tf.range(64, dtype=tf.int64)
        lengths = tf.gather(data, tf.minimum(offsets, tf.size(data, out_type=tf.int64) - 1))
        same = tf.math.cumprod(tf.cast(tf.equal(tf.cast(lengths, tf.int64), head[0]), tf.int64))
        is_frame = ~inside & tf.equal(head[0], 0x2C)
        extension = ~inside & tf.equal(head[0], 0x21)
        frame = tf.where(is_frame, at, frame)
        stated = tf.where(tf.equal(head[3] & 1, 1), head[6], -1)
        clear = tf.where(extension & tf.equal(head[1], 0xF9), stated, clear)
        after = at + tf.where(is_frame, 11 + _gif_table(head[9]), 2)  # 11: with the byte before the pixels
        moved = tf.where(tf.equal(head[0], 0), at + 1, at + piece * tf.reduce_sum(same))
        at = tf.where(inside, moved, tf.where(is_frame | extension, after, -1))
        return at, tf.where(inside, tf.not_equal(head[0], 0), is_frame | extension), frame, clear

    nothing = tf.constant(-1, tf.int64)
    screen_width, screen_height, flags = fields(data, 6, 2, 2, 1)
    at, inside, frame, clear = tf.while_loop(
        # Past the end all is zero, which is no block.
        lambda at, inside, frame, _: (at >= 0) & ((frame < 0) | inside),
        advance,
        (13 + _gif_table(flags), tf.constant(False), nothing, nothing),
        maximum_iterations=file_headers.MAX_PIECES,
        parallel_iterations=1,
    )
    frame = tf.where((at < 0) | inside, nothing, frame)
    # Past the end all is zero, and so is the frame that is not there.
    left, top, width, height, frame_flags = fields(data, tf.where(frame < 0, 2**40, frame) + 1, 2, 2, 2, 2, 1)
    local_table = _gif_table(frame_flags)
    table = (
        tf.where(local_table > 0, frame + 10, 13),
        tf.where(local_table > 0, local_table, _gif_table(flags)),
    )
    interlaced = tf.not_equal(frame_flags & 0x40, 0)
    box = [left, top, width, height]
    height, width = tf.maximum(screen_height, top + height), tf.maximum(screen_width, left + width)
    return GifFrame(frame, frame + 10 + local_table, at, clear, table, interlaced, box, height, width)


def jpeg_ratio(height: tf.Tensor, width: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """int32 scalar: the index in `file_headers.JPEG_RATIOS` by which a JPEG is divided, or their number."""
    ratios = tf.constant(file_headers.JPEG_RATIOS, tf.int64)
    fits = ((height + ratios - 1) // ratios) * ((width + ratios - 1) // ratios) <= max_pixels
    fits &= height * width <= file_headers.JPEG_TIMES * max_pixels
    return tf.argmax(tf.cast(tf.concat([fits, [True]], 0), tf.int32), output_type=tf.int32)


class BmpHeader(NamedTuple):
    """What the header of a BMP states."""

    height: tf.Tensor  # int64 scalars
    width: tf.Tensor
    end: tf.Tensor  # of the pixels
    fits: tf.Tensor  # bool scalar: whether TensorFlow reads it right
    alpha: tf.Tensor  # bool scalar: whether the fourth channel is alpha


def bmp_header(data: tf.Tensor) -> BmpHeader:
    """Reads the header of a BMP by the rules of `file_headers.plain_bmp`.

    Args:
        data: see `tf_bytes.padded`.
    """
    start, size, width, height, _, depth, compression, *_, red, green, blue, alpha = fields(
        data, 10, *[4] * 4, 2, 2, *[4] * 10
    )
    # Sizes are signed: a negative height is that of an image stored from the top.
    height, width = (tf.where(side >= 2**31, 2**32 - side, side) for side in (height, width))
    is_32, masked, modern = tf.equal(depth, 32), tf.equal(compression, 3), size >= 56
    # The op returns palette indices as grey levels, takes compressed rows for plain ones, and has one order of
    # channels, whatever the masks say: B, G, R and perhaps A.
    usual = tf.equal(red, 0xFF0000) & tf.equal(green, 0xFF00) & tf.equal(blue, 0xFF)
    usual &= ~modern | tf.equal(alpha, 0) | tf.equal(alpha, 0xFF000000)
    fits = (is_32 | tf.equal(depth, 24)) & tf.equal(compression, 0) | is_32 & masked & usual
    fits &= (size >= 40) & (start >= 14 + size)  # some leave out where the pixels start
    end = start + (width * depth + 31) // 32 * 4 * height
    return BmpHeader(height, width, end, fits, masked & modern & tf.not_equal(alpha, 0))


def tiff_orientation(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """int32 scalar: the orientation in the EXIF block at `at` (TIFF 6.0, section 2), or 1; 1 too for -1."""
    at = tf.where(at < 0, tf.size(data, out_type=tf.int64), at)
    prefixed = tf.equal(uint(data, at, 6), int.from_bytes(EXIF, "big"))
    at = tf.where(prefixed, at + 6, at)
    order = uint(data, at, 2)
    big = tf.equal(order, int.from_bytes(b"MM", "big"))

    def number(raw: tf.Tensor) -> tf.Tensor:
        """int64 [...] of bytes [..., n] in the block's byte order."""
        powers = [256**i for i in range(raw.shape[-1])]
        return tf.reduce_sum(raw * tf.where(big, tf.constant(powers[::-1], tf.int64), powers), -1)

    directory = at + number(slice_bytes(data, at + 4, 4))
    count = tf.minimum(number(slice_bytes(data, directory, 2)), MAX_ENTRIES)
    entries = tf.reshape(slice_bytes(data, directory + 2, 12 * count), (-1, 12))
    # A SHORT stands at the front of the four bytes of a value, whatever the order; some write a LONG.
    width = number(entries[:, 2:4])
    values = tf.where(tf.equal(width, 4), number(entries[:, 8:12]), number(entries[:, 8:10]))
    wanted = tf.equal(number(entries[:, 0:2]), file_headers.ORIENTATION_TAG) & (values >= 1) & (values <= 8)
    wanted &= tf.equal(width, 3) | tf.equal(width, 4)
    wanted &= big | tf.equal(order, int.from_bytes(b"II", "big"))
    values = tf.concat([tf.boolean_mask(values, wanted), [1]], 0)
    return tf.cast(values[0], tf.int32)


class _Stated(NamedTuple):
    """What a header says: why the file is not decoded (empty if it is), and its size, int64 scalars."""

    reason: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor


def _stated(reason: tf.Tensor | str, height: tf.Tensor | int, width: tf.Tensor | int) -> _Stated:
    return _Stated(tf.convert_to_tensor(reason), tf.cast(height, tf.int64), tf.cast(width, tf.int64))


def _jpeg(image_bytes: tf.Tensor, data: tf.Tensor) -> _Stated:
    shape = tf.image.extract_jpeg_shape(image_bytes)
    return _stated("", shape[0], shape[1])


def _png(image_bytes: tf.Tensor, data: tf.Tensor) -> _Stated:
    return _stated("", uint(data, 20, 4), uint(data, 16, 4))


def _webp(image_bytes: tf.Tensor, data: tf.Tensor) -> _Stated:
    extended = tf.equal(uint(data, 12, 4), int.from_bytes(b"VP8X", "big"))
    animated = extended & tf.not_equal(uint(data, 20, 1) & 0x02, 0)
    # The op misreads animations: it returns their RGBA frames as RGB.
    return _stated(tf.where(animated, "animated WebP is not supported", ""), *_webp_size(data))


def _bmp(image_bytes: tf.Tensor, data: tf.Tensor) -> _Stated:
    header = bmp_header(data)
    reason = tf.where(header.fits, "", "BMP must be 24 or 32 bit, uncompressed")
    return _stated(reason, header.height, header.width)


def _gif(image_bytes: tf.Tensor, data: tf.Tensor) -> _Stated:
    frame = gif_frame(data)
    in_pieces = tf.equal(frame.at, -1) & (frame.end >= 0)
    return _stated(tf.where(in_pieces, "GIF with too many pieces", ""), frame.height, frame.width)


def _other(image_bytes: tf.Tensor) -> _Stated:
    start, advice = tf.strings.substr(image_bytes, 0, TEXT_LENGTH), tf.constant("")
    for pattern, text in TEXTS:
        advice = tf.where(tf.strings.regex_full_match(start, pattern), f": {text}", advice)
    return _stated(tf.strings.join(["not a JPEG, PNG, GIF, BMP or WebP file", advice]), 0, 0)


def refusal(image_bytes: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Why an image is not decoded at all, from its header alone.

    Args:
        image_bytes: string scalar.
        max_pixels: int, default 50 million.

    Returns:
        string scalar, one line; empty for an image worth trying.

    Raises:
        tf.errors.InvalidArgumentError: when run, if the header of a JPEG is damaged.

    Example:
        >>> refusal(tf.io.encode_png(tf.zeros((5, 7, 3), tf.uint8)), max_pixels=30).numpy().decode()
        '7 x 5 pixels are more than 3e-05 megapixels: make it smaller or save it as JPEG'
    """
    data = padded(image_bytes)
    branches = {
        i: partial(read, image_bytes, data) for i, read in enumerate((_jpeg, _png, _webp, _bmp, _gif))
    }
    kind_index = kind(image_bytes)
    reason, height, width = tf.switch_case(kind_index, branches, default=lambda: _other(image_bytes))
    is_jpeg = tf.equal(kind_index, KINDS.index("JPEG"))
    fits = tf.where(
        is_jpeg,
        jpeg_ratio(height, width, max_pixels) < len(file_headers.JPEG_RATIOS),
        height * width <= max_pixels,
    )
    number = tf.strings.as_string
    limits = [
        str(file_headers.too_large(0, 0, max_pixels, kind_name))[len("0 x 0") :]
        for kind_name in ("JPEG", None)
    ]
    too_large = tf.strings.join([number(width), " x ", number(height), tf.where(is_jpeg, *limits)])
    return tf.where(tf.equal(reason, "") & ~fits, too_large, reason)
