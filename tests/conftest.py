"""What several test files need: a tiny network, and the folder it is saved in."""

import fcntl
import gc
import hashlib
import os
import shutil
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest

# Shells start background jobs with Ctrl-C ignored; tests of Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files whose tests take longest. They are begun first, so that two processes end at about the same time.
LONGEST = ["models", "docs", "resume", "self_critical", "tflite", "saved_model", "page_browser", "page"]
LONGEST += ["publish", "training", "hostile_files", "encoders", "api", "engine_contract", "distillation"]
LONGEST += ["default_model", "wheel", "jax", "devserver", "remote_devserver", "cider_regression", "ensemble"]
LONGEST += ["training_report", "metrics"]


def pytest_collection_modifyitems(items):
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish():
    """What was imported stays to the end: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


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


@pytest.fixture(scope="module")
def no_reports():
    """Runs write no `report.html`: its charts take longer than the training, and have tests of their own."""
    from training.loop.run_logger import Journal

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "report", lambda self: None)
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


def made_once(tmp_path_factory, name, make):
    """The folder that `make(folder)` fills, once for all processes of a test run; it is only read."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    shared.mkdir(exist_ok=True)
    folder, aside = shared / name, shared / f"{name}.aside"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            make(aside)
            aside.rename(folder)
    return folder


def exported_once(bundle, target, strategy, tmp_path_factory):
    """The path of an export of a bundle, in a folder called "tiny"; see `made_once`."""
    import captioner

    key = hashlib.sha256(
        f"{(bundle / 'captioner.json').read_text()} {target} {strategy}".encode()
    ).hexdigest()

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:  # those who ask for it try it out
            patch.setattr("captioner.exporting.saved_model._try_out", lambda *_: None)
            captioner.export(bundle, [target], strategy=strategy, into=folder / "tiny")

    folder = made_once(tmp_path_factory, f"export-{key[:12]}", make) / "tiny"
    return next(folder.glob("*.tflite"), folder / "1")


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
