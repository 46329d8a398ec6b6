"""Parsing of JSON bodies: depth, encodings, numbers and noise."""

import json

import numpy as np
import pytest

from serving.http.rest import answer
from serving.protocol.json_text import parse
from tests.support.serving.rest_requests import ECHO, ask, echo


@pytest.mark.parametrize("depth", [10, 63, 64, 300, 500, 900, 990, 3000, 9000, 100_000])
def test_any_nesting_depth_is_answered(depth):
    """JSON that can be parsed may still be too deep to traverse, to show in a message, or for an array."""
    lists, objects = "[" * depth + "]" * depth, '{"x":' * depth + "1" + "}" * depth
    for form in (
        '{"instances": %s}',
        '{"inputs": %s}',
        '{"instances": 1, "x": %s}',
        '{"instances": [{"x": %s}]}',
    ):
        for value in (lists, objects):
            status, document = ask(form % value)
            assert status in (200, 400) and (status == 200 or len(document["error"]) < 1100)
    assert ask(f'{{"instances": {lists}}}')[0] == (200 if depth <= 64 else 400)


def test_equal_keys_and_other_encodings():
    assert ask('{"instances": [4], "instances": [8]}') == (200, {"predictions": [3.0]})
    text = '{"instances": [4]}'
    assert ask(b"\xef\xbb\xbf" + text.encode()) == (200, {"predictions": [3.0]})
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        status, document = ask(text.encode(encoding))
        assert status == 400 and document["error"].startswith("JSON Parse error: ")
        assert document["error"].endswith("(the body looks like UTF-16: send UTF-8)")
    others = {
        b"\x1f\x8b\x08\0\0": "gzip: send the header Content-Encoding: gzip with it)",
        b"\xff\xd8\xff\xe0\0\x10JFIF": "an image: send {",
        b"\x89PNG\r\n\x1a\n\0": "an image: send {",
        b"--x\r\nContent-Disposition: form-data": "a form: send JSON)",
        b"instances=a": "a form: send JSON)",
    }
    for body, hint in others.items():
        assert f"(the body looks like {hint}" in ask(body)[1]["error"]
    for body in (b"\0\0\0\x18ftypheic", b"{'a': 1}", b'{"a" 1}', b"hello", b"--"[:1]):
        assert "looks like" not in ask(body)[1]["error"]


def test_nan_and_infinity():
    _, document = ask('{"instances": [NaN, Infinity, -Infinity]}')
    assert str(document["predictions"]) == "[nan, inf, -inf]"


def test_very_long_integers():
    assert ask('{"instances": [%s]}' % ("1" * 300))[0] == 400
    assert echo("double", [10**300])[0] == [1e300]
    assert ask('{"instances": [%s]}' % ("1" * 5000))[0] in (200, 400)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bodies_do_not_crash(seed):
    """Damaged bodies get an answer, and valid ones are parsed as Python parses them."""
    random = np.random.default_rng(seed)
    valid = bytearray(
        b'{"signature_name": "string", "instances": [{"b64": "eHl6"}, "a\\u00fc", [1.5e3, {"k": null}]]}'
    )
    assert parse(bytes(valid)) == json.loads(valid)
    for _ in range(50):
        body = bytearray(valid)
        for place in random.integers(0, len(body), random.integers(1, 4)):
            body[place] = random.integers(256)
        reply = answer(
            ECHO, "POST", "/v1/models/echo:predict", bytes(body[: random.integers(1, len(body) + 1)])
        )
        assert reply.status in (200, 400, 501)
        assert json.loads(reply.body.decode("utf-8", "surrogateescape"))
