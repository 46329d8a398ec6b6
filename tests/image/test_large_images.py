"""JPEGs beyond the limit are decoded at a half or a quarter of their sides, alike in both decoders."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from captioner.errors import ImageError
from captioner.image import file_headers, loading, pillow_preprocess, tf_decode, tf_headers
from tests.support.images import image_files

HEIGHT, WIDTH = 811, 1237


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_both_decoders_take_the_same_ratio(mode, progressive, ratio):
    data = image_files.encoded(
        image_files.drawn(WIDTH, HEIGHT).convert(mode), "JPEG", quality=85, progressive=progressive
    )
    most = max(-(-HEIGHT // ratio) * -(-WIDTH // ratio), -(-HEIGHT * WIDTH // 8))
    pixels = np.asarray(pillow_preprocess.upright_rgb(data, most))
    assert pixels.shape == (-(-HEIGHT // ratio), -(-WIDTH // ratio), 3)
    np.testing.assert_array_equal(tf_decode.decode(tf.constant(data), most).numpy(), pixels)
    full_size = PIL.Image.open(io.BytesIO(data)).convert("RGB")
    small = np.asarray(full_size.resize((48, 32), PIL.Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(pillow_preprocess.read(data, (32, 48), most) - small).max() <= 12
    assert np.abs(pillow_preprocess.read(data, (32, 48), most) - small).mean() < 1


@pytest.mark.parametrize(
    ("height", "width", "ratio"),
    [
        (7071, 7071, 1),
        (9000, 12000, 2),  # a phone of 108 megapixels
        (12288, 16384, 4),  # ... and of 200
        (12240, 16320, 2),
        (20000, 20000, 4),
        (20000, 20001, None),
        (65535, 65535, None),
        (1, 65535, 1),
    ],
)
def test_jpeg_ratio(height, width, ratio):
    assert file_headers.jpeg_ratio(height, width, 50_000_000) == ratio
    index = tf_headers.jpeg_ratio(tf.constant(height, tf.int64), tf.constant(width, tf.int64), 50_000_000)
    assert [*file_headers.JPEG_RATIOS, None][int(index)] == ratio


def test_large_jpegs_are_turned():
    data = image_files.encoded(image_files.drawn(400, 300), "JPEG", exif=b"Exif\0\0" + image_files.exif(6))
    pixels = np.asarray(pillow_preprocess.upright_rgb(data, 30_000))
    assert pixels.shape == (200, 150, 3)
    np.testing.assert_array_equal(tf_decode.decode(tf.constant(data), 30_000).numpy(), pixels)


def test_108_megapixel_photo_is_read():
    image = PIL.Image.new("RGB", (12000, 9000), (90, 160, 30))
    data = image_files.encoded(image, "JPEG", quality=50)
    assert loading.to_bytes(data) == data
    rows = tf.function(
        functools.partial(tf_decode.load_rows, size=(8, 8)),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    pixels, errors = rows(tf.constant([data]))
    assert errors.numpy().tolist() == [b""]
    assert np.abs(pixels[0].numpy() - pillow_preprocess.read(data, (8, 8))).max() <= 1


def test_too_large_messages():
    png = image_files.encoded(image_files.drawn(40, 30), "PNG")
    words = "^40 x 30 pixels are more than 0.001 megapixels: make it smaller or save it as JPEG$"
    with pytest.raises(ImageError, match=words):
        pillow_preprocess.read(png, (8, 8), 1000)
    assert tf_headers.refusal(tf.constant(png), 1000).numpy().decode() == words.strip("^$")
    jpeg = image_files.encoded(image_files.drawn(400, 300), "JPEG")
    words = "^400 x 300 pixels are more than 0.008 megapixels: make it smaller$"
    with pytest.raises(ImageError, match=words):
        pillow_preprocess.read(jpeg, (8, 8), 1000)
    assert tf_headers.refusal(tf.constant(jpeg), 1000).numpy().decode() == words.strip("^$")
    tiff = io.BytesIO()
    PIL.Image.new("1", (9000, 8000)).save(tiff, "TIFF")
    with pytest.raises(
        ImageError, match="9000 x 8000 pixels are more than 50 megapixels: make it smaller or"
    ):
        loading.to_bytes(tiff.getvalue())
