"""The development server as users run it: a process, real SavedModels, official clients, recorded answers."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serving.test_devserver_main import run_main
from tests.support.serving_models import write_line

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "tfserving" / "recorded_rest.jsonl"
START = 300  # seconds that a process may take to load TensorFlow on a busy machine


class Process:
    """`python serving/devserver.py`, its log read line by line."""

    def __init__(self, *options):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
        command = [
            sys.executable,
            "serving/devserver.py",
            *map(str, options),
            "--port",
            "0",
            "--rest-port",
            "0",
        ]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()
        serving = self.wait("serving")
        self.rest, self.grpc = serving["rest"], serving["grpc"]
        self.url = self.rest[: self.rest.index("/v1/")]

    def events(self, name):
        return [line for line in map(json.loads, list(self.lines)) if line["event"] == name]

    def wait(self, name, count=1):
        end = time.monotonic() + START
        while len(self.events(name)) < count:
            assert time.monotonic() < end and self.process.poll() is None, "".join(self.lines)
            time.sleep(0.02)
        return self.events(name)[count - 1]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.reader.join(10)
        return code


@pytest.fixture(scope="module")
def hpt(tmp_path_factory):
    """The model of the recorded answers, and a server for it."""
    folder = tmp_path_factory.mktemp("models") / "hpt"
    write_line(folder / "1", 0.5)
    write_line(folder / "2", 0.25)
    server = Process(folder, "--versions", "all", "--label", "stable=1", "--poll", "0.05", "--max-body", "1")
    yield server, folder
    if server.process.poll() is None:
        assert server.stop() == 0


def send(url, recorded):
    """Sends a recorded request byte for byte; clients with more comfort would tidy the path."""
    body = recorded["body"]
    data = base64.b64decode(body["b64"]) if isinstance(body, dict) else (body or "").encode()
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        connection.request(recorded["method"], recorded["path"], data or None, recorded["headers"])
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def comparable(body):
    """The JSON value of an answer; an error's without white space, and of a syntax error only that it is one."""
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode() if isinstance(body, bytes) else body
    if isinstance(value, dict) and "error" in value:
        value["error"] = re.sub("JSONParseerror:.+", "JSONParseerror", "".join(value["error"].split()))
    return value


def test_every_recorded_answer_is_reproduced(hpt):
    if not SHARED.exists():
        pytest.skip(f"the recorded answers of TensorFlow Serving are not here: {SHARED.name}")
    server, _ = hpt
    lines = [json.loads(line) for line in SHARED.read_text().splitlines()]
    wrong = {}
    for each in lines:
        expected = each["response"]
        status, headers, body = send(server.url, each["request"])
        whole = expected["body_bytes"] == len(expected["body_start"].encode())
        assert whole, f"{each['name']}: the recording holds only a part of its body"
        same = comparable(body) == comparable(expected["body_start"])
        types = headers["Content-Type"], expected["headers"]["Content-Type"]
        if (status, same) != (expected["status"], True) or types[0].lower() != types[1].lower():
            wrong[each["name"]] = (status, types[0], body.decode())
    assert len(lines) >= 37 and wrong == {}


def test_metadata_is_that_of_the_saved_model(hpt):
    server, _ = hpt
    found = httpx.get(f"{server.rest}/versions/1/metadata", timeout=60).json()
    assert found["model_spec"] == {"name": "hpt", "version": "1", "signature_name": ""}
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"]["x"] == {
        "name": "serving_default_x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": shape,
    }


@pytest.fixture(scope="module")
def stubs(hpt):
    """The official client: (prediction stub, model stub, predict_pb2, get_model_metadata_pb2, get_model_status_pb2)."""
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    with grpc.insecure_channel(hpt[0].grpc) as channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            predict_pb2,
            get_model_metadata_pb2,
            get_model_status_pb2,
        )


def request_of(stubs, values=(4.0,), name="hpt", **inputs):
    import tensorflow as tf

    request = stubs[2].PredictRequest()
    request.model_spec.name = name
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(values, np.float32)))
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_official_clients_are_answered(stubs):
    import tensorflow as tf

    response = stubs[0].Predict(request_of(stubs, [4, 8]), timeout=60)
    assert list(response.outputs["y"].float_val) == [3.0, 4.0]
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.0, 4.0]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("hpt", 2, "serving_default")
    request = request_of(stubs)
    request.model_spec.version_label = "stable"
    assert list(stubs[0].Predict(request, timeout=60).outputs["y"].float_val) == [4.0]
    request.model_spec.version.value = 1
    request.output_filter.append("y")
    assert list(stubs[0].Predict(request, timeout=60).outputs) == ["y"]


