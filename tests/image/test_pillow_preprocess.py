"""Pillow's road to pixels beside the graph's, over every odd kind of file."""

import numpy as np
import PIL.Image
import pytest
import skimage.data

from captioner.errors import ImageError
from captioner.image import loading, pillow_preprocess, tf_decode
from tests.support import odd_images

SIZE = (32, 48)


@pytest.fixture(scope="module")
def graph():
    return tf_decode.reader(SIZE)


def seen(data):
    """What an engine is given of a file, and what Pillow makes of that."""
    return pillow_preprocess.read(loading.to_bytes(data), SIZE)


@pytest.mark.parametrize("name", odd_images.good())
def test_every_image_is_the_same_within_a_grey_level(graph, name):
    data = odd_images.good()[name]
    found, wanted = seen(data), graph(loading.to_bytes(data)).numpy()
    assert found.shape == (*SIZE, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(float) - wanted).max() <= 1


# Kinds that only Pillow reads: `inputs.to_bytes` has made PNGs of them before an engine sees them.
ONLY_PILLOW = {"webp-animated", "bmp-palette", "tiff"}


@pytest.mark.parametrize("name", sorted(set(odd_images.bad()) - ONLY_PILLOW))
def test_what_the_graph_refuses_is_refused_in_a_line(graph, name):
    data = odd_images.bad()[name]
    with pytest.raises(ImageError) as caught:
        pillow_preprocess.read(data, SIZE)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 10
    with pytest.raises(ImageError):
        graph(data)


@pytest.mark.parametrize("photo", ["astronaut", "coffee", "chelsea"])
def test_photos_are_the_same_within_a_grey_level(graph, photo):
    data = odd_images.encoded(PIL.Image.fromarray(getattr(skimage.data, photo)()), "JPEG", quality=90)
    apart = np.abs(seen(data).astype(float) - graph(data).numpy())
    assert apart.max() <= 1 and apart.mean() < 0.3


def test_too_many_pixels_are_said_as_the_graph_says_it():
    with pytest.raises(
        ImageError,
        match="^40 x 30 pixels are more than 0.001 megapixels: make it smaller or save it as JPEG$",
    ):
        pillow_preprocess.read(odd_images.encoded(odd_images.drawn(40, 30), "PNG"), SIZE, max_pixels=1000)
    with pytest.raises(ImageError, match="^20000 x 20000 pixels are more than 50 megapixels"):
        pillow_preprocess.read(odd_images.bomb(), SIZE)
