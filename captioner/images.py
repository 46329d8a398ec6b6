"""From encoded bytes to pixels: the only preprocessing there is, one graph for training, inference and exports.

    decode (JPEG, PNG, GIF, BMP, WebP)  ->  orient (EXIF)  ->  resize the whole frame  ->  whole grey levels

Scaling the channels to what a network was trained on is the encoder's own first layer. Everything here is stock
TensorFlow ops with hand-written loops, so that it can go into a SavedModel; what cannot be decoded is an
InvalidArgument error when it runs. Pixels agree with Pillow's: exactly after decoding (`dct_method` and chroma
upsampling are chosen for that), within one grey level after resizing with BILINEAR.

Raise `VERSION` when any pixel can change: feature caches are keyed by it.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from captioner import inputs

VERSION = "squash-bilinear-antialias-1"

# What stands at the front of a file, as in `inputs.SIGNATURES`; the order gives the branch in `decode`.
_KINDS = ("JPEG", "PNG", "WebP", "BMP", "GIF")
_ORIENTATION_TAG = 0x0112
_MAX_SEGMENTS = 512  # a bound on header walks, against files made of a million empty chunks


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
    turn = orientation(image_bytes)
    # A turn by 90 degrees commutes with the resize, so the small picture is turned, not the big one.
    stored = tf.where(turn >= 5, [width, height], [height, width])
    image = orient(resize(_pixels(image_bytes), stored), turn)
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
    return orient(_pixels(image_bytes), orientation(image_bytes))


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

    def has(*values: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(tf.cast(orientation, tf.int32), tf.constant(values)))

    # 5 mirrors over the diagonal and no more; 6, 7, 8 are that and then mirrors of their own.
    image = tf.cond(has(5, 6, 7, 8), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(has(2, 3, 6, 7), lambda: tf.reverse(image, (1,)), lambda: image)
    return tf.cond(has(3, 4, 7, 8), lambda: tf.reverse(image, (0,)), lambda: image)


def orientation(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads the EXIF orientation of a JPEG, PNG or WebP without decoding it.

    Args:
        image_bytes: string scalar. An encoded picture, or anything else.

    Returns:
        int32 scalar, 1 to 8; 1 when there is none or it makes no sense.

    Example:
        >>> orientation(tf.constant(b"no picture")).numpy().item()
        1
    """
    data = _padded(image_bytes)
    found = tf.switch_case(
        _kind(image_bytes),
        {
            0: lambda: _jpeg_exif(data),
            1: lambda: _chunk(data, 8, b"eXIf", until=b"IDAT"),
            2: lambda: _chunk(data, 12, b"EXIF", riff=True),
        },
        default=lambda: tf.constant(-1, tf.int64),
    )
    return tf.cond(found >= 0, lambda: _tiff_orientation(data, found), lambda: tf.constant(1))


