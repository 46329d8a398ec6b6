"""A REST server on a free port for tests, with a model that can be blocked."""

import socket
import threading

import httpx
import pytest

from tests.support.serving_models import LinearVersion, StaticModels

pytest.importorskip("starlette")
pytest.importorskip("grpc")

from serving.http.app import HttpServer, Limits, RestApp
from serving.runtime.admission import AdmissionControl
from serving.runtime.batching import BatchingVersion
from serving.runtime.metrics import Metrics


class RestServer:
    """A REST server whose model runs only while `unblocked` is set; `entered` counts the runs that began."""

    def __init__(self, limit=8, origins=(), workers=None, **limits):
        self.unblocked, self.entered = threading.Event(), threading.Semaphore(0)
        self.unblocked.set()
        self.admission = AdmissionControl(limit, workers or limit)
        self.version = LinearVersion(1, 0.5, self._wait)
        models = StaticModels("m", [BatchingVersion(self.version, self.admission)])
        metrics = Metrics(self.admission, lambda: {1: True})
        limits = Limits(**limits)
        app = RestApp(lambda: models, self.admission, metrics, limits, origins)
        self.http = HttpServer(app, metrics, limits, "127.0.0.1", 0)
        self.http.start()
        self.url = f"http://127.0.0.1:{self.http.port}"

    def _wait(self):
        self.entered.release()
        assert self.unblocked.wait(60)

    def post(self, body=b'{"instances": [4]}', **options):
        return httpx.post(f"{self.url}/v1/models/m:predict", content=body, timeout=60, **options)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.http.port), timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unblocked.set()
        self.http.stop(5)


def receive_all(connection):
    """Everything until the server closes the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def head(length, path="/v1/models/m:predict"):
    """The head of a POST request."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
