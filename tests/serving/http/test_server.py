"""The development server as a process: real SavedModels, recorded answers, hot swaps and signals."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import signal
import socket
import threading
import time

import httpx
import pytest

from tests.support.serving.devserver import ANY_PORTS, ROOT, STARTUP_SECONDS, DevserverProcess, run_main
from tests.support.serving.waiting import wait_until
from tests.support.serving_models import write_linear_model

RECORDED = ROOT.parent / "shared" / "tfserving" / "recorded_rest.jsonl"


@pytest.fixture(scope="module")
def hpt(tmp_path_factory):
    """The model of the recorded answers, and a server for it."""
    folder = tmp_path_factory.mktemp("models") / "hpt"
    write_linear_model(folder / "1", 0.5)
    write_linear_model(folder / "2", 0.25)
    server = DevserverProcess(
        folder, "--versions", "all", "--label", "stable=1", "--poll", "0.05", "--max-body", "1"
    )
    yield server, folder
    if server.process.poll() is None:
        assert server.stop() == 0


def send(url, recorded):
    """Sends a recorded request byte for byte; other clients would normalise the path."""
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
    """The JSON value of a response; errors without white space, syntax errors without their details."""
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode() if isinstance(body, bytes) else body
    if isinstance(value, dict) and "error" in value:
        value["error"] = re.sub("JSONParseerror:.+", "JSONParseerror", "".join(value["error"].split()))
    return value


def test_recorded_answers_are_reproduced(hpt):
    if not RECORDED.exists():
        pytest.skip(f"there are no recorded answers of TensorFlow Serving: {RECORDED.name}")
    server, _ = hpt
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    different = {}
    for recording in lines:
        expected = recording["response"]
        status, headers, body = send(server.url, recording["request"])
        complete = expected["body_bytes"] == len(expected["body_start"].encode())
        assert complete, f"{recording['name']}: the recording holds only a part of its body"
        same = comparable(body) == comparable(expected["body_start"])
        types = headers["Content-Type"], expected["headers"]["Content-Type"]
        if (status, same) != (expected["status"], True) or types[0].lower() != types[1].lower():
            different[recording["name"]] = (status, types[0], body.decode())
    assert len(lines) >= 37 and different == {}


def test_metadata_of_the_saved_model(hpt):
    server, _ = hpt
    metadata = httpx.get(f"{server.rest}/versions/1/metadata", timeout=60).json()
    assert metadata["model_spec"] == {"name": "hpt", "version": "1", "signature_name": ""}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signature["inputs"]["x"] == {
        "name": "serving_default_x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": shape,
    }


def test_errors_of_operations_keep_their_code(hpt):
    server, folder = hpt
    before = len(server.events("version_available"))
    write_asserting_model(folder.with_name("aside"))
    folder.with_name("aside").rename(folder / "3")
    server.wait("version_available", before + 1)
    reply = httpx.post(f"{server.rest}/versions/3:predict", json={"inputs": [-1.0]}, timeout=60)
    error = reply.json()["error"]
    assert reply.status_code == 400 and "must not be negative" in error and "File " not in error
    shutil.rmtree(folder / "3")
    server.wait("version_unloaded")


def write_asserting_model(folder):
    """A model with an operation that fails for some inputs."""
    import tensorflow as tf

    def run(x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x must not be negative")]):
            return {"y": tf.identity(x)}

    spec = tf.TensorSpec([None], tf.float32, name="x")
    tf.saved_model.save(
        tf.Module(), str(folder), signatures=tf.function(run, input_signature=[spec], autograph=False)
    )


def test_hot_swap_under_load(hpt):
    """No request fails, and a corrupt version changes nothing."""
    server, folder = hpt
    stop, failures, values = threading.Event(), [], set()

    def client():
        with httpx.Client(timeout=60) as session:
            while not stop.is_set():
                reply = session.post(f"{server.rest}:predict", json={"instances": [4.0]})
                if reply.status_code != 200:
                    failures.append(reply.text)
                values.add(reply.json().get("predictions", [None])[0])

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    until_loaded(lambda: values)  # there is load before the swap
    for number in (4, 5):
        shutil.copytree(folder / "1", folder / f"{number}.tmp")
        (folder / f"{number}.tmp").rename(folder / str(number))
        until_loaded(lambda number=number: state(server, number) == "AVAILABLE")
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
    until_loaded(lambda: state(server, 4) == "END")
    stop.set()
    for thread in clients:
        thread.join()
    assert failures == [] and values == {3.0, 4.0}
    assert len(server.events("version_failed")) == 2


def until_loaded(condition):
    wait_until(condition, STARTUP_SECONDS)


def state(server, number):
    rows = httpx.get(server.rest, timeout=60).json()["model_version_status"]
    return next((row["state"] for row in rows if row["version"] == str(number)), None)


def test_log_is_json_lines(hpt):
    server, _ = hpt
    httpx.get(server.rest, timeout=60)
    lines = [json.loads(line) for line in list(server.lines)]
    assert {"time", "level", "event"} <= set.intersection(*(set(line) for line in lines))
    assert (
        "captioner_run_rows_count"
        in httpx.get(f"{server.url}/monitoring/prometheus/metrics", timeout=60).text
    )


def test_sigterm_finishes_running_requests(hpt):
    """The signal comes while the body of a request is arriving."""
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


def test_damaged_only_version_is_one_line(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"no graph")
    code, stderr = run_main([tmp_path / "m", *ANY_PORTS])
    last = stderr.splitlines()[-1]
    assert code == 2 and last.startswith("devserver.py: no version of") and "version 1: " in last
