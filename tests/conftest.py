"""What several test files need: a tiny network, and the folder it is saved in."""

import os
import shutil
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest

# Shells start background jobs with Ctrl-C ignored; tests of Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_WORDS = ["a", "red", "blue", "dog", "cat", "runs", "sits", "on", "the", "grass"]


def build_tiny_model(decoder="lstm(units=12, embedding=10, depth=8)", seed=3):
    """A real `CaptionModel` on 32x32 images, with random weights: two convolutions and a decoder."""
    import keras

    from captioner.models import CaptionModel
    from captioner.text import Tokenizer

    keras.utils.set_random_seed(seed)
    pixels = keras.Input((32, 32, 3))
    # Random weights say the same of every image unless the features differ a lot.
    x = keras.layers.Rescaling(1 / 64, offset=-2)(pixels)
    x = keras.layers.Conv2D(8, 4, strides=4, activation="relu", kernel_initializer="he_normal")(x)
    grid = keras.layers.Conv2D(12, 2, strides=2, kernel_initializer=keras.initializers.RandomNormal(0, 1))(x)
    model = CaptionModel(keras.Model(pixels, grid), decoder, Tokenizer(TINY_WORDS), max_length=7)
    # Nearly even logits would make the order of captions a matter of rounding.
    for variable in model.decoder.weights:
        variable.assign(variable * 2.0)
    return model


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A folder of its own for a file of tests, and one reader of images traced for all of them."""
    from captioner.image import tf_decode

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        reader, known = tf_decode.reader, {}
        patch.setattr(tf_decode, "reader", lambda size: known.setdefault(tuple(size), reader(size)))
        yield


@pytest.fixture(scope="session")
def tiny_model():
    return build_tiny_model()


@pytest.fixture(scope="session")
def tiny_bundle(tiny_model, tmp_path_factory):
    """The folder of `tiny_model`, saved. Tests that change it copy it first."""
    import captioner

    folder = tmp_path_factory.mktemp("models") / "tiny"
    return captioner.save(tiny_model, folder, card="# Tiny\nRandom weights.", metrics={"CIDEr-D": 1.5})


@pytest.fixture(scope="session")
def images():
    """Six arrays [H, W, 3] of different sizes that are not alike."""
    import skimage.data

    photos = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
    photos += [photos[0][::-1, ::2], 255 - photos[1][:, :200]]
    return [photo[::4, ::4].copy() for photo in photos]


@pytest.fixture(scope="module")
def chromium():
    """A real browser without a window, with a camera that shows a test image. Its loop ends with the module."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium here: expected chromium, chromium-browser or google-chrome on the PATH")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        yield browser
        browser.close()
