"""The development server as a program: startup, shutdown and exit codes, with a model without TensorFlow."""

import json
import os
import signal
import socket
import threading
import time

import httpx
import pytest

from tests.support.serving.devserver import free_ports, run_main
from tests.support.serving_models import LinearVersion

pytest.importorskip("grpc")
pytest.importorskip("starlette")
import grpc

from captioner.engines.remote.messages import GET_STATUS, message_classes
from serving import devserver
from serving.runtime.versions import ModelFolder


def grpc_states(port):
    kinds = message_classes()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            GET_STATUS, kinds.GetModelStatusRequest.SerializeToString, kinds.GetModelStatusResponse.FromString
        )
        request = kinds.GetModelStatusRequest(model_spec=kinds.ModelSpec(name="m"))
        return [row.state for row in call(request, timeout=30).model_version_status]


@pytest.fixture
def model(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").touch()
    return tmp_path / "m"


def test_startup_to_shutdown(model, monkeypatch):
    rest, rpc = free_ports()
    url = f"http://127.0.0.1:{rest}/v1/models/m"
    entered, release, replies = threading.Event(), threading.Event(), []

    def block():
        entered.set()
        assert release.wait(60)

    def load(options, find, batching):
        loading = httpx.get(url, timeout=30)
        assert loading.status_code == 503 and "being loaded" in loading.json()["error"]
        assert (
            httpx.get(f"http://127.0.0.1:{rest}/monitoring/prometheus/metrics", timeout=30).status_code == 200
        )
        with pytest.raises(grpc.RpcError) as caught:
            grpc_states(rpc)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE and "being loaded" in caught.value.details()
        models = ModelFolder("m", find, lambda path, number: batching(LinearVersion(number, 0.5, block)))
        assert models.refresh()
        threading.Thread(target=client).start()
        return models

    def client():
        waiting = threading.Thread(target=lambda: replies.append(ask_until_loaded(url)))
        waiting.start()
        assert entered.wait(60)
        replies.append(grpc_states(rpc))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        release.set()
        waiting.join()

    monkeypatch.setattr(devserver, "_load", load)
    code, stderr = run_main([model, "--rest-port", rest, "--port", rpc])
    assert code == 0 and replies == [[30], {"predictions": [4.0]}]
    events = [json.loads(line)["event"] for line in stderr.splitlines()]
    assert [e for e in events if e in ("serving", "draining", "version_unloaded", "stopped")] == [
        "serving", "draining", "version_unloaded", "stopped",
    ]  # fmt: skip


def ask_until_loaded(url):
    while (reply := httpx.post(f"{url}:predict", json={"instances": [4]}, timeout=60)).status_code == 503:
        time.sleep(0.01)
    return reply.json()


def test_failed_start_releases_the_ports(model, monkeypatch):
    rest, rpc = free_ports()

    def load(options, find, batching):
        raise devserver.EngineError("no version can be served")

    monkeypatch.setattr(devserver, "_load", load)
    for _ in range(2):
        code, stderr = run_main([model, "--rest-port", rest, "--port", rpc])
        assert (code, stderr) == (2, "devserver.py: no version can be served\n")


def test_invalid_use_is_one_line(model):
    (model / "empty").mkdir()
    (model / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = ["--port", "0", "--rest-port", "0"]
        cases = [
            (["nowhere", *free], "expected a model folder at nowhere, there is none"),
            ([model / "file", *free], "it is a file"),
            ([model / "empty", *free], "it has neither"),
            ([model, "--port", "0", "--rest-port", port], f"cannot listen on 127.0.0.1:{port} for REST"),
            ([model, "--rest-port", "0", "--port", port], f"cannot listen on 127.0.0.1:{port} for gRPC"),
            ([model, *free, "--host", "256.1.1.1"], "cannot listen on 256.1.1.1"),
            ([model, *free, "--label", "stable=3"], "--label stable=3: expected a version of"),
            ([model, "--port", "70000"], "--port expects a whole number from 0 to 65535, got 70000"),
            ([model, "--label", "stable"], "--label expects NAME=VERSION"),
            ([model, "--queue", "0"], "--queue expects a whole number from 1 to 4096, got 0"),
            ([model, "--queue", "2.5"], "--queue expects a whole number, got '2.5'"),
            ([model, "--batch", "-1"], "--batch expects a whole number from 0 to 4096, got -1"),
            ([model, "--poll", "x"], "--poll expects a number, got 'x'"),
            ([model, "--poll", "nan"], "--poll expects a number above 0"),
            ([model, "--drain", "0"], "--drain expects a number above 0 and at most 86400, got 0"),
            ([model, "--versions", "0"], "--versions expects a whole number from 1 to 4096, got 0"),
            ([model, "--versions", "some"], "--versions expects a whole number or all, got 'some'"),
            ([model, "--name", "a/b"], "--name expects a name without / and :"),
            ([model, "--label", "a=1", "--label", "a=2"], "--label a expects one version, got 2"),
            ([model, "--allow-origin", "example.org"], "--allow-origin expects an origin such as https://"),
            (
                [model, "--allow-origin", "https://a.org/"],
                "--allow-origin expects an origin such as https://",
            ),
            (
                [model, "--allow-origin", "https://*.a.org"],
                "--allow-origin expects an origin such as https://",
            ),
            ([model, "--allow-origin", "null"], "--allow-origin expects an origin such as https://"),
            ([model, "--bacth", "3"], "did you mean '--batch"),
            ([model, "--colour", "x"], "unknown option '--colour'"),
            ([], "the following arguments are required: model"),
        ]
        for options, message in cases:
            code, stderr = run_main(options)
            assert code == 2 and message in stderr and stderr.count("\n") == 1, stderr


def test_help_names_the_production_server():
    text = " ".join(devserver.parser().format_help().split())
    assert "for development and small sites" in text and "production server is TensorFlow Serving" in text


def name_of(*arguments):
    return devserver._model_name(devserver.parser().parse_args([str(word) for word in arguments]))


def test_model_name_is_the_folders(model, tmp_path):
    assert name_of(model) == "m" and name_of(model / "1") == "m"
    assert list(devserver.find_versions(str(model / "1"))()) == [1]
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "saved_model.pb").touch()
    assert name_of(tmp_path / "alone") == "alone"
    assert list(devserver.find_versions(str(tmp_path / "alone"))()) == [1]
