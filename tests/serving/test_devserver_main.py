"""The development server from its first line to its exit code, with a model that needs no TensorFlow."""

import contextlib
import io
import json
import logging
import os
import signal
import socket
import threading
import time

import httpx
import pytest

from tests.support.serving_models import Line

pytest.importorskip("grpc")
pytest.importorskip("starlette")

import grpc

from captioner.engines.remote.messages import GET_STATUS, messages
from serving import devserver
from serving.runtime.versions import Folder


def run_main(options):
    """(exit code, standard error) of the entry point in this process; what it sets in the process is put back."""
    said, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    heard = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with contextlib.redirect_stderr(said):
            return devserver.main([str(option) for option in options]), said.getvalue()
    except SystemExit as end:
        return end.code, said.getvalue()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in heard.items():
            signal.signal(number, handler)


def free_ports():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def grpc_states(port):
    kinds = messages()
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


def test_from_loading_to_draining(model, monkeypatch):
    rest, rpc = free_ports()
    url, entered, release, replies = (
        f"http://127.0.0.1:{rest}/v1/models/m",
        threading.Event(),
        threading.Event(),
        [],
    )

    def hold():
        entered.set()
        assert release.wait(60)

    def load(given, find, queued):
        loading = httpx.get(url, timeout=30)
        assert loading.status_code == 503 and "being loaded" in loading.json()["error"]
        assert (
            httpx.get(f"http://127.0.0.1:{rest}/monitoring/prometheus/metrics", timeout=30).status_code == 200
        )
        with pytest.raises(grpc.RpcError) as caught:
            grpc_states(rpc)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE and "being loaded" in caught.value.details()
        found = Folder("m", find, lambda path, number: queued(Line(number, 0.5, hold)))
        assert found.refresh()
        threading.Thread(target=client).start()
        return found

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
    code, said = run_main([model, "--rest-port", rest, "--port", rpc])
    assert code == 0 and replies == [[30], {"predictions": [4.0]}]
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert [e for e in events if e in ("serving", "draining", "version_unloaded", "stopped")] == [
        "serving", "draining", "version_unloaded", "stopped",
    ]  # fmt: skip


def ask_until_loaded(url):
    while (reply := httpx.post(f"{url}:predict", json={"instances": [4]}, timeout=60)).status_code == 503:
        time.sleep(0.01)
    return reply.json()


def test_a_model_that_cannot_be_served_lets_go_of_the_ports(model, monkeypatch):
    rest, rpc = free_ports()

    def load(given, find, queued):
        raise devserver.EngineError("no version can be served")

    monkeypatch.setattr(devserver, "_load", load)
    for _ in range(2):
        code, said = run_main([model, "--rest-port", rest, "--port", rpc])
        assert (code, said) == (2, "devserver.py: no version can be served\n")


def test_wrong_use_is_one_line_and_exit_code_2(model):
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
            code, said = run_main(options)
            assert code == 2 and message in said and said.count("\n") == 1, said


def test_help_says_what_it_is_for():
    said = " ".join(devserver.parser().format_help().split())
    assert "for development and small sites" in said and "production server is TensorFlow Serving" in said


def test_names_come_from_folders(model, tmp_path):
    assert devserver._name(model) == "m" and devserver._name(model / "1") == "m"
    assert list(devserver.find_versions(str(model / "1"))()) == [1]
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "saved_model.pb").touch()
    assert devserver._name(tmp_path / "alone") == "alone"
    assert list(devserver.find_versions(str(tmp_path / "alone"))()) == [1]
