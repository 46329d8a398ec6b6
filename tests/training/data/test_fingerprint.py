"""The key of an encoder's weights depends on their values alone."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from captioner.models import ENCODERS
from captioner.models.encoders import Encoder
from training.data.fingerprint import weights_fingerprint


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(4)
    return ENCODERS.build("small_cnn(width=4)", image_size=(32, 32))


def test_key_ignores_names_and_trainable(encoder):
    expected = weights_fingerprint(encoder)
    keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()  # running names go on
    twin = ENCODERS.build("small_cnn(width=4)", image_size=(32, 32))
    twin.network.set_weights(encoder.network.get_weights())
    assert [layer.name for layer in twin.network.layers] != [layer.name for layer in encoder.network.layers]
    assert weights_fingerprint(twin) == expected
    twin.trainable = False
    assert weights_fingerprint(twin) == expected
    other = ENCODERS.build("small_cnn(width=4)", image_size=(32, 32))
    assert weights_fingerprint(other) != expected


def nested():
    pixels = keras.Input((32, 32, 3))
    inner = keras.Sequential([keras.layers.Conv2D(4, 8, strides=8), keras.layers.ReLU()])
    network = keras.Model(pixels, inner(keras.layers.Rescaling(1 / 255)(pixels)))
    for number, weight in enumerate(network.weights):
        weight.assign(np.full(weight.shape, 0.1 * number + 0.1, np.float32))
    return Encoder(network)


def test_key_ignores_names_of_inner_networks():
    assert weights_fingerprint(nested()) == weights_fingerprint(nested())


def test_the_key_is_the_same_in_another_process(encoder):
    code = (
        "import keras; keras.layers.Conv2D(1, 1)\n"
        "from tests.training.data.test_fingerprint import nested\n"
        "from training.data.fingerprint import weights_fingerprint\n"
        "print(weights_fingerprint(nested()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == weights_fingerprint(nested()), done.stderr[-500:]
