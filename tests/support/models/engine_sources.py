"""Something to open for every row of `ENGINES`, and for the fake: a row without one turns the contract's tests red."""

import contextlib

from captioner.engines import ENGINES
from captioner.engines.fake import FakeEngine
from tests.support.fake_tf_serving import SERVERS, World
from tests.support.models.shared_exports import exported_once

ROWS = [*ENGINES, "fake"]


def row_of(name):
    """The class of an engine."""
    return FakeEngine if name == "fake" else ENGINES[name]


@contextlib.contextmanager
def source_of(name, bundle, tmp_path_factory):
    """What the engine opens, made from a bundle where that is possible, or a server while the block lasts."""
    if name in SERVERS:
        with contextlib.closing(SERVERS[name](World())) as server:
            yield f"{server.scheme}://127.0.0.1:{server.port}/dogs"
        return
    # Random weights may have nothing to say unless they must.
    targets = {
        "saved_model": ("saved_model(batch_sizes=(1,))", "beam(width=3, min_length=3)"),
        "tflite": ("tflite", None),
    }
    if name in targets:
        target, strategy = targets[name]
        yield str(exported_once(bundle, target, strategy, tmp_path_factory))
        return
    yield str({"keras": bundle, "fake": ""}[name])
