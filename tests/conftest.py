"""Fixtures of several test files: small networks, their folders and exports, images, a browser."""

import gc
import os
import shutil
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest

from tests.support.hostile_files import CALIBRATION, MARKER
from tests.support.models.shared_exports import exported_once
from tests.support.models.tiny_model import build_tiny_model

# Shells start background jobs with SIGINT ignored; tests of Ctrl-C need the default handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files whose tests take longest. They are begun first, so that two processes end at about the same time.
LONGEST = [
    "models",
    "docs",
    "resume",
    "stopping",
    "self_critical",
    "tflite",
    "saved_model",
    "saved_model_decoders",
    "browser_single",
    "browser_batch",
]
LONGEST += ["browser_problems", "page", "publish", "training", "hostile_fields", "untrusted_code", "encoders"]
LONGEST += [
    "captioner",
    "engines",
    "engine_contract",
    "distillation",
    "default_model",
    "wheel",
    "jax",
    "server",
]
LONGEST += ["remote_engines", "cider_regression", "ensemble", "training_report", "official"]


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
    """Runs the tests of a module in a temporary folder, with one traced image reader for all of them."""
    from captioner.image import tf_decode

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        reader, traced = tf_decode.reader, {}
        patch.setattr(tf_decode, "reader", lambda size: traced.setdefault(tuple(size), reader(size)))
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
    """The folder of the saved `tiny_model`. Tests that change it copy it first."""
    import captioner

    folder = tmp_path_factory.mktemp("models") / "tiny"
    return captioner.save(tiny_model, folder, card="# Tiny\nRandom weights.", metrics={"CIDEr-D": 1.5})


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory):
    """The folder of a minimal model built from specs, with all optional files but those of rerankers."""
    import keras

    import captioner
    from captioner.models import CaptionModel
    from captioner.text import Tokenizer

    keras.utils.set_random_seed(1)
    model = CaptionModel(
        "small_cnn(width=2, stages=2)",
        "gru(units=4, embedding=4, value_dim=4, attention='additive(units=4)')",
        Tokenizer(["a", "dog"]),
        max_length=4,
        image_size=(8, 8),
    )
    model.calibration = CALIBRATION
    model.strategy = "beam(width=3)"
    folder = tmp_path_factory.mktemp("small") / "m"
    return captioner.save(model, folder, card="# Card", metrics={"CIDEr-D": 1.0})


@pytest.fixture(scope="session")
def small_exports(tiny_export):
    """Exports that hostile tests change copies of: a `.tflite` file and a SavedModel."""
    pytest.importorskip("ai_edge_litert")
    version = tiny_export("saved_model(batch_sizes=(1,))", "beam(width=3, min_length=3)")
    return {"tflite": tiny_export("tflite"), "saved_model": version}


@pytest.fixture
def no_commands(tmp_path, monkeypatch):
    """Fails a test in which a command of a model file ran, or its module `evil_parts` was imported."""
    write_marker = f"open({str(tmp_path / MARKER)!r}, 'w').close()\n"
    (tmp_path / "evil_parts.py").write_text(f"{write_marker}def run(*args, **options):\n    {write_marker}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("evil_parts", None)
    assert not list(tmp_path.rglob(MARKER)), "a command of a model file ran"


@pytest.fixture(scope="session")
def tiny_export(tiny_bundle, tmp_path_factory):
    """`tiny_export(target, strategy)`: the path of an export of `tiny_bundle`; it is only read."""
    return lambda target, strategy=None: exported_once(tiny_bundle, target, strategy, tmp_path_factory)


@pytest.fixture(scope="session")
def images():
    """Six different arrays [H, W, 3] of different sizes."""
    import skimage.data

    photos = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
    photos += [photos[0][::-1, ::2], 255 - photos[1][:, :200]]
    return [photo[::4, ::4].copy() for photo in photos]


@pytest.fixture(scope="module")
def chromium():
    """A headless browser with a fake camera, closed at the end of the module."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium here: expected chromium, chromium-browser or google-chrome on the PATH")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        yield browser
        browser.close()
