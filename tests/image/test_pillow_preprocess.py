"""Preprocessing with Pillow agrees with the graph's, for every kind of file."""

import numpy as np
import PIL.Image
import pytest
import skimage.data

from captioner.errors import ImageError
from captioner.image import loading, pillow_preprocess, tf_decode
from tests.support.images import image_files, odd_images

SIZE = (32, 48)


@pytest.fixture(scope="module")
def graph():
    return tf_decode.reader(SIZE)


def pillow_pixels(data):
    """Pixels by Pillow of the bytes that an engine gets of a file."""
    return pillow_preprocess.read(loading.to_bytes(data), SIZE)


@pytest.mark.parametrize("name", odd_images.good())
def test_pillow_and_graph_agree(graph, name):
    data = odd_images.good()[name]
    pixels, expected = pillow_pixels(data), graph(loading.to_bytes(data)).numpy()
    assert pixels.shape == (*SIZE, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(float) - expected).max() <= 1


# Kinds that only Pillow reads: `loading.to_bytes` makes PNGs of them for the engines.
ONLY_PILLOW = {"webp-animated", "bmp-palette", "tiff"}


@pytest.mark.parametrize("name", sorted(set(odd_images.bad()) - ONLY_PILLOW))
def test_pillow_refuses_what_the_graph_refuses(graph, name):
    data = odd_images.bad()[name]
    with pytest.raises(ImageError) as caught:
        pillow_preprocess.read(data, SIZE)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 10
    with pytest.raises(ImageError):
        graph(data)


@pytest.mark.parametrize("photo", ["astronaut", "coffee", "chelsea"])
def test_pillow_and_graph_agree_on_photos(graph, photo):
    data = image_files.encoded(PIL.Image.fromarray(getattr(skimage.data, photo)()), "JPEG", quality=90)
    apart = np.abs(pillow_pixels(data).astype(float) - graph(data).numpy())
    assert apart.max() <= 1 and apart.mean() < 0.3


def test_too_many_pixels_message():
    with pytest.raises(
        ImageError,
        match="^40 x 30 pixels are more than 0.001 megapixels: make it smaller or save it as JPEG$",
    ):
        pillow_preprocess.read(image_files.encoded(image_files.drawn(40, 30), "PNG"), SIZE, max_pixels=1000)
    with pytest.raises(ImageError, match="^20000 x 20000 pixels are more than 50 megapixels"):
        pillow_preprocess.read(odd_images.bomb(), SIZE)