def _pixels(image_bytes: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3] as stored, not yet turned."""
    branches: list[Callable[[tf.Tensor], tf.Tensor]] = [_jpeg, _png, _webp, _bmp, _gif]
    pixels = tf.switch_case(
        _kind(image_bytes),
        {i: (lambda read=read: read(image_bytes)) for i, read in enumerate(branches)},
        default=lambda: _unknown(image_bytes),
    )
    return tf.ensure_shape(pixels, (None, None, 3))


def _kind(image_bytes: tf.Tensor) -> tf.Tensor:
    """int32 scalar: the place in `_KINDS`, or their number for anything else."""
    head = tf.strings.join([tf.strings.substr(image_bytes, 0, 12), b"\0" * 12])
    found = [
        tf.reduce_all(
            [
                tf.equal(tf.strings.substr(head, at, len(magic)), magic)
                for at, magic in inputs.SIGNATURES[kind]
            ]
        )
        for kind in _KINDS
    ]
    return tf.argmax(tf.cast([*found, True], tf.int32), output_type=tf.int32)


def _jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    # The default DCT is the fast one, up to 7 grey levels away from what everybody else decodes.
    return tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE")


def _png(image_bytes: tf.Tensor) -> tf.Tensor:
    data = _padded(image_bytes)
    colour_type = _uint(data, 25, 1)
    transparent = _chunk(data, 8, b"tRNS", until=b"IDAT") >= 0
    # The op makes up a wrong alpha for greys of 1, 2 and 4 bits: ask for one only where the file has it.
    return tf.cond(
        tf.equal(colour_type, 4) | tf.equal(colour_type, 6) | transparent,
        lambda: _on_white(tf.io.decode_png(image_bytes, channels=4)),
        lambda: tf.io.decode_png(image_bytes, channels=3),
    )


def _webp(image_bytes: tf.Tensor) -> tf.Tensor:
    data = _padded(image_bytes)
    extended = tf.equal(_uint(data, 12, 4), int.from_bytes(b"VP8X", "big"))
    animated = extended & tf.not_equal(_uint(data, 20, 1) & 0x02, 0)
    # The op misreads animations: it returns their RGBA frames as RGB.
    with tf.control_dependencies([tf.debugging.Assert(~animated, ["image: animated WebP is not supported"])]):
        frame = tf.io.decode_webp(image_bytes, channels=0)[0]
    return tf.cond(tf.equal(tf.shape(frame)[-1], 4), lambda: _on_white(frame), lambda: frame[..., :3])


def _bmp(image_bytes: tf.Tensor) -> tf.Tensor:
    data = _padded(image_bytes)
    depth, compression = _uint(data, 28, 2, big=False), _uint(data, 30, 4, big=False)
    modern = _uint(data, 14, 4, big=False) >= 40
    # The op returns palette indices as grey levels and takes compressed rows for plain ones.
    plain = modern & ((depth == 24) | (depth == 32)) & ((compression == 0) | (compression == 3))
    with tf.control_dependencies(
        [tf.debugging.Assert(plain, ["image: BMP must be 24 or 32 bit, uncompressed"])]
    ):
        return tf.io.decode_bmp(image_bytes, channels=0)[..., :3]


def _gif(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(image_bytes, channels=3, expand_animations=False)


def _unknown(image_bytes: tf.Tensor) -> tf.Tensor:
    words = "image: not a JPEG, PNG, GIF, BMP or WebP file"
    with tf.control_dependencies([tf.debugging.Assert(_kind(image_bytes) < len(_KINDS), [words])]):
        return tf.zeros((1, 1, 3), tf.uint8)


def _on_white(rgba: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 4] composited on white: uint8 [H, W, 3]."""

    def composite() -> tf.Tensor:
        pixels = tf.cast(rgba, tf.int32)
        colour, alpha = pixels[..., :3], pixels[..., 3:4]
        return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)

    return tf.cond(tf.reduce_all(tf.equal(rgba[..., 3], 255)), lambda: rgba[..., :3], composite)


# Reading headers. `data` is the file with one zero byte after it, to which every read outside the file goes,
# so that a damaged length can lead nowhere worse than to zeros.


