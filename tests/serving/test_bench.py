"""The benchmark, and our own clients against our own server: no TensorFlow, captions from a made-up model."""

import json
import math
import re
import threading
import time

import numpy as np
import pytest

from tests.support import fake_tf_serving
from tests.support.serving_models import Some

pytest.importorskip("starlette")
pytest.importorskip("grpc")

import captioner
from captioner.engines.fake import FakeEngine
from captioner.errors import EngineError
from serving import bench
from serving.http.app import HttpServer, Limits, RestApp
from serving.http.grpc_services import GrpcServer
from serving.protocol.json_tensors import Spec
from serving.protocol.predict import Signature, Version
from serving.runtime.batching import Gate, Queued
from serving.runtime.metrics import Metrics

IMAGES = [b"one", b"two", b"three"]
KINDS = {"f": "float", "i": "int32", "O": "string", "b": "bool"}


class Captions(Version):
    """Answers the signature `explain` as an exported captioner would."""

    number = 1

    def __init__(self):
        self.rows = []
        found = {name: np.asarray(array) for name, array in fake_tf_serving.outputs([b"x"]).items()}
        specs = {name: Spec(kind(array), (-1, *array.shape[1:])) for name, array in found.items()}
        self.signatures = {
            "explain": Signature({"image_bytes": Spec("string", (-1,))}, specs),
            "serving_default": Signature({"image_bytes": Spec("string", (-1,))}, {"ok": specs["ok"]}),
        }
        self.metadata = definitions(self.signatures)

    def run(self, signature, inputs, outputs, timeout):
        self.rows.append(len(inputs["image_bytes"]))
        found = fake_tf_serving.outputs(inputs["image_bytes"].tolist())
        arrays = {name: np.asarray(array) for name, array in found.items() if name in outputs}
        return {name: a.astype(self.signatures[signature].outputs[name].numpy) for name, a in arrays.items()}


def kind(array):
    return KINDS[{"S": "O", "U": "O"}.get(array.dtype.kind, array.dtype.kind)]


def definitions(signatures):
    """What a SavedModel would say of them, in TensorFlow's own messages if they are there."""
    meta = pytest.importorskip("tensorflow.core.protobuf.meta_graph_pb2")
    from tensorflow.core.framework import types_pb2

    found = {}
    for key, signature in signatures.items():
        found[key] = meta.SignatureDef(method_name="tensorflow/serving/predict")
        for side, specs in ((found[key].inputs, signature.inputs), (found[key].outputs, signature.outputs)):
            for name, spec in specs.items():
                side[name].name, side[name].dtype = (
                    f"{name}:0",
                    types_pb2.DataType.Value(f"DT_{spec.dtype.upper()}"),
                )
                for size in spec.shape:
                    side[name].tensor_shape.dim.add(size=size)
    return found


@pytest.fixture(scope="module")
def served():
    """(addresses over gRPC and REST, the version)."""
    gate, limits, version = Gate(32, 4), Limits(), Captions()
    metrics, models = Metrics(gate), Some("dogs", [Queued(version, gate, batch=8, wait=0.01)])
    app = RestApp(lambda: models, gate, metrics, limits)
    http = HttpServer(app, metrics, limits, "127.0.0.1", 0)
    rpc = GrpcServer(lambda: models, "127.0.0.1:0", gate, metrics, 32 << 20)
    http.start()
    rpc.start()
    yield [f"grpc://127.0.0.1:{rpc.port}/dogs", f"http://127.0.0.1:{http.port}/dogs"], version
    http.stop(5)
    rpc.stop(5)


def test_our_clients_and_our_server_understand_each_other(served):
    images = [b"an image", b"another", b"a third"] * 5
    for address in served[0]:
        with captioner.load(address) as model:
            found = model.engine.predict(images)
        for caption, image in zip(found, images, strict=True):
            best = fake_tf_serving.expected(image)
            assert (caption.text, caption.words) == (best.text, best.words)
            assert caption.score == pytest.approx(best.score, abs=1e-4)
            assert (caption.attention is None) == (best.attention is None)
            if best.attention is not None:
                np.testing.assert_allclose(caption.attention, best.attention, atol=1e-6)


