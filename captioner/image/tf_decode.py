"""Decoding and preprocessing in TensorFlow: one graph for training, inference and exports.

    decode (JPEG, PNG, GIF, BMP, WebP)  ->  orient (EXIF)  ->  resize the whole frame  ->  whole grey levels

Scaling the channels to what a network was trained on is the encoder's own first layer. Everything here is
stock TensorFlow ops with hand-written loops, so that it can go into a SavedModel; what cannot be decoded is
an InvalidArgument error when it runs. Pixels agree with Pillow's: exactly after decoding (`dct_method` and
chroma upsampling are chosen for that), within one grey level after resizing with BILINEAR.

Raise `VERSION` when any pixel can change: feature caches are keyed by it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import tensorflow as tf

from captioner.errors import ImageError
from captioner.image import file_headers as containers
from captioner.image import tf_headers as headers
from captioner.image.file_headers import MAX_PIXELS
from captioner.image.tf_headers import KINDS

VERSION = "squash-bilinear-antialias-2"

_AT_A_TIME = 8  # images decoded side by side inside one call of a graph


def load(
    image_bytes: tf.Tensor, size: tuple[int, int] = (224, 224), max_pixels: int = MAX_PIXELS
) -> tf.Tensor:
    """Reads one encoded image as a model wants it: upright, squashed to `size`, 0..255.

    The whole frame is kept and squashed, never cropped: the caption may be about what stands at the edge.

    Args:
        image_bytes: string scalar. An encoded image.
        size: tuple of two ints, height and width.
        max_pixels: int, default 50 million. The most pixels to decode; see `decode`.

    Returns:
        float32 [height, width, 3], whole numbers from 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: when run, if the bytes are no image this graph can decode.

    Example:
        >>> blue = tf.io.encode_png(tf.constant([[[0, 0, 255]]], tf.uint8))
        >>> load(blue, (2, 2))[0, 0].numpy().tolist()
        [0.0, 0.0, 255.0]
    """
    return _squashed(*_read(_or_fail(image_bytes, max_pixels), max_pixels), size)


def load_rows(
    image_bytes: tf.Tensor, size: tuple[int, int] = (224, 224), max_pixels: int = MAX_PIXELS
) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads a batch of encoded images; an image that cannot be read fails alone, the batch continues.

    An image is a row of a `tf.data.Dataset` inside the graph: there, and nowhere else in a graph, an error
    of an op can be ignored, whatever its reason.

    Args:
        image_bytes: string [N].
        size: tuple of two ints, height and width.
        max_pixels: int, default 50 million. The most pixels to decode; see `decode`.

    Returns:
        float32 [N, height, width, 3], zeros for what cannot be read, and string [N], the reason why not: the
        words of `reader`, or nothing.

    Example:
        >>> red = tf.io.encode_png(tf.constant([[[255, 0, 0]]], tf.uint8))
        >>> pixels, errors = load_rows(tf.stack([tf.constant("text"), red]), (1, 1))
        >>> pixels[1, 0, 0].numpy().tolist(), errors.numpy().tolist()
        ([255.0, 0.0, 0.0], [b'not a JPEG, PNG, GIF, BMP or WebP file', b''])
    """
    count = tf.size(image_bytes, out_type=tf.int64)
    blank = tf.zeros((*size, 3))

    def row(place: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        reason = headers.refusal(data, max_pixels)
        pixels = tf.cond(
            tf.equal(reason, ""), lambda: _squashed(*_read(data, max_pixels), size), lambda: blank
        )
        return place, reason, pixels

    data = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
    data = data.map(row, num_parallel_calls=_AT_A_TIME, deterministic=True).ignore_errors()
    # One row more: there may be no other, and it is what lost rows get.
    spare = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), "", blank))
    places, reasons, pixels = data.concatenate(spare).batch(count + 1).get_single_element()
    kept = tf.size(places, out_type=tf.int64) - 1
    slots = tf.tensor_scatter_nd_update(tf.fill([count], kept), places[:-1, tf.newaxis], tf.range(kept))
    names = tf.gather([*KINDS, "image"], headers.kind(image_bytes))
    lost = tf.strings.join(["damaged ", names, ", it cannot be decoded"])
    return tf.gather(pixels, slots), tf.where(slots < kept, tf.gather(reasons, slots), lost)