def _padded(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.concat([tf.io.decode_raw(image_bytes, tf.uint8), tf.zeros((1,), tf.uint8)], 0)


def _uint(data: tf.Tensor, at: tf.Tensor | int, count: int, big: tf.Tensor | bool = True) -> tf.Tensor:
    """int64: the unsigned number in `count` bytes at every offset of `at`."""
    end = tf.size(data, out_type=tf.int64) - 1
    places = tf.expand_dims(tf.cast(at, tf.int64), -1) + tf.range(count, dtype=tf.int64)
    places = tf.where((places < 0) | (places > end), end, places)
    powers = tf.constant([256**i for i in range(count)], tf.int64)
    values = tf.cast(tf.gather(data, places), tf.int64)
    return tf.reduce_sum(values * tf.where(big, powers[::-1], powers), -1)


def _walk(condition: Callable, body: Callable, at: tf.Tensor | int) -> tf.Tensor:
    """Walks segments from offset `at`; returns where `body` found what it wanted, or -1."""
    start = (tf.cast(at, tf.int64), tf.constant(-1, tf.int64))
    loop = tf.while_loop(
        lambda at, found: (found < 0) & condition(at),
        lambda at, found: body(at),
        start,
        maximum_iterations=_MAX_SEGMENTS,
        parallel_iterations=1,
    )
    return loop[1]


def _chunk(data: tf.Tensor, at: int, name: bytes, until: bytes = b"", riff: bool = False) -> tf.Tensor:
    """int64: where the content of the first PNG (or RIFF) chunk `name` before `until` starts, or -1."""
    wanted, stop = int.from_bytes(name, "big"), int.from_bytes(until, "big")

    def going(at: tf.Tensor) -> tf.Tensor:
        inside = at + 8 < tf.size(data, out_type=tf.int64)
        return inside & tf.not_equal(_uint(data, at + (0 if riff else 4), 4), stop)

    def read(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = _uint(data, at + (4 if riff else 0), 4, big=not riff)
        kind = _uint(data, at + (0 if riff else 4), 4)
        # PNG chunks end in a checksum of 4 bytes; RIFF chunks are padded to an even length.
        following = at + 8 + length + (length % 2 if riff else 4)
        return following, tf.where(tf.equal(kind, wanted), at + 8, tf.constant(-1, tf.int64))

    return _walk(going, read, at)


def _jpeg_exif(data: tf.Tensor) -> tf.Tensor:
    """int64: where the EXIF block of a JPEG starts (its "Exif" word), or -1."""

    def going(at: tf.Tensor) -> tf.Tensor:
        marker = _uint(data, at + 1, 1)
        # After SOS come the pixels; a segment elsewhere that starts with no FF is damage.
        return tf.equal(_uint(data, at, 1), 0xFF) & tf.not_equal(marker, 0xDA) & tf.not_equal(marker, 0xD9)

    def read(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker = _uint(data, at + 1, 1)
        bare = (marker >= 0xD0) & (marker <= 0xD8) | tf.equal(marker, 0x01)
        length = tf.where(bare, tf.constant(0, tf.int64), _uint(data, at + 2, 2))
        is_exif = tf.equal(marker, 0xE1) & tf.equal(
            _uint(data, at + 4, 6), int.from_bytes(b"Exif\0\0", "big")
        )
        # FF FF is a fill byte: the marker starts one further.
        following = tf.where(tf.equal(marker, 0xFF), at + 1, at + 2 + length)
        return following, tf.where(is_exif, at + 4, tf.constant(-1, tf.int64))

    return _walk(going, read, 2)


def _tiff_orientation(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """int32 scalar: the orientation in the EXIF block at `at` (TIFF 6.0, section 2), or 1."""
    prefixed = tf.equal(_uint(data, at, 6), int.from_bytes(b"Exif\0\0", "big"))
    at = tf.where(prefixed, at + 6, at)
    order = _uint(data, at, 2)
    big = tf.equal(order, int.from_bytes(b"MM", "big"))
    valid = big | tf.equal(order, int.from_bytes(b"II", "big"))
    directory = at + _uint(data, at + 4, 4, big)
    count = tf.where(valid, tf.minimum(_uint(data, directory, 2, big), _MAX_SEGMENTS), 0)
    entries = directory + 2 + 12 * tf.range(count)
    tags, types = _uint(data, entries, 2, big), _uint(data, entries + 2, 2, big)
    short, long = _uint(data, entries + 8, 2, big), _uint(data, entries + 8, 4, big)
    values = tf.where(tf.equal(types, 4), long, short)
    values = tf.boolean_mask(values, tf.equal(tags, _ORIENTATION_TAG) & (values >= 1) & (values <= 8))
    return tf.cast(tf.concat([values, tf.ones((1,), tf.int64)], 0)[0], tf.int32)
