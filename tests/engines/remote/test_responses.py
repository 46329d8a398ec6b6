"""Limits on the size of messages, and malformed responses."""

import threading

import numpy as np
import pytest

import captioner
from tests.support.fake_tf_serving import SERVERS, Refusal, expected
from tests.support.remote_clients import IMAGES, assert_same_caption, error_line


def test_too_large_requests_are_split(server, load, world):
    def most_three(outputs):
        if len(outputs["ok"]) > 3:
            raise Refusal(400, "Task size 8 is larger than maximum input batch size 3")
        return outputs

    world.always = most_three
    captions = load(server.source).predict(IMAGES[:8])
    assert [c.text for c in captions] == [expected(image).text for image in IMAGES[:8]]


def test_a_too_large_image_fails_alone(server, load, world):
    world.faults = [Refusal(429 if server.scheme == "grpc" else 413, "Received message larger than max")] * 2
    first, second = load(server.source).predict(IMAGES[:2])
    assert "too large" in first.error and "larger than max" in first.error
    assert_same_caption(second, expected(IMAGES[1]))


def test_a_response_beyond_max_bytes(server, load, world):
    engine = load(server.source, max_bytes=9000)
    caption = engine.predict(IMAGES[:1])[0]
    if caption.ok:  # one answer fits, eight do not
        assert len(world.requests) == 1
    captions = engine.predict(IMAGES[:8])
    assert [c.ok for c in captions] == [caption.ok] * 8
    assert caption.ok or "too large" in caption.error


def without(name):
    return lambda outputs: {key: value for key, value in outputs.items() if key != name}


@pytest.mark.parametrize(
    "change, message",
    [
        (without("words"), "expected the output 'words'"),
        (
            lambda outputs: {key: value[:1] for key, value in outputs.items()},
            "expected 2 captions in the answer, got 1",
        ),
        (lambda outputs: {**outputs, "words": outputs["ids"]}, "expected strings"),
        (lambda outputs: {**outputs, "attention": outputs["attention"][..., 0]}, r"attention"),
        (lambda outputs: {**outputs, "score": outputs["score"][:, None]}, r"score"),
        (lambda outputs: {**outputs, "score": outputs["score"] * np.float32("nan")}, "NaN"),
    ],
)
def test_malformed_outputs(server, load, world, change, message):
    engine = load(server.source)
    world.always = change
    line = error_line(engine.predict, IMAGES[:2])
    assert message in line and "captioner export" in line
    assert len(world.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>hello</html>",
        b'{"predictions": [',
        b"[1, 2]",
        b'{"predictions": 7}',
        b'{"predictions": []}',
        b'{"predictions": [1, 2]}',
        b'{"predictions": [{"ok": true}, {"fine": true}]}',
        b'{"predictions": [{"ok": [1]}, {"ok": [[1], 2]}]}',
        b'{"outputs": {}}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"predictions": [{"score": Infinity}]}',
    ],
    ids=lambda data: repr(data[:30]),
)
def test_malformed_json(load, world, answer):
    server = SERVERS["http"](world)
    engine = load(f"http://127.0.0.1:{server.port}/dogs")
    world.always = lambda _: answer
    line = error_line(engine.predict, IMAGES[:2])
    assert "TensorFlow Serving" in line and len(line) < 600
    server.close()


@pytest.mark.parametrize("scheme, other", [("grpc", "http"), ("http", "grpc")])
def test_the_port_of_the_other_protocol(scheme, other, world):
    server = SERVERS[other](world)
    line = error_line(captioner.load, f"{scheme}://127.0.0.1:{server.port}/dogs", retries=0)
    assert "is this its" in line or "TensorFlow Serving" in line
    server.close()


def test_another_web_server():
    import http.server

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=pages.serve_forever, args=(0.02,), daemon=True).start()
    line = error_line(captioner.load, f"http://127.0.0.1:{pages.server_address[1]}/dogs")
    assert "HTTP 404" in line and "expected TensorFlow Serving" in line
    pages.shutdown()
    pages.server_close()