def decode(image_bytes: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes one image at its own size, turned upright as its EXIF orientation asks.

    JPEG (grey, CMYK, progressive), PNG (every colour type and depth; 16 bits keep the upper 8), the first
    frame of a GIF, uncompressed BMP with 24 or 32 bits, WebP that is not animated. Alpha is composited on
    white. A JPEG of up to eight times `max_pixels` is decoded at a half or a quarter of its sides. The
    orientation is that of browsers, see `captioner.image.file_headers.orientation`.

    Limits: colour profiles are passed over, as TensorFlow has nothing to convert them with;
    `captioner.image.loading.to_bytes` does it before. A file that ends too early is an error; but a JPEG that was
    damaged inside and has its end mark comes out grey from there on, which libjpeg tells nobody.

    Args:
        image_bytes: string scalar. An encoded image.
        max_pixels: int, default 50 million. The most pixels to decode; see `decode`.

    Returns:
        uint8 [H, W, 3].

    Raises:
        tf.errors.InvalidArgumentError: when run, if the bytes are no such image.

    Example:
        >>> red = tf.io.encode_jpeg(tf.fill((8, 4, 1), tf.constant(200, tf.uint8)))
        >>> decode(red).shape.as_list()
        [8, 4, 3]
    """
    return orient(*_read(_or_fail(image_bytes, max_pixels), max_pixels))


@functools.lru_cache(maxsize=8)
def reader(size: tuple[int, int] = (224, 224)) -> Callable[[bytes], tf.Tensor]:
    """`load` as a thread-safe function of plain bytes, for use outside a graph.

    Traced once for a size, whoever asks: that takes most of a second.

    Args:
        size: tuple of two ints, height and width.

    Returns:
        A function from bytes to float32 [height, width, 3]. It raises `ImageError`, one line without the
        image's name, for what cannot be decoded.

    Example:
        >>> read = reader((2, 2))
        >>> read(tf.io.encode_png(tf.zeros((5, 7, 3), tf.uint8)).numpy()).shape.as_list()
        [2, 2, 3]
    """
    graph = tf.function(
        lambda data: load(data, size), input_signature=[tf.TensorSpec([], tf.string)], autograph=False
    )

    def read(data: bytes) -> tf.Tensor:
        try:
            with tf.device("CPU:0"):
                return graph(tf.constant(data))
        except (tf.errors.OpError, UnicodeDecodeError) as error:  # some operations quote the file
            reason = re.search(r"\[image: ([^\]]*)\]", getattr(error, "message", ""))
            kind = containers.kind(data) or "image"
            raise ImageError(
                reason[1].replace('\\"', '"') if reason else f"damaged {kind}, it cannot be decoded"
            ) from None

    return read


def resize(image: tf.Tensor, size: tf.Tensor | tuple[int, int]) -> tf.Tensor:
    """Resizes by antialiased bilinear filtering (Pillow's BILINEAR) and rounds to whole grey levels.

    Args:
        image: uint8 or float [H, W, 3].
        size: two ints, height and width.

    Returns:
        float32 [height, width, 3].

    Example:
        >>> resize(tf.zeros((5, 7, 3), tf.uint8), (2, 4)).shape.as_list()
        [2, 4, 3]
    """
    image = tf.image.resize(image, size, method="bilinear", antialias=True)
    return tf.clip_by_value(tf.round(image), 0.0, 255.0)


def orient(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image upright from how it is stored.

    Args:
        image: any type [H, W, C].
        orientation: int scalar, the EXIF value 1..8 (EXIF 2.32, table 6); 1 leaves the image alone.

    Returns:
        [H, W, C], or [W, H, C] for the values 5 to 8.

    Example:
        >>> orient(tf.constant([[[1], [2], [3]]]), tf.constant(6))[:, :, 0].numpy().tolist()
        [[1], [2], [3]]
    """
    turn = tf.cast(orientation, tf.int32)
    # 5 mirrors over the diagonal and no more; 6, 7, 8 are that and then mirrors of their own.
    image = tf.transpose(image, tf.where(turn >= 5, [1, 0, 2], [0, 1, 2]))
    upside_down = tf.reduce_any(tf.equal(turn, [3, 4, 7, 8]))
    mirrored = tf.reduce_any(tf.equal(turn, [2, 3, 6, 7]))
    return tf.reverse(image, tf.boolean_mask([0, 1], [upside_down, mirrored]))


def _or_fail(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """The same bytes; fails in the graph if their header says that they must not be decoded."""
    reason = headers.refusal(image_bytes, max_pixels)
    fine = tf.debugging.Assert(tf.equal(reason, ""), [tf.strings.join(["image: ", reason])])
    with tf.control_dependencies([fine] if fine is not None else []):
        return tf.identity(image_bytes)


def _squashed(pixels: tf.Tensor, turn: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """float32 [height, width, 3] of what `_read` gives."""
    height, width = size
    # A turn by 90 degrees commutes with the resize, so the small image is turned, not the big one.
    stored = tf.where(turn >= 5, [width, height], [height, width])
    return tf.ensure_shape(orient(resize(pixels, stored), turn), (height, width, 3))


def _read(image_bytes: tf.Tensor, max_pixels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels uint8 [H, W, 3] as stored, and the EXIF orientation, int32 scalar: 1 if there is none."""
    data = headers.padded(image_bytes)
    branches: list[Callable] = [functools.partial(_jpeg, max_pixels), _png, _webp, _bmp, _gif]
    pixels, exif = tf.switch_case(
        # What is none of them has been refused before.
        tf.minimum(headers.kind(image_bytes), len(KINDS) - 1),
        {i: (lambda read=read: read(image_bytes, data)) for i, read in enumerate(branches)},
    )
    pixels = tf.cond(tf.equal(tf.shape(pixels)[-1], 4), lambda: _on_white(pixels), lambda: pixels)
    return tf.ensure_shape(pixels, (None, None, 3)), headers.tiff_orientation(data, exif)


# The kinds. Each gives pixels uint8 [H, W, 3 or 4] and where its EXIF block starts, int64, -1 for nowhere.


def _jpeg(max_pixels: int, image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    def decoded(ratio: int) -> tf.Tensor:
        # The default DCT is the fast one, up to 7 grey levels away from what everybody else decodes.
        return tf.io.decode_jpeg(image_bytes, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    shape = tf.cast(tf.image.extract_jpeg_shape(image_bytes), tf.int64)
    which = headers.jpeg_ratio(shape[0], shape[1], max_pixels)
    ratios = {i: functools.partial(decoded, ratio) for i, ratio in enumerate(containers.JPEG_RATIOS)}
    return tf.switch_case(tf.minimum(which, len(ratios) - 1), ratios), headers.jpeg_exif(data)


def _png(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    colour_type = headers.uint(data, 25, 1)
    # The op makes up a wrong alpha for greys of 1, 2 and 4 bits: ask for one only where the file has it.
    transparent = (colour_type >= 4) | (headers.chunk(data, 8, b"tRNS", until=b"IDAT") >= 0)
    pixels = tf.cond(
        transparent,
        lambda: tf.io.decode_png(image_bytes, channels=4),
        lambda: tf.io.decode_png(image_bytes, channels=3),
    )
    return pixels, headers.chunk(data, 8, b"eXIf", until=b"IDAT")


def _webp(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.io.decode_webp(image_bytes, channels=0)[0], headers.chunk(data, 12, b"EXIF", riff=True)


def _bmp(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    header = headers.bmp_header(data)
    # The op refuses what stands behind the pixels, such as the two zeros that some programs write.
    pixels = tf.io.decode_bmp(
        tf.strings.substr(image_bytes, tf.constant(0, tf.int64), header.end), channels=0
    )
    # The fourth channel of a BMP is mostly left at 0 and means nothing.
    transparent = header.alpha & tf.reduce_any(pixels[..., 3:] > 0)
    return tf.cond(transparent, lambda: pixels, lambda: pixels[..., :3]), tf.constant(-1, tf.int64)


def _gif(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first frame, made a file of its own whose transparent colour is white (see `containers.gif_frame`)."""

    def cut(text: tf.Tensor, at: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
        return tf.strings.substr(text, tf.cast(at, tf.int64), tf.cast(count, tf.int64))

    frame = headers.gif_frame(data)
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


def _on_white(rgba: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 4] composited on white: uint8 [H, W, 3]."""
    pixels = tf.cast(rgba, tf.uint16)  # 255 * 255 + 127 still fits
    colour, alpha = pixels[..., :3], pixels[..., 3:4]
    return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)
