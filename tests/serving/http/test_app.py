"""The REST server: limits on bodies and concurrency, CORS, metrics, draining. Models are NumPy functions."""

import contextlib
import gzip
import json
import threading
import time

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("grpc")
from tests.support.serving.rest_server import RestServer, head, receive_all
from tests.support.serving.waiting import wait_until


@pytest.fixture(scope="module")
def server():
    with RestServer(body=20_000, client=0.6) as server:
        yield server


def test_request_is_logged(server, capsys):
    reply = server.post(headers={"Content-Type": "text/plain"})
    assert (reply.status_code, reply.json()) == (200, {"predictions": [4.0]})
    assert reply.headers["content-type"] == "application/json"
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert line["event"] == "request" and line["ms"] >= 0 and line["time"].endswith("+00:00")
    assert {line[k] for k in ("api", "verb", "path", "method", "model")} == {
        "rest", "POST", "/v1/models/m:predict", "predict", "m",
    }  # fmt: skip
    assert (line["status"], line["code"], line["version"], line["bytes"]) == (200, "OK", 1, 18)


def test_contents_of_requests_are_not_logged(server, capsys):
    server.post(b'{"instances": ["SECRET"]}')
    server.post(b'{"instances": [SECRET]}')
    log = capsys.readouterr().err
    assert len(log.splitlines()) == 2 and "SECRET" not in log


def test_gzip_bodies(server):
    compressed = gzip.compress(b'{"instances": [4]}')
    assert server.post(compressed, headers={"Content-Encoding": "gzip"}).json() == {"predictions": [4.0]}
    halves = gzip.compress(b'{"instances"') + gzip.compress(b": [4]}")
    assert server.post(halves, headers={"Content-Encoding": "gzip"}).json() == {"predictions": [4.0]}
    unlabelled = server.post(compressed)
    assert (
        unlabelled.status_code == 400
        and "gzip: send the header Content-Encoding: gzip" in unlabelled.json()["error"]
    )
    damaged = server.post(compressed[:5] + b"xxxxxxxxx", headers={"Content-Encoding": "gzip"})
    assert damaged.status_code == 400 and "gzip" in damaged.json()["error"]


def test_too_long_body_is_rejected(server):
    fits = b'{"instances": [4]}'.ljust(20_000)
    assert server.post(fits).status_code == 200
    for body in (fits + b" ", iter([b" " * 5000] * 5)):  # with Content-Length, and chunked
        reply = server.post(body)
        assert reply.status_code == 413
        assert reply.json() == {"error": "expected a body of at most 20000 bytes, got more"}
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < 20_000
    assert server.post(bomb, headers={"Content-Encoding": "gzip"}).status_code == 413


def test_too_long_chunk_is_rejected():
    """Also when the first chunk alone exceeds all limits: it must not pass for an empty body."""
    with RestServer(body=1000) as small:
        for length in (1001, 3999, 4001, 60_000):
            body = b'{"instances": [4]}'.ljust(length)
            with small.connect() as connection:
                connection.sendall(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
                connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (length, body))
                answer = receive_all(connection)
            assert answer.startswith(b"HTTP/1.1 413") and b"at most 1000 bytes" in answer
        fits = small.post(iter([b'{"instances": [4]}'.ljust(1000)]))
        assert fits.json() == {"predictions": [4.0]}


def test_bodies_count_only_while_they_arrive():
    """Eight of the largest may arrive at a time, however many were received, rejected or abandoned before."""
    body, limit = b'{"instances": [4]}'.ljust(1000), 8
    with RestServer(body=1000) as small, contextlib.ExitStack() as clients:
        for _ in range(3 * limit):
            assert small.post(body).status_code == 200
            assert small.post(body + b" ").status_code == 413
            with small.connect() as abandoned:
                abandoned.sendall(head(1000) + body[:-1])
        arriving = [clients.enter_context(small.connect()) for _ in range(limit)]
        for connection in arriving:
            connection.sendall(head(1000) + body[:-1])
        # They are counted once the server has read them; a request that comes before that is served.
        end = time.monotonic() + 20
        while (rejected := small.post(body)).status_code == 200 and time.monotonic() < end:
            time.sleep(0.02)
        assert rejected.status_code == 429 and "too many requests are arriving" in rejected.json()["error"]
        for connection in arriving:
            connection.sendall(b" ")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert small.post(body).status_code == 200


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
def test_cors(origins, origin, allowed):
    with RestServer(origins=origins) as server:
        url = f"{server.url}/v1/models/m:predict"
        preflight = httpx.options(url, headers={"Origin": origin, **PREFLIGHT})
        assert (preflight.status_code, preflight.content) == (200 if "://" in origin or allowed else 400, b"")
        replies = [
            server.post(headers={"Origin": origin}),
            server.post(b"no json", headers={"Origin": origin}),
        ]
        assert [reply.status_code for reply in replies] == [200, 400]  # CORS is enforced by browsers alone
        for reply in replies:
            assert cors(reply) == ({} if allowed is None else {"origin": allowed})
        preflight_headers = {"methods": "POST, GET", "headers": "Content-Type"}
        assert cors(preflight) == ({} if allowed is None else {"origin": allowed} | preflight_headers)
        varies = bool(origins) and "*" not in origins
        assert all((reply.headers.get("vary") == "Origin") == varies for reply in (preflight, *replies))
        # Only the paths of TensorFlow Serving's API are opened.
        for path in ("/", "/page/models", "/monitoring/prometheus/metrics", "/v2/models/m"):
            assert cors(httpx.get(server.url + path, headers={"Origin": origin})) == {}


def test_disconnected_request_is_not_run():
    with RestServer(workers=1) as server:
        server.unblocked.clear()
        first = threading.Thread(target=server.post)
        first.start()
        assert server.entered.acquire(timeout=30)
        with server.connect() as connection:
            connection.sendall(head(18) + b'{"instances": [5]}')
            wait_until(lambda: server.admission.inside == 2)
        time.sleep(0.2)  # for the server to see it go
        server.unblocked.set()
        first.join(30)
        wait_until(lambda: server.admission.inside == 0)
        assert server.version.rows == [1] and server.post().status_code == 200


def test_query_belongs_to_the_model_name(server):
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


def test_full_server_refuses_and_reports_its_state():
    with RestServer(limit=2) as server:
        server.unblocked.clear()
        replies = []
        clients = [
            threading.Thread(target=lambda: replies.append(server.post().status_code)) for _ in range(2)
        ]
        for client in clients:
            client.start()
        for _ in clients:
            assert server.entered.acquire(timeout=30)
        refused = server.post()
        assert refused.status_code == 429 and "try again later" in refused.json()["error"]
        assert httpx.get(f"{server.url}/v1/models/m").status_code == 200
        server.unblocked.set()
        for client in clients:
            client.join()
        assert replies == [200, 200] and server.post().status_code == 200


def test_stop_waits_for_running_requests():
    server = RestServer()
    server.unblocked.clear()
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
    server.unblocked.set()
    stopping.join(30)
    client.join(30)
    assert replies == [{"predictions": [4.0]}]


def test_bug_does_not_leak_details(capsys):
    with RestServer() as server:
        server.unblocked.clear()
        server.unblocked.wait = lambda seconds: 1 / 0
        reply = server.post()
        server.unblocked.wait = lambda seconds: True
    assert reply.status_code == 500 and "division" not in reply.text
    assert "ZeroDivisionError" in capsys.readouterr().err