def test_official_clients_see_states_and_signatures(stubs):
    status = stubs[4].GetModelStatusRequest()
    status.model_spec.name = "hpt"
    rows = stubs[1].GetModelStatus(status, timeout=60).model_version_status
    kind = stubs[4].ModelVersionStatus
    assert [(row.version, row.state) for row in rows][-2:] == [(2, kind.AVAILABLE), (1, kind.AVAILABLE)]
    asked = stubs[3].GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "hpt"
    found = stubs[0].GetModelMetadata(asked, timeout=60)
    packed = stubs[3].SignatureDefMap()
    assert found.model_spec.version.value == 2 and found.metadata["signature_def"].Unpack(packed)
    assert packed.signature_def["serving_default"].inputs["x"].name == "serving_default_x:0"


def wrong_calls(stubs):
    """(call, code, part of the message)."""
    predict = stubs[0].Predict
    yield predict, stubs[2].PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"
    yield predict, request_of(stubs, name="no"), "NOT_FOUND", "Servable not found for request: Latest(no)"
    for request in (stubs[2].PredictRequest(), request_of(stubs, name="")):
        request.model_spec.signature_name = "serving_default"
        yield predict, request, "INVALID_ARGUMENT", "ModelSpec has no name specified."
    asked = stubs[3].GetModelMetadataRequest(metadata_field=["signature_def"])
    yield stubs[0].GetModelMetadata, asked, "INVALID_ARGUMENT", "Missing ModelSpec"
    asked = stubs[3].GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.version_label = "stable"
    yield stubs[0].GetModelMetadata, asked, "INVALID_ARGUMENT", "ModelSpec has no name specified."
    status = stubs[4].GetModelStatusRequest()
    yield stubs[1].GetModelStatus, status, "INVALID_ARGUMENT", "Missing ModelSpec"
    status = stubs[4].GetModelStatusRequest()
    status.model_spec.version.value = 1
    yield stubs[1].GetModelStatus, status, "NOT_FOUND", "Could not find version 1 of model "
    request = request_of(stubs)
    request.model_spec.signature_name = "no"
    yield predict, request, "FAILED_PRECONDITION", 'Serving signature key "no" not found.'
    request = request_of(stubs)
    request.model_spec.version.value = 9
    yield predict, request, "NOT_FOUND", "Specific(hpt, 9)"
    request = request_of(stubs)
    request.model_spec.version_label = "no"
    yield predict, request, "INVALID_ARGUMENT", "Unrecognized servable version label: no (labels: stable)"
    yield predict, request_of(stubs, z=1.0), "INVALID_ARGUMENT", "input size does not match signature: 2!=1"
    yield predict, request_of(stubs, x=b"text"), "INVALID_ARGUMENT", "to be float but string is provided"
    yield predict, request_of(stubs, x=np.uint8([1])), "INVALID_ARGUMENT", "to be float but uint8 is provided"
    request = request_of(stubs)
    request.output_filter.append("z")
    yield predict, request, "INVALID_ARGUMENT", "output tensor alias not found in signature: z"
    request = request_of(stubs)
    del request.inputs["x"].tensor_shape.dim[:]
    request.inputs["x"].tensor_shape.dim.add(size=3)
    request.inputs["x"].tensor_content = b"12345"
    yield predict, request, "INVALID_ARGUMENT", "tensor parsing error: x"
    request = request_of(stubs)
    request.inputs["x"].tensor_shape.dim[0].size = 1 << 40  # a value that would fill a terabyte
    yield predict, request, "INVALID_ARGUMENT", "tensor parsing error: x"
    yield predict, request_of(stubs, [1.0] * 400_000), "RESOURCE_EXHAUSTED", "larger than max"
    asked = stubs[3].GetModelMetadataRequest(metadata_field=["Signature_Def"])
    asked.model_spec.name = "hpt"
    yield (
        stubs[0].GetModelMetadata,
        asked,
        "INVALID_ARGUMENT",
        "Metadata field Signature_Def is not supported",
    )
    status = stubs[4].GetModelStatusRequest()
    status.model_spec.name = "no"
    yield stubs[1].GetModelStatus, status, "NOT_FOUND", "Could not find any versions of model no"


def test_wrong_grpc_calls_get_the_servers_codes_and_words(stubs):
    import grpc

    for call, request, code, message in wrong_calls(stubs):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=60)
        assert (caught.value.code().name, message in caught.value.details()) == (code, True), caught.value


def test_errors_of_operations_keep_their_code_and_nothing_of_the_program(hpt):
    server, folder = hpt
    before = len(server.events("version_available"))
    write_check(folder.with_name("aside"))
    folder.with_name("aside").rename(folder / "3")
    server.wait("version_available", before + 1)
    reply = httpx.post(f"{server.rest}/versions/3:predict", json={"inputs": [-1.0]}, timeout=60)
    said = reply.json()["error"]
    assert reply.status_code == 400 and "must not be negative" in said and "File " not in said
    shutil.rmtree(folder / "3")
    server.wait("version_unloaded")


