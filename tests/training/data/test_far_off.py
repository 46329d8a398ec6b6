"""Drawn images that a captioner should decline: the same every time, different from each other, readable."""

import io

import numpy as np
import PIL.Image
import pytest

from captioner.errors import DataError
from training.data.far_off import KINDS, FarOffImages, draw


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_kind(kind):
    drawn = [draw(kind, 0, index) for index in range(12)]
    for image in drawn:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert 200 <= min(image.shape[:2]) <= max(image.shape[:2]) <= 520
    assert np.array_equal(draw(kind, 0, 3), drawn[3])
    assert len({image.tobytes() for image in [*drawn, draw(kind, 1, 3)]}) == 13
    # A gradient may be a single colour, all others show something.
    assert kind == "gradients" or all(image.std() > 1 for image in drawn)


def test_kinds_have_images_of_their_own():
    assert len({draw(kind, 0, 0).tobytes() for kind in KINDS}) == len(KINDS) == 8


def test_the_dataset():
    dataset = FarOffImages(count=3, seed=5)
    assert dataset.splits == tuple(KINDS)
    examples = [example for kind in dataset.splits for example in dataset.examples(kind)]
    assert len({example.id for example in examples}) == len(examples) == 24
    with PIL.Image.open(io.BytesIO(examples[4].read())) as image:
        assert np.array_equal(image, draw("textures", 5, 1))
    # A longer dataset begins with the shorter one.
    longer = FarOffImages(count=5, seed=5).examples("charts")
    assert [e.read() for e in longer[:3]] == [e.read() for e in dataset.examples("charts")]
    prints = {FarOffImages(*arguments).fingerprint for arguments in ((3, 5), (4, 5), (3, 6))}
    assert len(prints) == 3 and dataset.fingerprint in prints


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FarOffImages(0), "count of far-off images expects a whole number from 1"),
        (lambda: FarOffImages(1, -1), "seed of far-off images expects"),
        (lambda: FarOffImages().examples("cats"), "no image of far-off images is in the split 'cats'"),
    ],
)
def test_mistakes_are_one_line(make, message):
    with pytest.raises(DataError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
