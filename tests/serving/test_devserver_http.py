"""The server's sockets: bounds on bodies, time and numbers, metrics, draining. Models are numpy functions."""

import asyncio
import gzip
import json
import socket
import threading
import time

import httpx
import pytest

from tests.support.serving_models import Line, Some

pytest.importorskip("starlette")
pytest.importorskip("grpc")

from captioner.errors import EngineError
from serving.http.app import HttpServer, Limits, RestApp
from serving.http.sockets import listener
from serving.runtime.batching import Gate, Queued
from serving.runtime.metrics import Metrics


class Server:
    """A REST server on a free port, for a model that can be held up."""

    def __init__(self, limit=8, origins=(), workers=None, **limits):
        self.held, self.entered = threading.Event(), threading.Semaphore(0)
        self.held.set()
        self.gate = Gate(limit, workers or limit)
        self.line = Line(1, 0.5, self._hold)
        models = Some("m", [Queued(self.line, self.gate)])
        metrics = Metrics(self.gate, lambda: {1: True})
        limits = Limits(**limits)
        app = RestApp(lambda: models, self.gate, metrics, limits, origins)
        self.http = HttpServer(app, metrics, limits, "127.0.0.1", 0)
        self.http.start()
        self.url = f"http://127.0.0.1:{self.http.port}"

    def _hold(self):
        self.entered.release()
        assert self.held.wait(60)

    def post(self, body=b'{"instances": [4]}', **options):
        return httpx.post(f"{self.url}/v1/models/m:predict", content=body, timeout=60, **options)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.http.port), timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.held.set()
        self.http.stop(5)


@pytest.fixture(scope="module")
def server():
    with Server(body=20_000, client=0.6) as found:
        yield found


def received(connection):
    """Everything until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def head(length, path="/v1/models/m:predict"):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def test_a_request_and_its_line_in_the_log(server, capsys):
    reply = server.post(headers={"Content-Type": "text/plain"})
    assert (reply.status_code, reply.json()) == (200, {"predictions": [4.0]})
    assert reply.headers["content-type"] == "application/json"
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["event"] == "request" and line["ms"] >= 0 and line["time"].endswith("+00:00")
    assert {line[k] for k in ("api", "verb", "path", "method", "model")} == {
        "rest", "POST", "/v1/models/m:predict", "predict", "m",
    }  # fmt: skip
    assert (line["status"], line["code"], line["version"], line["bytes"]) == (200, "OK", 1, 18)


def test_no_content_of_requests_is_logged(server, capsys):
    server.post(b'{"instances": ["SECRET"]}')
    server.post(b'{"instances": [SECRET]}')
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 2 and "SECRET" not in said


def test_bodies_may_be_packed(server):
    packed = gzip.compress(b'{"instances": [4]}')
    assert server.post(packed, headers={"Content-Encoding": "gzip"}).json() == {"predictions": [4.0]}
    halves = gzip.compress(b'{"instances"') + gzip.compress(b": [4]}")
    assert server.post(halves, headers={"Content-Encoding": "gzip"}).json() == {"predictions": [4.0]}
    bare = server.post(packed)
    assert bare.status_code == 400 and "gzip: send the header Content-Encoding: gzip" in bare.json()["error"]
    wrong = server.post(packed[:5] + b"xxxxxxxxx", headers={"Content-Encoding": "gzip"})
    assert wrong.status_code == 400 and "gzip" in wrong.json()["error"]


def test_a_body_that_is_too_long_is_refused(server):
    fits = b'{"instances": [4]}'.ljust(20_000)
    assert server.post(fits).status_code == 200
    for body in (fits + b" ", iter([b" " * 5000] * 5)):  # with and without its length in front
        reply = server.post(body)
        assert reply.status_code == 413
        assert reply.json() == {"error": "expected a body of at most 20000 bytes, got more"}
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < 20_000
    assert server.post(bomb, headers={"Content-Encoding": "gzip"}).status_code == 413


def test_a_body_in_one_chunk_is_refused_however_large():
    """Also when its first part alone is beyond everything: it is not an empty body."""
    with Server(body=1000) as small:
        for length in (1001, 3999, 4001, 60_000):
            body = b'{"instances": [4]}'.ljust(length)
            with small.connect() as connection:
                connection.sendall(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
                connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (length, body))
                answer = received(connection)
            assert answer.startswith(b"HTTP/1.1 413") and b"at most 1000 bytes" in answer
        fits = small.post(iter([b'{"instances": [4]}'.ljust(1000)]))
        assert fits.json() == {"predictions": [4.0]}


def test_answers_do_not_wait_for_the_clients_word():
    """Nagle's algorithm is off on every connection; asyncio sees to that only where it knows that it is TCP."""

    async def look():
        found = asyncio.Queue()
        listening = listener("127.0.0.1", 0)
        async with await asyncio.start_server(lambda _, writer: found.put_nowait(writer), sock=listening):
            with socket.create_connection(listening.getsockname()):
                writer = await asyncio.wait_for(found.get(), 30)
                writer.close()
                connection = writer.get_extra_info("socket")
                return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert asyncio.run(look())


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
CORS = "access-control-allow-"