def write_check(folder):
    """A model with an operation that fails for some inputs."""
    import tensorflow as tf

    def run(x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x must not be negative")]):
            return {"y": tf.identity(x)}

    spec = tf.TensorSpec([None], tf.float32, name="x")
    tf.saved_model.save(
        tf.Module(), str(folder), signatures=tf.function(run, input_signature=[spec], autograph=False)
    )


def test_hot_swap_under_load_fails_no_request_and_a_corrupt_version_changes_nothing(hpt):
    server, folder = hpt
    over, failures, values = threading.Event(), [], set()

    def client():
        with httpx.Client(timeout=60) as session:
            while not over.is_set():
                reply = session.post(f"{server.rest}:predict", json={"instances": [4.0]})
                if reply.status_code != 200:
                    failures.append(reply.text)
                values.add(reply.json().get("predictions", [None])[0])

    clients = [threading.Thread(target=client) for _ in range(4)]
    for each in clients:
        each.start()
    wait_for(lambda: values)  # the swap comes under load, not before
    for number in (4, 5):
        shutil.copytree(folder / "1", folder / f"{number}.tmp")
        (folder / f"{number}.tmp").rename(folder / str(number))
        wait_for(lambda number=number: state(server, number) == "AVAILABLE")
    shutil.copytree(folder / "2", folder / "tmp")
    damaged = folder / "tmp" / "variables" / "variables.index"
    damaged.write_bytes(damaged.read_bytes()[:20])
    (folder / "tmp").rename(folder / "6")
    failed = server.wait("version_failed")
    assert failed["version"] == 6 and failed["serving"][0] == 5 and len(failed["reason"]) > 10
    (folder / "7.tmp").mkdir()
    (folder / "7.tmp" / "saved_model.pb").write_bytes(b"no graph at all")
    (folder / "7.tmp").rename(folder / "7")
    assert server.wait("version_failed", 2)["version"] == 7
    for number in (5, 6, 7, 4):
        (folder / str(number)).rename(folder / f"{number}.gone")
    wait_for(lambda: state(server, 4) == "END")
    over.set()
    for each in clients:
        each.join()
    assert failures == [] and values == {3.0, 4.0}
    assert len(server.events("version_failed")) == 2


def state(server, number):
    rows = httpx.get(server.rest, timeout=60).json()["model_version_status"]
    return next((row["state"] for row in rows if row["version"] == str(number)), None)


def wait_for(true):
    end = time.monotonic() + START
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_log_is_json_lines(hpt):
    server, _ = hpt
    httpx.get(server.rest, timeout=60)
    lines = [json.loads(line) for line in list(server.lines)]
    assert {"time", "level", "event"} <= set.intersection(*(set(line) for line in lines))
    assert (
        "captioner_run_rows_count"
        in httpx.get(f"{server.url}/monitoring/prometheus/metrics", timeout=60).text
    )


def test_sigterm_finishes_what_runs_and_exits_0(hpt):
    """The request's body is under way when the signal comes."""
    server, _ = hpt
    port = int(server.url.rsplit(":", 1)[1])
    body = b'{"instances": [4.0]}'
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(
            f"POST /v1/models/hpt:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        connection.sendall(body[:5])
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        server.wait("draining")
        time.sleep(0.5)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        connection.sendall(body[5:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200") and b'"predictions": [3.0]' in answer
    assert server.process.wait(60) == 0
    server.reader.join(10)
    assert server.events("stopped")


def test_a_folder_whose_only_version_is_damaged_is_one_line(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"no graph")
    code, said = run_main([tmp_path / "m", "--port", "0", "--rest-port", "0"])
    last = said.splitlines()[-1]
    assert code == 2 and last.startswith("devserver.py: no version of") and "version 1: " in last


def test_shapes_that_nobody_promised_cost_an_executor_once(tmp_path, monkeypatch):
    from serving.protocol.status import ServingError
    from serving.runtime.session import SessionVersion

    version = SessionVersion(write_line(tmp_path / "1", 0.5), 1)
    made, make = [], version._session._make_callable_from_options
    monkeypatch.setattr(
        version._session, "_make_callable_from_options", lambda options: made.append(options) or make(options)
    )
    for value in (4, 8):
        found = version.run("serving_default", {"x": np.full((1, 1), value, np.float32)}, ["y"], None)
        assert found["y"].tolist() == [[value / 2 + 2]]
    assert len(made) == 1
    # What initialises a model has an output that is no tensor; anybody may ask for it by name.
    (name,) = set(version.signatures) - {"serving_default"}
    with pytest.raises(ServingError, match="has no outputs that are tensors") as caught:
        version.run(name, {}, list(version.signatures[name].outputs), None)
    assert caught.value.code == "INVALID_ARGUMENT"
    version.close()
