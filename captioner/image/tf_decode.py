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
from captioner.image import file_headers, tf_formats, tf_headers
from captioner.image.file_headers import MAX_PIXELS
from captioner.image.tf_bytes import padded
from captioner.image.tf_headers import KINDS

VERSION = "squash-bilinear-antialias-2"

_AT_A_TIME = 8  # images decoded in parallel inside one call of a graph


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
        float32 [N, height, width, 3], zeros for what cannot be read, and string [N], the reason why not, as
        `reader` words it, or nothing.

    Example:
        >>> red = tf.io.encode_png(tf.constant([[[255, 0, 0]]], tf.uint8))
        >>> pixels, errors = load_rows(tf.stack([tf.constant("text"), red]), (1, 1))
        >>> pixels[1, 0, 0].numpy().tolist(), errors.numpy().tolist()
        ([255.0, 0.0, 0.0], [b'not a JPEG, PNG, GIF, BMP or WebP file', b''])
    """
    count = tf.size(image_bytes, out_type=tf.int64)
    blank = tf.zeros((*size, 3))

    def row(index: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        reason = tf_headers.refusal(data, max_pixels)
        pixels = tf.cond(
            tf.equal(reason, ""), lambda: _squashed(*_read(data, max_pixels), size), lambda: blank
        )
        return index, reason, pixels

    data = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
    data = data.map(row, num_parallel_calls=_AT_A_TIME, deterministic=True).ignore_errors()
    # One more row: there may be no other, and images that fail get it.
    spare = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), "", blank))
    indices, reasons, pixels = data.concatenate(spare).batch(count + 1).get_single_element()
    kept = tf.size(indices, out_type=tf.int64) - 1
    slots = tf.tensor_scatter_nd_update(tf.fill([count], kept), indices[:-1, tf.newaxis], tf.range(kept))
    names = tf.gather([*KINDS, "image"], tf_headers.kind(image_bytes))
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
            kind = file_headers.kind(data) or "image"
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
    reason = tf_headers.refusal(image_bytes, max_pixels)
    fine = tf.debugging.Assert(tf.equal(reason, ""), [tf.strings.join(["image: ", reason])])
    with tf.control_dependencies([fine] if fine is not None else []):
        return tf.identity(image_bytes)


def _squashed(pixels: tf.Tensor, turn: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """float32 [height, width, 3] of what `_read` returns."""
    height, width = size
    # A turn by 90 degrees commutes with the resize, so the small image is turned, not the big one.
    stored = tf.where(turn >= 5, [width, height], [height, width])
    return tf.ensure_shape(orient(resize(pixels, stored), turn), (height, width, 3))


def _read(image_bytes: tf.Tensor, max_pixels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels uint8 [H, W, 3] as stored, and the EXIF orientation, int32 scalar: 1 if there is none."""
    data = padded(image_bytes)
    jpeg = functools.partial(tf_formats.jpeg, max_pixels=max_pixels)
    branches: list[Callable] = [jpeg, tf_formats.png, tf_formats.webp, tf_formats.bmp, tf_formats.gif]
    pixels, exif = tf.switch_case(
        # What is none of them has been refused before.
        tf.minimum(tf_headers.kind(image_bytes), len(KINDS) - 1),
        {i: (lambda read=read: read(image_bytes, data)) for i, read in enumerate(branches)},
    )
    pixels = tf.cond(tf.equal(tf.shape(pixels)[-1], 4), lambda: tf_formats.on_white(pixels), lambda: pixels)
    return tf.ensure_shape(pixels, (None, None, 3)), tf_headers.tiff_orientation(data, exif)
