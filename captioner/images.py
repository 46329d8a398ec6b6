"""From encoded bytes to pixels: the only preprocessing, one graph for training, inference and exports.

    decode (JPEG, PNG, GIF, BMP, WebP)  ->  orient (EXIF)  ->  resize the whole frame  ->  whole grey levels

Scaling the channels to what a network was trained on is the encoder's own first layer. Everything here is
stock TensorFlow ops with hand-written loops, so that it can go into a SavedModel; what cannot be decoded is
an InvalidArgument error when it runs. Pixels agree with Pillow's: exactly after decoding (`dct_method` and
chroma upsampling are chosen for that), within one grey level after resizing with BILINEAR.

Raise `VERSION` when any pixel can change: feature caches are keyed by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import tensorflow as tf

from captioner import headers, inputs
from captioner.errors import ImageError

VERSION = "squash-bilinear-antialias-1"

# What stands at the front of a file, as in `inputs.SIGNATURES`; the order gives the branch in `decode`.
_KINDS = ("JPEG", "PNG", "WebP", "BMP", "GIF")


def load(image_bytes: tf.Tensor, size: tuple[int, int] = (224, 224)) -> tf.Tensor:
    """Reads one encoded picture as a model wants it: upright, squashed to `size`, 0..255.

    The whole frame is kept and squashed, never cropped: the caption may be about what stands at the edge.

    Args:
        image_bytes: string scalar. An encoded picture.
        size: tuple of two ints, height and width.

    Returns:
        float32 [height, width, 3], whole numbers from 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: when run, if the bytes are no picture this graph can decode.

    Example:
        >>> blue = tf.io.encode_png(tf.constant([[[0, 0, 255]]], tf.uint8))
        >>> load(blue, (2, 2))[0, 0].numpy().tolist()
        [0.0, 0.0, 255.0]
    """
    height, width = size
    pixels, turn = _read(image_bytes)
    # A turn by 90 degrees commutes with the resize, so the small picture is turned, not the big one.
    stored = tf.where(turn >= 5, [width, height], [height, width])
    image = orient(resize(pixels, stored), turn)
    return tf.ensure_shape(image, (height, width, 3))


def decode(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes one picture at its own size, turned upright as its EXIF orientation asks.

    JPEG (grey, CMYK, progressive), PNG (every colour type and depth; 16 bits keep the upper 8), the first
    frame of a GIF, uncompressed BMP with 24 or 32 bits, WebP that is not animated. Alpha is composited on
    white. A truncated file is an error, not a half-grey picture.

    Args:
        image_bytes: string scalar. An encoded picture.

    Returns:
        uint8 [H, W, 3].

    Raises:
        tf.errors.InvalidArgumentError: when run, if the bytes are no such picture.

    Example:
        >>> red = tf.io.encode_jpeg(tf.fill((8, 4, 1), tf.constant(200, tf.uint8)))
        >>> decode(red).shape.as_list()
        [8, 4, 3]
    """
    return orient(*_read(image_bytes))


def reader(size: tuple[int, int] = (224, 224)) -> Callable[[bytes], tf.Tensor]:
    """Makes `load` into a function of plain bytes that several threads may call, for use outside a graph.

    Args:
        size: tuple of two ints, height and width.

    Returns:
        A function from bytes to float32 [height, width, 3]. It raises `ImageError`, one line without the
        picture's name, for what cannot be decoded.

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
        except tf.errors.OpError as error:
            said = re.search(r"\[image: ([^\]]*)\]", error.message)
            kind = inputs.kind(data) or "picture"
            raise ImageError(said[1] if said else f"damaged {kind}, it cannot be decoded") from None

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
    """Turns a picture upright from how it is stored.

    Args:
        image: any type [H, W, C].
        orientation: int scalar, the EXIF value 1..8 (EXIF 2.32, table 6); 1 leaves the picture alone.

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


def _read(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels uint8 [H, W, 3] as stored, and the EXIF orientation, int32 scalar: 1 if there is none."""
    data = headers.padded(image_bytes)
    branches: list[Callable] = [_jpeg, _png, _webp, _bmp, _gif]
    pixels, exif = tf.switch_case(
        _kind(image_bytes),
        {i: (lambda read=read: read(image_bytes, data)) for i, read in enumerate(branches)},
        default=lambda: _unknown(image_bytes),
    )
    pixels = tf.cond(tf.equal(tf.shape(pixels)[-1], 4), lambda: _on_white(pixels), lambda: pixels)
    return tf.ensure_shape(pixels, (None, None, 3)), headers.tiff_orientation(data, exif)


def _kind(image_bytes: tf.Tensor) -> tf.Tensor:
    """int32 scalar: the place in `_KINDS`, or their number for anything else."""
    head = tf.strings.join([tf.strings.substr(image_bytes, 0, 12), b"\0" * 12])
    found = []
    for kind in _KINDS:
        parts = [tf.strings.substr(head, at, len(magic)) == magic for at, magic in inputs.SIGNATURES[kind]]
        found.append(tf.reduce_all(parts))
    return tf.argmax(tf.cast([*found, True], tf.int32), output_type=tf.int32)


# The kinds. Each gives pixels uint8 [H, W, 3 or 4] and where its EXIF block starts, int64, -1 for nowhere.


def _jpeg(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # The default DCT is the fast one, up to 7 grey levels away from what everybody else decodes.
    return tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE"), headers.jpeg_exif(data)


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
    extended = tf.equal(headers.uint(data, 12, 4), int.from_bytes(b"VP8X", "big"))
    animated = extended & tf.not_equal(headers.uint(data, 20, 1) & 0x02, 0)
    # The op misreads animations: it returns their RGBA frames as RGB.
    with tf.control_dependencies([tf.debugging.Assert(~animated, ["image: animated WebP is not supported"])]):
        return tf.io.decode_webp(image_bytes, channels=0)[0], headers.chunk(data, 12, b"EXIF", riff=True)


def _bmp(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    modern = headers.uint(data, 14, 4, big=False) >= 40
    depth, compression = headers.uint(data, 28, 2, big=False), headers.uint(data, 30, 4, big=False)
    # The op returns palette indices as grey levels and takes compressed rows for plain ones.
    plain = modern & ((depth == 24) | (depth == 32)) & ((compression == 0) | (compression == 3))
    with tf.control_dependencies(
        [tf.debugging.Assert(plain, ["image: BMP must be 24 or 32 bit, uncompressed"])]
    ):
        # The fourth channel of a BMP is mostly left at 0 and means nothing.
        return tf.io.decode_bmp(image_bytes, channels=0)[..., :3], tf.constant(-1, tf.int64)


def _gif(image_bytes: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    first = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    return first, tf.constant(-1, tf.int64)


def _unknown(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    words = "image: not a JPEG, PNG, GIF, BMP or WebP file"
    with tf.control_dependencies([tf.debugging.Assert(_kind(image_bytes) < len(_KINDS), [words])]):
        return tf.zeros((1, 1, 3), tf.uint8), tf.constant(-1, tf.int64)


def _on_white(rgba: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 4] composited on white: uint8 [H, W, 3]."""
    pixels = tf.cast(rgba, tf.uint16)  # 255 * 255 + 127 still fits
    colour, alpha = pixels[..., :3], pixels[..., 3:4]
    return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)