def cors(reply):
    return {name.removeprefix(CORS): value for name, value in reply.headers.items() if name.startswith(CORS)}


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((), "https://a.example", None),
        (("https://a.example", "http://localhost:3000"), "https://a.example", "https://a.example"),
        (("https://a.example", "http://localhost:3000"), "http://localhost:3000", "http://localhost:3000"),
        (("https://a.example",), "https://b.example", None),
        (("https://a.example",), "https://a.example.evil", None),
        (("https://a.example",), "null", None),
        (("*",), "https://b.example", "*"),
        (("*",), "null", "*"),  # a page that was opened as a file
    ],
)
def test_pages_of_other_origins_read_answers_only_where_they_may(origins, origin, allowed):
    with Server(origins=origins) as each:
        url = f"{each.url}/v1/models/m:predict"
        asked = httpx.options(url, headers={"Origin": origin, **PREFLIGHT})
        assert (asked.status_code, asked.content) == (200 if "://" in origin or allowed else 400, b"")
        answers = [each.post(headers={"Origin": origin}), each.post(b"no json", headers={"Origin": origin})]
        assert [reply.status_code for reply in answers] == [200, 400]  # the server itself refuses nobody
        for reply in answers:
            assert cors(reply) == ({} if allowed is None else {"origin": allowed})
        more = {"methods": "POST, GET", "headers": "Content-Type"}
        assert cors(asked) == ({} if allowed is None else {"origin": allowed} | more)
        named = bool(origins) and "*" not in origins
        assert all((reply.headers.get("vary") == "Origin") == named for reply in (asked, *answers))
        # Nothing outside TensorFlow Serving's own paths is opened.
        for path in ("/", "/page/models", "/monitoring/prometheus/metrics", "/v2/models/m"):
            assert cors(httpx.get(each.url + path, headers={"Origin": origin})) == {}


def test_a_request_whose_client_has_left_is_not_run():
    with Server(workers=1) as each:
        each.held.clear()
        first = threading.Thread(target=each.post)
        first.start()
        assert each.entered.acquire(timeout=30)
        with each.connect() as connection:
            connection.sendall(head(18) + b'{"instances": [5]}')
            until(lambda: each.gate.inside == 2)
        time.sleep(0.2)  # for the server to see it go
        each.held.set()
        first.join(30)
        until(lambda: each.gate.inside == 0)
        assert each.line.rows == [1] and each.post().status_code == 200


def test_a_grpc_call_that_was_cancelled_is_not_run():
    import grpc
    import numpy as np

    from captioner.engines.remote.messages import PREDICT, messages
    from serving.http.grpc_services import GrpcServer
    from serving.protocol.tensor_proto import tensor_of

    entered, held = threading.Semaphore(0), threading.Event()
    line = Line(1, 0.5, lambda: (entered.release(), held.wait(30)))
    gate = Gate(8, 1)
    models = Some("m", [Queued(line, gate)])
    server = GrpcServer(lambda: models, "127.0.0.1:0", gate, Metrics(gate), 1 << 20)
    server.start()
    request = messages().PredictRequest(model_spec=messages().ModelSpec(name="m"))
    request.inputs["x"].CopyFrom(tensor_of(np.ones(1, np.float32)))
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            predict = channel.unary_unary(PREDICT)
            first = predict.future(request.SerializeToString(), timeout=60)
            assert entered.acquire(timeout=30)
            second = predict.future(request.SerializeToString(), timeout=60)
            until(lambda: gate.inside == 2)
            second.cancel()
            time.sleep(0.2)
            held.set()
            assert first.result() is not None
            until(lambda: gate.inside == 0)
    finally:
        held.set()
        server.stop(5)
    assert line.rows == [1]


