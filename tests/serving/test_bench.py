"""The benchmark, and our clients against our server: no TensorFlow, captions from a fake model."""

import json
import math
import re

import numpy as np
import pytest

from tests.support import fake_tf_serving
from tests.support.serving_models import StaticModels

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
from serving.runtime.admission import AdmissionControl
from serving.runtime.batching import BatchingVersion
from serving.runtime.closed_loop import Measurement
from serving.runtime.metrics import Metrics

DTYPES = {"f": "float", "i": "int32", "O": "string", "b": "bool"}


class CaptionVersion(Version):
    """Answers the signature `explain` as an exported model would."""

    number = 1

    def __init__(self):
        self.rows = []
        arrays = {name: np.asarray(array) for name, array in fake_tf_serving.outputs([b"x"]).items()}
        specs = {name: Spec(dtype_of(array), (-1, *array.shape[1:])) for name, array in arrays.items()}
        self.signatures = {
            "explain": Signature({"image_bytes": Spec("string", (-1,))}, specs),
            "serving_default": Signature({"image_bytes": Spec("string", (-1,))}, {"ok": specs["ok"]}),
        }
        self.metadata = definitions(self.signatures)

    def run(self, signature, inputs, outputs, timeout):
        self.rows.append(len(inputs["image_bytes"]))
        computed = fake_tf_serving.outputs(inputs["image_bytes"].tolist())
        arrays = {name: np.asarray(array) for name, array in computed.items() if name in outputs}
        return {name: a.astype(self.signatures[signature].outputs[name].numpy) for name, a in arrays.items()}


def dtype_of(array):
    return DTYPES[{"S": "O", "U": "O"}.get(array.dtype.kind, array.dtype.kind)]


def definitions(signatures):
    """The SignatureDef messages of a SavedModel with these signatures."""
    meta = pytest.importorskip("tensorflow.core.protobuf.meta_graph_pb2")
    from tensorflow.core.framework import types_pb2

    messages = {}
    for key, signature in signatures.items():
        message = messages[key] = meta.SignatureDef(method_name="tensorflow/serving/predict")
        for side, specs in ((message.inputs, signature.inputs), (message.outputs, signature.outputs)):
            for name, spec in specs.items():
                side[name].name = f"{name}:0"
                side[name].dtype = types_pb2.DataType.Value(f"DT_{spec.dtype.upper()}")
                for size in spec.shape:
                    side[name].tensor_shape.dim.add(size=size)
    return messages


@pytest.fixture(scope="module")
def served():
    """(addresses over gRPC and REST, the version)."""
    admission, limits, version = AdmissionControl(32, 4), Limits(), CaptionVersion()
    batching = BatchingVersion(version, admission, max_batch_size=8, batching_window=0.01)
    metrics, models = Metrics(admission), StaticModels("dogs", [batching])
    app = RestApp(lambda: models, admission, metrics, limits)
    http = HttpServer(app, metrics, limits, "127.0.0.1", 0)
    rpc = GrpcServer(lambda: models, "127.0.0.1:0", admission, metrics, 32 << 20)
    http.start()
    rpc.start()
    yield [f"grpc://127.0.0.1:{rpc.port}/dogs", f"http://127.0.0.1:{http.port}/dogs"], version
    http.stop(5)
    rpc.stop(5)


def test_our_clients_agree_with_our_server(served):
    images = [b"an image", b"another", b"a third"] * 5
    for address in served[0]:
        with captioner.load(address) as model:
            captions = model.engine.predict(images)
        for caption, image in zip(captions, images, strict=True):
            best = fake_tf_serving.expected(image)
            assert (caption.text, caption.words) == (best.text, best.words)
            assert caption.score == pytest.approx(best.score, abs=1e-4)
            assert (caption.attention is None) == (best.attention is None)
            if best.attention is not None:
                np.testing.assert_allclose(caption.attention, best.attention, atol=1e-6)


def test_served_model_is_measured(served, tmp_path, capsys):
    import PIL.Image

    for number in range(3):
        PIL.Image.new("RGB", (20, 20), (number * 80, 0, 0)).save(tmp_path / f"{number}.jpg")
    for address in served[0]:
        options = [address, "--images", str(tmp_path), "--clients", "1", "4", "--seconds", "0.3", "--json"]
        assert bench.main(options) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(row["target"], row["clients"]) for row in rows] == [(address[:4], 1), (address[:4], 4)]
        for row in rows:
            assert row["failed"] == 0 < row["requests"] == pytest.approx(row["rate"] * row["seconds"])
            assert 0 < row["p50"] <= row["p95"] <= row["p99"] <= 1000 * row["seconds"]


def test_engine_that_is_not_thread_safe():
    engine = FakeEngine()
    engine.thread_safe = False
    with pytest.raises(EngineError, match="may not share an engine 'fake': measure it with --clients 1"):
        bench.asker(captioner.Captioner(engine), 4)
    bench.asker(captioner.Captioner(engine), 1)(np.zeros((8, 8, 3), np.uint8))
    assert engine.calls == [1]


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
    row = Measurement("x", 1, 0, 3, 0.5, math.nan, math.nan, math.nan, "away")
    assert bench.show([row], as_json=True) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out, parse_constant=pytest.fail)["p50"] is None
    assert printed.err == "bench.py: 3 failed (x, 1 clients): away\n"


def test_table_shows_ratios():
    rows = [
        Measurement("grpc", 8, 80, 0, 10.0, 1, 2, 3),
        Measurement("saved_model", 8, 100, 0, 10.0, 1, 2, 3),
        Measurement("grpc", 1, 10, 0, 10.0, 1, 2, 3),
    ]
    shares = [re.split(r" *\| *", line)[-2] for line in bench.table(rows).splitlines()[2:]]
    assert shares == ["80 %", "100 %", "-"]


def test_default_images_are_photographs():
    pytest.importorskip("skimage")
    images = bench.load_images(None)
    assert len(images) == len(bench.IMAGES) and all(data[:3] == b"\xff\xd8\xff" for data in images)


def test_invalid_use_is_one_line(tmp_path, capsys):
    for options, message in (
        (["grpc://127.0.0.1:1/dogs", "--images", str(tmp_path)], "expected a folder with .jpg images"),
        ([str(tmp_path)], "no exported model in"),
        (
            ["grpc://127.0.0.1:1/dogs", "--clients", "0"],
            "--clients expects a whole number from 1 to 1024, got 0",
        ),
    ):
        assert bench.main(options) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