def test_a_served_model_is_measured(served, tmp_path, capsys):
    import PIL.Image

    for number in range(3):
        PIL.Image.new("RGB", (20, 20), (number * 80, 0, 0)).save(tmp_path / f"{number}.jpg")
    for address in served[0]:
        options = [address, "--images", str(tmp_path), "--clients", "1", "4", "--seconds", "0.3", "--json"]
        assert bench.main(options) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(row["what"], row["clients"]) for row in rows] == [(address[:4], 1), (address[:4], 4)]
        for row in rows:
            assert row["failed"] == 0 < row["requests"] == pytest.approx(row["rate"] * row["seconds"])
            assert 0 < row["p50"] <= row["p95"] <= row["p99"] <= 1000 * row["seconds"]


def test_a_loop_is_closed_and_its_times_are_right():
    lock, busy, most = threading.Lock(), [0], [0]

    def ask(image):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.05)
        with lock:
            busy[0] -= 1

    found = bench.measure("x", ask, IMAGES, clients=3, seconds=0.5)
    assert most[0] == 3 and found.failed == 0
    assert 50 <= found.p50 <= found.p99 and 3 <= found.requests <= 3 * 11
    assert found.rate <= 3 / 0.05


def test_failures_are_counted_apart_and_the_first_is_told():
    calls = iter(range(10**6))

    def ask(image):
        time.sleep(0.001)
        if next(calls) % 2:
            raise EngineError("the server is full")

    found = bench.measure("x", ask, IMAGES, clients=1, seconds=0.2)
    assert found.failed > 0 < found.requests and abs(found.failed - found.requests) <= 1
    assert found.reason == "the server is full"
    never = bench.measure("x", lambda image: ask_nothing(), IMAGES, clients=2, seconds=0.05)
    assert never.requests == 0 < never.failed and math.isnan(never.p50) and never.rate == 0


def test_a_client_that_dies_hangs_nobody():
    found = bench.measure("x", lambda image: 1 / 0, IMAGES, clients=2, seconds=0.05)
    assert found.failed > 0 and found.reason.startswith("ZeroDivisionError")


def test_clients_do_not_share_an_engine_that_threads_may_not():
    engine = FakeEngine()
    engine.thread_safe = False
    with pytest.raises(
        EngineError, match="threads may not share an engine 'fake': measure it with --clients 1"
    ):
        bench.asker(captioner.Captioner(engine), 4)
    bench.asker(captioner.Captioner(engine), 1)(np.zeros((8, 8, 3), np.uint8))
    assert engine.calls == [1]


def test_json_has_no_nan(capsys):
    row = bench.measure("x", lambda image: ask_nothing(), IMAGES, clients=1, seconds=0.02)
    assert bench.show([row], as_json=True) == 1
    said = capsys.readouterr()
    assert json.loads(said.out, parse_constant=pytest.fail)["p50"] is None
    assert re.fullmatch(r"bench.py: \d+ failed \(x, 1\): away\n", said.err)


def ask_nothing():
    time.sleep(0.001)
    raise EngineError("away")


def test_the_table_shows_ratios():
    rows = [
        bench.Figures("grpc", 8, 80, 0, 10.0, 1, 2, 3),
        bench.Figures("saved_model", 8, 100, 0, 10.0, 1, 2, 3),
        bench.Figures("grpc", 1, 10, 0, 10.0, 1, 2, 3),
    ]
    shares = [re.split(r" *\| *", line)[-2] for line in bench.table(rows).splitlines()[2:]]
    assert shares == ["80 %", "100 %", "-"]


def test_photos_are_real_ones():
    pytest.importorskip("skimage")
    found = bench.photos(None)
    assert len(found) == len(bench.PHOTOS) and all(data[:3] == b"\xff\xd8\xff" for data in found)


def test_wrong_use_is_one_line(tmp_path, capsys):
    for options, message in (
        (["grpc://127.0.0.1:1/dogs", "--images", str(tmp_path)], "expected a folder with .jpg images"),
        ([str(tmp_path)], "no exported model in"),
        (
            ["grpc://127.0.0.1:1/dogs", "--clients", "0"],
            "--clients expects a whole number from 1 to 1024, got 0",
        ),
    ):
        assert bench.main(options) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
