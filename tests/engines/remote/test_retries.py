"""Servers that cannot be reached, are slow or busy: retries and timeouts."""

import dataclasses
import re
import socket
import threading
import time

import pytest

import captioner
from tests.support.fake_tf_serving import SERVERS, Refusal, Relay, expected
from tests.support.remote_clients import IMAGES, assert_same_caption, error_line

FULL = "The batch scheduling queue to which this task was submitted is full"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("scheme", list(SERVERS))
def test_connection_refused(scheme):
    start = time.monotonic()
    line = error_line(captioner.load, f"{scheme}://127.0.0.1:{free_port()}/dogs", retries=1)
    assert "cannot reach the server" in line and "refused" in line
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("scheme", list(SERVERS))
def test_an_unknown_host(scheme):
    assert "cannot reach the server" in error_line(
        captioner.load, f"{scheme}://nowhere.invalid:80/dogs", retries=0
    )


@pytest.mark.parametrize("scheme", list(SERVERS))
def test_a_server_that_starts_later(scheme, world, load):
    port, started = free_port(), []
    timer = threading.Timer(0.3, lambda: started.append(SERVERS[scheme](world, port)))
    timer.start()
    engine = load(f"{scheme}://127.0.0.1:{port}/dogs", retries=8)
    assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))
    started[0].close()


@pytest.mark.parametrize("status", [429, 503])
def test_requests_to_a_busy_server_are_retried(server, load, world, status):
    engine = load(server.source, retries=2)
    world.faults = [Refusal(status, "too busy"), Refusal(status, "too busy")]
    assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))
    assert len(world.requests) == 3
    world.always = Refusal(status, "too\n busy")
    assert "too busy" in error_line(engine.predict, IMAGES[:1])
    assert len(world.requests) == 6


@pytest.mark.parametrize(
    "status, words, message",
    [
        (503, FULL, f"the server is busy: its queue is full (.*{FULL}); raise max_enqueued_batches"),
        (503, f"{FULL}; task size is 8 but scheduling capacity is only 3", "its queue is full"),
        (429, "64 requests are waiting or running already: try again later", "its queue is full"),
        (429, "no more threads", "the server is busy .*no more threads"),
        (503, "the model is being loaded: try again soon", "the server is not ready .*being loaded"),
    ],
)
def test_messages_of_a_busy_server(server, load, world, status, words, message):
    engine = load(server.source, retries=0)
    world.always = Refusal(status, words)
    line = error_line(engine.predict, IMAGES[:1])
    assert re.search(message.replace("(.*", r"\(.*").replace("); raise", r"\); raise"), line), line
    assert "cannot reach" not in line


@pytest.mark.parametrize(
    "status, headers, kind, detail",
    [
        (502, {}, "away", "HTTP 502"),
        (503, {"retry-after": "7"}, "busy", "HTTP 503"),  # somebody answers: it can be reached
        (504, {}, "time", "HTTP 504"),
        (302, {"location": "https://login.example/"}, "foreign", "HTTP 302: go to https://login.example/"),
        (404, {}, "foreign", "HTTP 404"),
        (413, {}, "large", "HTTP 413"),
    ],
)
def test_responses_of_a_proxy(status, headers, kind, detail):
    from captioner.engines.remote.rest import _failure

    failure = _failure(status, b"<html>nginx</html>", headers)
    assert (failure.kind, failure.detail, failure.after) == (
        kind,
        detail,
        float(headers.get("retry-after", 0)),
    )


def test_retries_until_the_timeout(server, load, world):
    engine = load(server.source, timeout=30)  # and without `retries`
    world.faults = [Refusal(503, FULL)] * 6  # more often than one that is away is asked
    assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))
    assert len(world.requests) == 7
    engine._options = dataclasses.replace(engine._options, timeout=0.6)
    world.always, start = Refusal(503, FULL), time.monotonic()
    assert "its queue is full" in error_line(engine.predict, IMAGES[:1])
    assert 0.1 < time.monotonic() - start < 10


@pytest.mark.parametrize("status", [400, 500, 504])
def test_other_errors_are_not_retried(server, load, world, status):
    engine = load(server.source)
    world.always = Refusal(status, "it is\nbroken {detail}")
    assert "it is broken {detail}" in error_line(engine.predict, IMAGES[:3])
    assert len(world.requests) == 1


def test_a_server_that_hangs(server, load, world):
    engine = load(server.source)
    engine._options = dataclasses.replace(engine._options, timeout=0.3)
    world.always = 60
    start = time.monotonic()
    assert "no answer within 0.3 seconds" in error_line(engine.predict, IMAGES[:1])
    assert time.monotonic() - start < 20
    assert len(world.requests) == 1


def test_retries_end_with_the_timeout(server, load, world):
    engine = load(server.source, retries=50)
    engine._options = dataclasses.replace(engine._options, timeout=0.5)
    world.always = Refusal(503, "away")
    start = time.monotonic()
    error_line(engine.predict, IMAGES[:1])
    assert time.monotonic() - start < 10
    assert 1 <= len(world.requests) < 10


def test_a_slow_response_times_out(load, world):
    """Each byte comes in time, and the whole does not."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass

    threading.Thread(target=drip, daemon=True).start()
    start = time.monotonic()
    line = error_line(captioner.load, f"http://127.0.0.1:{listener.getsockname()[1]}/dogs", timeout=0.4)
    assert "no answer within" in line and time.monotonic() - start < 20
    listener.close()


@pytest.mark.parametrize("after", [0, 150])
def test_a_connection_that_is_cut(server, load, world, after):
    """Before the answer, and in the middle of it, on new connections and on old ones."""
    relay = Relay(server.port, 0, after)
    engine = load(f"{server.scheme}://127.0.0.1:{relay.port}/dogs", retries=6)
    relay.cuts = 10**6
    assert "cannot reach" in error_line(
        captioner.load, f"{server.scheme}://127.0.0.1:{relay.port}/dogs", retries=1
    )
    assert relay.cut >= 1
    relay.cuts = relay.cut + 1
    fresh = load(f"{server.scheme}://127.0.0.1:{relay.port}/dogs", retries=6)
    relay.close()
    for client in (engine, fresh):
        assert_same_caption(client.predict(IMAGES[:1])[0], expected(IMAGES[0]))


def test_a_restarted_server(load, world):
    for name in SERVERS:
        first = SERVERS[name](world)
        engine = load(f"{name}://127.0.0.1:{first.port}/dogs", retries=8)
        engine.predict(IMAGES[:1])
        first.close()
        second = SERVERS[name](world, first.port)
        assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))
        second.close()