def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_asks_first_is_refused_before_it_sends(server):
    with server.connect() as connection:
        connection.sendall(head(10**9).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert received(connection).startswith(b"HTTP/1.1 413")


def test_an_endless_body_ends(server):
    with server.connect() as connection:
        connection.sendall(head(10**9))
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < start + 30:
                connection.sendall(b" " * 65536)
                time.sleep(0.01)


def test_half_a_body_times_out_and_hurts_nobody(server):
    with server.connect() as connection:
        connection.sendall(head(100) + b'{"instances"')
        assert server.post().status_code == 200
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive in 0.6 s" in answer


def test_drops_of_a_body_do_not_extend_its_time(server):
    with server.connect() as connection:
        connection.sendall(head(1000))
        start = time.monotonic()
        try:
            while time.monotonic() < start + 20:
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - start < 15


def test_an_idle_connection_is_closed(server):
    with server.connect() as connection:
        connection.sendall(head(18) + b'{"instances": [4]}')
        start = time.monotonic()
        assert received(connection).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - start < 15


def test_connections_that_send_nothing_are_bounded(monkeypatch):
    """What closes them is a proxy; here they cost no memory beyond their number, and the others are told."""
    monkeypatch.setattr("serving.http.app._CONNECTIONS", 3)
    with Server() as each, each.connect(), each.connect(), each.connect():
        until(lambda: each.post().status_code == 503)
    with Server() as each, each.connect():
        assert each.post().status_code == 200


def test_a_client_that_leaves_in_the_middle_is_noted(server, capsys):
    with server.connect() as connection:
        connection.sendall(head(100) + b"{")
    end = time.monotonic() + 20
    said = ""
    while "client_gone" not in said and time.monotonic() < end:
        said += capsys.readouterr().err
        time.sleep(0.02)
    assert "client_gone" in said


def test_what_is_no_http_is_refused(server):
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 400")


def test_a_query_belongs_to_the_name_and_connections_are_kept(server):
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v1/models/m?x=1").json() == {
            "error": "Could not find any versions of model m?x=1"
        }
        assert client.get("/v1/models/m").status_code == 200
        assert client.get("/v2/models/m").status_code == 404
        reply = client.request("HEAD", "/v1/models/m")
        assert (reply.status_code, reply.content) == (400, b"")
        assert client.request("BREW", "/v1/models/m").json() == {
            "error": "Malformed request: BREW /v1/models/m"
        }


def test_metrics(server):
    before = httpx.get(f"{server.url}/monitoring/prometheus/metrics")
    assert before.status_code == 200 and before.headers["content-type"].startswith("text/plain")
    server.post(b'{"instances": [1, 2, 3]}')
    server.post(b"no json")
    after = httpx.get(f"{server.url}/monitoring/prometheus/metrics").text
    for sample in (
        'captioner_requests_total{api="rest",code="OK",method="predict"}',
        'captioner_requests_total{api="rest",code="INVALID_ARGUMENT",method="predict"}',
        'captioner_request_seconds_count{api="rest",method="predict"}',
    ):
        assert value(after, sample) > value(before.text, sample)
    assert value(after, 'captioner_version_available{version="1"}') == 1
    assert (value(after, "captioner_requests_inside"), value(after, "captioner_requests_limit")) == (0, 8)


def value(page, sample):
    return next((float(line.split()[-1]) for line in page.splitlines() if line.startswith(sample + " ")), 0.0)


def test_a_full_server_refuses_at_once_and_still_tells_its_state():
    with Server(limit=2) as server:
        server.held.clear()
        replies = []
        clients = [
            threading.Thread(target=lambda: replies.append(server.post().status_code)) for _ in range(2)
        ]
        for each in clients:
            each.start()
        for _ in clients:
            assert server.entered.acquire(timeout=30)
        refused = server.post()
        assert refused.status_code == 429 and "try again later" in refused.json()["error"]
        assert httpx.get(f"{server.url}/v1/models/m").status_code == 200
        server.held.set()
        for each in clients:
            each.join()
        assert replies == [200, 200] and server.post().status_code == 200


def test_stopping_waits_for_requests_that_run_and_takes_no_more():
    server = Server()
    server.held.clear()
    replies = []
    client = threading.Thread(target=lambda: replies.append(server.post().json()))
    client.start()
    assert server.entered.acquire(timeout=30)
    stopping = threading.Thread(target=server.http.stop, args=(20,))
    stopping.start()
    with pytest.raises(httpx.TransportError):
        for _ in range(1000):
            httpx.get(f"{server.url}/v1/models/m")
            time.sleep(0.01)
    assert stopping.is_alive() and not replies
    server.held.set()
    stopping.join(30)
    client.join(30)
    assert replies == [{"predictions": [4.0]}]


def test_a_port_in_use_is_one_line(server):
    metrics = Metrics(Gate(1, 1))
    app = RestApp(lambda: None, Gate(1, 1), metrics, Limits())
    with pytest.raises(
        EngineError, match=r"cannot listen on 127.0.0.1:\d+ for REST: .*; give another --rest-port"
    ):
        HttpServer(app, metrics, Limits(), "127.0.0.1", server.http.port)


def test_a_bug_shows_the_client_nothing(capsys):
    with Server() as server:
        server.held.clear()
        server.held.wait = lambda seconds: 1 / 0
        reply = server.post()
        server.held.wait = lambda seconds: True
    assert reply.status_code == 500 and "division" not in reply.text
    assert "ZeroDivisionError" in capsys.readouterr().err
