"""Pillow's road to pixels beside the graph's, over every odd kind of file."""

import numpy as np
import PIL.Image
import pytest
import skimage.data
import zoo

from captioner import images, inputs, pixels
from captioner.errors import ImageError

SIZE = (32, 48)


@pytest.fixture(scope="module")
def graph():
    return images.reader(SIZE)


def seen(data):
    """What an engine is given of a file, and what Pillow makes of that."""
    return pixels.read(inputs.to_bytes(data), SIZE)


@pytest.mark.parametrize("name", zoo.good())
def test_every_picture_is_the_same_within_a_grey_level(graph, name):
    data = zoo.good()[name]
    found, wanted = seen(data), graph(inputs.to_bytes(data)).numpy()
    assert found.shape == (*SIZE, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(float) - wanted).max() <= 1


# Kinds that only Pillow reads: `inputs.to_bytes` has made PNGs of them before an engine sees them.
ONLY_PILLOW = {"webp-animated", "bmp-palette", "tiff"}


@pytest.mark.parametrize("name", sorted(set(zoo.bad()) - ONLY_PILLOW))
def test_what_the_graph_refuses_is_refused_in_a_line(graph, name):
    data = zoo.bad()[name]
    with pytest.raises(ImageError) as caught:
        pixels.read(data, SIZE)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 10
    with pytest.raises(ImageError):
        graph(data)


@pytest.mark.parametrize("photo", ["astronaut", "coffee", "chelsea"])
def test_photos_are_the_same_within_a_grey_level(graph, photo):
    data = zoo.encoded(PIL.Image.fromarray(getattr(skimage.data, photo)()), "JPEG", quality=90)
    apart = np.abs(seen(data).astype(float) - graph(data).numpy())
    assert apart.max() <= 1 and apart.mean() < 0.3


def test_too_many_pixels_are_said_as_the_graph_says_it():
    with pytest.raises(
        ImageError,
        match="^40 x 30 pixels are more than 0.001 megapixels: make it smaller or save it as JPEG$",
    ):
        pixels.read(zoo.encoded(zoo.drawn(40, 30), "PNG"), SIZE, max_pixels=1000)
    with pytest.raises(ImageError, match="^20000 x 20000 pixels are more than 50 megapixels"):
        pixels.read(zoo.bomb(), SIZE)
