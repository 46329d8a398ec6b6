"""What several test files need: a tiny network, and the folder it is saved in."""

import os
import shutil
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest

from tests.support.tiny_model import build_tiny_model

# Shells start background jobs with Ctrl-C ignored; tests of Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
