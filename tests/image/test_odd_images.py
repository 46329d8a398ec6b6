"""Every decoder makes of an odd file what it shows: the graph, Pillow beside it, and the front door of both."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from captioner.image import loading, pillow_preprocess, tf_decode
from tests.support import odd_images

SIZE = (12, 20)
# What Pillow alone reads otherwise, so that an image it has opened is another.
PILLOW_ALONE = {
    *("bmp-alpha-unset", "png-large-text", "png-exif-twice", "jpeg-exif-behind-5000-segments"),
}
ALL = {**odd_images.odd(), **odd_images.only_pillow()}


@pytest.fixture(scope="module")
def graph():
    decode = tf.function(tf_decode.decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    return lambda data: decode(tf.constant(data)).numpy()


@pytest.fixture(scope="module")
def rows():
    return tf.function(
        functools.partial(tf_decode.load_rows, size=SIZE),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )


@pytest.mark.parametrize("name", odd_images.odd())
def test_decoders_see_what_a_file_shows(graph, name):
    data, shown = odd_images.odd()[name]
    np.testing.assert_array_equal(graph(data), shown)
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(data)), shown)
    assert loading.to_bytes(data) == data


@pytest.mark.parametrize("name", odd_images.only_pillow())
def test_what_only_pillow_reads_is_handed_on_as_it_looks(graph, name):
    data, shown = odd_images.only_pillow()[name]
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(data)), shown)
    handed_on = loading.to_bytes(data)
    np.testing.assert_array_equal(graph(handed_on), shown)
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(handed_on)), shown)


@pytest.mark.parametrize("name", sorted(set(ALL) - PILLOW_ALONE))
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_pil_image_shows_what_its_file_shows(name):
    data, shown = ALL[name]
    image = PIL.Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(loading.to_bytes(image))), shown)


def test_models_see_them_alike(rows):
    files = [loading.to_bytes(data) for data, _ in ALL.values()]
    made, errors = rows(tf.constant(files))
    assert not any(errors.numpy())
    for name, data, seen in zip(ALL, files, made.numpy(), strict=True):
        assert np.abs(seen - pillow_preprocess.read(data, SIZE)).max() <= 1, name
        by_hand = PIL.Image.fromarray(ALL[name][1]).resize(SIZE[::-1], PIL.Image.Resampling.BILINEAR)
        assert np.abs(seen - np.asarray(by_hand)).max() <= 1, name
