"""Odd files: the graph, Pillow and `loading.to_bytes` all give the pixels that a file shows."""

import functools
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from captioner.image import loading, pillow_preprocess, tf_decode
from tests.support.images import odd_images

SIZE = (12, 20)
# Files that Pillow itself reads differently, so that a PIL image of them differs.
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
def test_decoders_agree_on_odd_files(graph, name):
    data, shown = odd_images.odd()[name]
    np.testing.assert_array_equal(graph(data), shown)
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(data)), shown)
    assert loading.to_bytes(data) == data


@pytest.mark.parametrize("name", odd_images.only_pillow())
def test_pillow_only_files_are_converted(graph, name):
    data, shown = odd_images.only_pillow()[name]
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(data)), shown)
    converted = loading.to_bytes(data)
    np.testing.assert_array_equal(graph(converted), shown)
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(converted)), shown)


@pytest.mark.parametrize("name", sorted(set(ALL) - PILLOW_ALONE))
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_pil_images_match_their_files(name):
    data, shown = ALL[name]
    image = PIL.Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(np.asarray(pillow_preprocess.upright_rgb(loading.to_bytes(image))), shown)


def test_preprocessing_agrees_on_odd_files(rows):
    files = [loading.to_bytes(data) for data, _ in ALL.values()]
    pixels, errors = rows(tf.constant(files))
    assert not any(errors.numpy())
    for name, data, graph_pixels in zip(ALL, files, pixels.numpy(), strict=True):
        assert np.abs(graph_pixels - pillow_preprocess.read(data, SIZE)).max() <= 1, name
        expected = PIL.Image.fromarray(ALL[name][1]).resize(SIZE[::-1], PIL.Image.Resampling.BILINEAR)
        assert np.abs(graph_pixels - np.asarray(expected)).max() <= 1, name
