"""What several test files need: a tiny network, and the folder it is saved in."""

import gc
import os
import shutil
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest

from tests.support.shared_exports import exported_once
from tests.support.tiny_model import build_tiny_model

# Shells start background jobs with Ctrl-C ignored; tests of Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files whose tests take longest. They are begun first, so that two processes end at about the same time.
LONGEST = ["models", "docs", "resume", "self_critical", "tflite", "saved_model"]
LONGEST += ["browser_single", "browser_batch", "browser_problems", "page"]
LONGEST += ["publish", "training", "hostile_files", "encoders", "api", "engine_contract", "distillation"]
LONGEST += ["default_model", "wheel", "jax", "devserver", "remote_engines", "cider_regression", "ensemble"]
LONGEST += ["training_report", "metrics"]


def pytest_collection_modifyitems(items):
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish():
    """What was imported stays to the end: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A folder of its own for a file of tests, and one reader of images traced for all of them."""
    from captioner.image import tf_decode

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        reader, known = tf_decode.reader, {}
        patch.setattr(tf_decode, "reader", lambda size: known.setdefault(tuple(size), reader(size)))
        yield


@pytest.fixture(scope="module")
def no_reports():
    """Runs write no `report.html`: its charts take longer than the training, and have tests of their own."""
    from training.loop.run_logger import RunLogger

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLogger, "report", lambda self: None)
        yield


@pytest.fixture(scope="module")
def unoptimised():
    """Graphs run as they were traced: to optimise one takes longer than the few steps that a test runs it for."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


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
def tiny_export(tiny_bundle, tmp_path_factory):
    """`tiny_export(target, strategy)`: the path of an export of `tiny_bundle`; it is only read."""
    return lambda target, strategy=None: exported_once(tiny_bundle, target, strategy, tmp_path_factory)


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
