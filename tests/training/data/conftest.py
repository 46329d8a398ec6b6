"""Fixtures of the tests of the feature cache."""

import functools

import keras
import pytest

from captioner.image import tf_decode
from captioner.models import ENCODERS
from tests.support.training.feature_datasets import SIZE, Images, draw_image


@pytest.fixture(scope="module")
def one_reader():
    """`images.reader` traced once for all, as that is most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf_decode, "reader", functools.cache(tf_decode.reader))
        yield


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(4)
    return ENCODERS.build("small_cnn(width=4)", image_size=SIZE)


@pytest.fixture
def dataset():
    return Images(draw_image(i) for i in range(7))
