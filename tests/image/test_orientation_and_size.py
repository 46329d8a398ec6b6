"""EXIF orientation and resizing in the graph, against Pillow."""

import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from captioner.image import tf_decode
from tests.support.images.image_files import decoded, drawn, encoded, exif, loaded, photo


def exif_block(*args, **options):
    return b"Exif\0\0" + exif(*args, **options)


def upright(image, orientation):
    """Pixels as Pillow turns them."""
    image.getexif()[0x0112] = orientation
    return np.asarray(PIL.ImageOps.exif_transpose(image)).astype(int)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_jpeg_orientation(value, order):
    data = encoded(drawn(), "JPEG", quality=95, exif=exif_block(value, order))
    stored = PIL.Image.open(io.BytesIO(data))
    assert stored.getexif()[0x0112] == value  # Pillow reads what we wrote by hand
    np.testing.assert_array_equal(decoded(data), upright(stored, value))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("value", [3, 6])
def test_orientation_in_other_kinds(kind, value):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(drawn(), kind, exif=exif_block(value, ">"), **options)
    np.testing.assert_array_equal(decoded(data), upright(drawn(), value))


@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_load_turns_as_decode_does(value):
    data = encoded(drawn(), "PNG", exif=exif_block(value))
    by_hand = tf_decode.resize(tf_decode.orient(tf.constant(np.asarray(drawn())), value), (96, 64))
    assert np.abs(loaded(data) - by_hand).max() <= 1


def test_orientation_is_found_behind_other_segments():
    data = encoded(drawn(), "JPEG", exif=exif_block(6))
    at = data.index(b"\xff\xe1")
    decoys = b"\xff\xe1\x00\x1fhttp://ns.adobe.com/xap/1.0/\0" + b"\xff\xff" + b"\xff\xe2\x00\x04ab"
    np.testing.assert_array_equal(decoded(data[:at] + decoys + data[at:]), decoded(data))


def test_orientation_stored_as_long():
    data = encoded(drawn(), "PNG", exif=exif_block(6, ">", kind=4))
    assert decoded(data).shape == (61, 40, 3)


@pytest.mark.parametrize(
    "block",
    [
        exif_block(0),
        exif_block(9),
        b"Exif\0\0",
        b"Exif\0\0XX*\0" + exif_block(6)[10:],  # no byte order
        b"Exif\0\0II*\0\xff\xff\xff\x7f" + exif_block(6)[14:],  # directory far outside
        exif_block(6)[:20],  # cut within the entries
        exif_block(6)[:14] + b"\xff\xff",  # 65535 entries
    ],
    ids=["0", "9", "empty", "no order", "far", "cut", "many"],
)
def test_invalid_orientation_is_ignored(block):
    plain = encoded(drawn(), "JPEG")
    at = plain.index(b"\xff\xdb")
    data = plain[:at] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[at:]
    np.testing.assert_array_equal(decoded(data), decoded(plain))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "camera"])
def test_load_agrees_with_pillow_on_photos(name):
    data = encoded(photo(name), "JPEG", quality=90)
    ours = loaded(data)
    theirs = np.asarray(
        PIL.Image.open(io.BytesIO(data)).convert("RGB").resize((64, 96), PIL.Image.Resampling.BILINEAR)
    )
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - theirs).mean() < 0.2  # Pillow also rounds between its two passes


@pytest.mark.parametrize("size", [(7, 5), (64, 96), (64, 200), (640, 30), (1, 1), (1000, 2)])
def test_load_agrees_with_pillow_at_any_size(size):
    data = encoded(drawn(*size) if min(size) > 1 else drawn().resize(size), "PNG")
    ours = loaded(data)
    theirs = np.asarray(PIL.Image.open(io.BytesIO(data)).resize((64, 96), PIL.Image.Resampling.BILINEAR))
    assert ours.shape == (96, 64, 3) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() <= 1


def test_load_gives_whole_grey_levels():
    ours = loaded(encoded(photo("coffee"), "JPEG"))
    np.testing.assert_array_equal(ours, np.round(ours))
    assert ours.min() >= 0 and ours.max() <= 255
