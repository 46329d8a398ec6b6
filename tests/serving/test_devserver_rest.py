"""The REST interface as a function: every rule of the protocol, on models without TensorFlow.

The rules are those observed on TensorFlow Serving 2.20; `test_devserver.py` holds the whole server to recorded answers.
"""

import base64
import json
import struct

import numpy as np
import pytest

from serving.http.rest import answer
from serving.protocol.json_text import parse
from serving.protocol.status import CODES, ServingError, code_of
from tests.support.serving_models import Kinds, Some, half_plus_two

HPT = half_plus_two()
KINDS = Some("kinds", [Kinds()])
PREDICT = "/v1/models/hpt:predict"


def ask(body, target=PREDICT, models=HPT, method="POST"):
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    reply = answer(models, method, target, data)
    return reply.status, json.loads(reply.body.decode("utf-8", "surrogateescape"))


def kind(signature, values, form="inputs"):
    status, found = ask({"signature_name": signature, form: values}, "/v1/models/kinds:predict", KINDS)
    return found.get("outputs", found.get("predictions", found.get("error"))), status


# Verb, path, body, then the status and what the answer holds: a value, or a part of the error's message.
ROUTES = [
    ("GET", "/v1/models/hpt/versions/2", "", 200, None),
    ("GET", "/v1/models/hpt/versions/0002", "", 200, None),
    ("GET", "/V1/Models/hpt/Versions/1", "", 200, None),
    ("GET", "/v1/models/hpt/labels/stable", "", 200, None),
    ("GET", "/v1/models/hpt/metadata", "", 200, None),
    ("GET", "/v1/models/hpt/labels/stable/metadata", "", 200, None),
    ("GET", "/v1/models/HPT", "", 404, "Could not find any versions of model HPT"),
    ("GET", "/v1/models/hpt/versions/9", "", 404, "Could not find version 9 of model hpt"),
    ("GET", "/v1/models/hpt/versions/9/metadata", "", 404, "Servable not found for request: Specific(hpt, 9)"),
    ("GET", "/v1/models", "", 400, "Missing model name in request."),
    ("GET", "/v1/models/hpt/", "", 400, "Malformed request: GET /v1/models/hpt/"),
    ("GET", "/v1/models/hpt?x=1", "", 404, "Could not find any versions of model hpt?x=1"),
    ("GET", "/v1/", "", 400, "Malformed request: GET /v1/"),
    ("GET", "/v1/models/hpt/versions/x", "", 400, "Malformed request"),
    ("DELETE", "/v1/models/hpt", "", 400, "Malformed request: DELETE /v1/models/hpt"),
    ("POST", "/v1/models/hpt", "{}", 400, "Malformed request: POST /v1/models/hpt"),
    # The path's pattern is told in any case, its verb is compared letter for letter, and so is the resource.
    ("POST", "/v1/models/hpt:Predict", '{"instances": [4]}', 400, "Malformed request: POST /v1/models/hpt:Predict"),
    ("POST", "/v1/models/hpt:CLASSIFY", "{}", 400, "Malformed request: POST /v1/models/hpt:CLASSIFY"),
    ("POST", "/V1/MODELS/hpt:predict", '{"instances": [4]}', 200, [3.0]),
    ("POST", "/v1/models/%68pt:predict", '{"instances": [4]}', 200, [3.0]),
    ("POST", "/v1/models/hpt/versions/1:predict", '{"instances": [4]}', 200, [4.0]),
    ("POST", "/v1/models/hpt/labels/stable:predict", '{"instances": [4]}', 200, [4.0]),
    ("POST", "/v1/models/hpt/labels/s%74able:predict", '{"instances": [4]}', 200, [4.0]),
    ("POST", "/v1/models/hpt/labels/x:predict", '{"instances": [4]}', 400, "Unrecognized servable version label: x"),
    ("POST", "/v1/models/hpt/versions/1/labels/stable:predict", "{}", 400, "Malformed request"),
    ("POST", "/v1/models/hpt:classify", "{}", 501, "not offered"),
]  # fmt: skip


@pytest.mark.parametrize(
    "method, target, body, status, holds", ROUTES, ids=[f"{r[0]} {r[1]}" for r in ROUTES]
)
def test_routes(method, target, body, status, holds):
    got, found = ask(body, target, method=method)
    assert got == status
    if status == 200:
        assert holds is None or found["predictions"] == holds
    else:
        assert list(found) == ["error"] and holds in found["error"]


def test_states_come_newest_first_and_whole_numbers_as_strings():
    _, found = ask("", "/v1/models/hpt", method="GET")
    rows = found["model_version_status"]
    assert [row["version"] for row in rows] == ["2", "1"]
    assert rows[0] == {
        "version": "2",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


def test_metadata_in_upper_case_is_the_status():
    assert ask("", "/v1/models/hpt/METADATA", method="GET") == ask("", "/v1/models/hpt", method="GET")
    assert list(ask("", "/v1/models/hpt/metadata", method="GET")[1]) == ["model_spec", "metadata"]


def test_a_version_beyond_int64_has_an_empty_answer():
    for digits in ("9223372036854775808", "9" * 5000):
        reply = answer(HPT, "GET", f"/v1/models/hpt/versions/{digits}", b"")
        assert (reply.status, reply.body) == (400, b"")
    assert ask("", "/v1/models/hpt/versions/9223372036854775807", method="GET")[0] == 404


def test_outside_v1_is_a_page_that_says_so():
    for target in ("/", "/v2/health/ready", "/v1", "/monitoring"):
        reply = answer(HPT, "GET", target, b"")
        assert reply.status == 404 and reply.headers["Content-Type"] == "text/html"


def test_head_and_options_have_no_body():
    assert answer(HPT, "HEAD", "/v1/models/hpt", b"").body == b""
    reply = answer(HPT, "OPTIONS", PREDICT, b"")
    assert (reply.status, reply.body, reply.headers["Content-Type"][:9]) == (400, b"", "text/html")
    # A browser that asks before it asks.
    for origin, status in (("https://example.org", 200), ("http://localhost:3000", 200), ("null", 400)):
        reply = answer(HPT, "OPTIONS", PREDICT, b"", origin=origin)
        assert (reply.status, reply.body) == (status, b"") and list(reply.headers) == ["Content-Type"]


# A body and what it leads to: a value for 200, a part of the message for 400.
BODIES = [
    ({"instances": [4, 8]}, [3.0, 4.0]),
    ({"instances": [{"x": 4}, {"x": 8.0}]}, [3.0, 4.0]),
    ({"inputs": [4, 8]}, [3.0, 4.0]),
    ({"inputs": {"x": [4, 8]}}, [3.0, 4.0]),
    ({"inputs": {"x": [4], "more": [1]}}, [3.0]),
    ({"instances": [[4], [8]]}, [[3.0], [4.0]]),
    ({"instances": [4], "unknown": {}, "signature_name": ""}, [3.0]),
    ({"instances": [4], "signature_name": "serving_default"}, [3.0]),
    ('{"instances": [4]} trailing', [3.0]),
    ('\ufeff \n{"instances": [4], "instances": "the first counts"}', [3.0]),
    ({"instances": [4], "signature_name": "x"}, 'Serving signature name: "x" not found in signature def'),
    ({"instances": [4], "signature_name": 3}, "'signature_name' key must be a string value."),
    ({"instances": [4], "inputs": [4]}, "only one of 'inputs' or 'instances' keys"),
    ({"instances": []}, "No values in 'instances' array"),
    ({"instances": {"x": 1}}, "Expecting 'instances' to be an list/array"),
    ({}, "Missing 'inputs' or 'instances' key"),
    ({"instances": [{"x": 4}, 8]}, "Expecting object but got list at item 1 of input list"),
    ({"instances": [4, {"x": 8}]}, "Expecting value/list but got object at item 1 of input list"),
    ({"instances": [{}]}, "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: x"),
    ({"instances": [{"x": 4, "z": 4}]}, "does not have named input: z"),
    ({"instances": [4, [8]]}, "of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]"),
    ({"instances": [[4], [8, 9]]}, "Expecting tensor size: 1 but got: 2"),
    ({"instances": [[[1], [2]], [[1, 2]]]}, "Expecting shape [2,1] but got: [1,2]"),
    ({"inputs": {"y": [4]}}, "Missing named input: x in 'inputs' object."),
    ({"inputs": [[1], [1, 2]]}, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
    ({"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
    ({"inputs": [[1], 2]}, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ({"inputs": ["4"]}, 'JSON Value: "4" Type: String is not of expected type: float'),
    ({"inputs": [True]}, "JSON Value: true Type: True is not of expected type: float"),
    ({"inputs": [None]}, "JSON Value: null Type: Null is not of expected type: float"),
    ({"inputs": [{"b64": "AA=="}]}, "Type: Object is not of expected type: float"),
    ({"inputs": [16777217]}, "Cannot convert JSON value: 16777217 to float without loss of precision."),
    ({"inputs": [1e39]}, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
    ({"instances": [13]}, "13 is unlucky"),
    ("[1]", "JSON Value: [1] Is not object"),
    ('"x"', 'JSON Value: "x" Is not object'),
    ("", "JSON Parse error: The document is empty"),
    ("  ", "JSON Parse error: The document is empty"),
    ('{"instances": [1, 2', "JSON Parse error: Expecting ',' delimiter: line 1 column 20 (char 19)"),
    ('{"a": [1], "ü": {"b": [1 2]}}', "JSON Parse error: "),
    ('{"a": 1 "b"}', "JSON Parse error: "),
    ('{"a" 1}', "JSON Parse error: "),
    ('{a: 1}', "JSON Parse error: "),
    ('{"a": "b', "JSON Parse error: "),
    ('{"a": "\\x"}', "JSON Parse error: "),
    ('{"a": 1.}', "JSON Parse error: "),
    ('{"a": [1e]}', "JSON Parse error: "),
    ('{"a": nul}', "JSON Parse error: "),
    ('{"instances": ' + "[" * 100000, "nested too deeply"),
    (b"\x89PNG\r\n\x1a\n", "JSON Parse error: "),
]  # fmt: skip


@pytest.mark.parametrize("body, holds", BODIES, ids=[str(b)[:60] for b, _ in BODIES])
def test_bodies(body, holds):
    status, found = ask(body)
    if isinstance(holds, str):
        assert status == 400 and holds in found["error"]
    else:
        assert status == 200 and next(iter(found.values())) == holds


@pytest.mark.parametrize("depth", [10, 63, 64, 300, 500, 900, 990, 3000, 9000, 100_000])
def test_json_nested_at_any_depth_is_an_answer(depth):
    """What Python's reader takes may still be too deep to walk through, to show in a message, or for an array."""
    lists, objects = "[" * depth + "]" * depth, '{"x":' * depth + "1" + "}" * depth
    for form in (
        '{"instances": %s}',
        '{"inputs": %s}',
        '{"instances": 1, "x": %s}',
        '{"instances": [{"x": %s}]}',
    ):
        for value in (lists, objects):
            status, found = ask(form % value)
            assert status in (200, 400) and (status == 200 or len(found["error"]) < 1100)
    assert ask(f'{{"instances": {lists}}}')[0] == (200 if depth <= 64 else 400)


def test_the_first_of_equal_keys_counts_and_other_encodings_are_told():
    assert ask('{"instances": [4], "instances": [8]}') == (200, {"predictions": [3.0]})
    text = '{"instances": [4]}'
    assert ask(b"\xef\xbb\xbf" + text.encode()) == (200, {"predictions": [3.0]})
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        status, found = ask(text.encode(encoding))
        assert status == 400 and found["error"].startswith("JSON Parse error: ")
        assert found["error"].endswith("(the body looks like UTF-16: send UTF-8)")
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


def test_rows_are_answered_by_predictions_and_columns_by_outputs():
    assert list(ask({"instances": [4]})[1]) == ["predictions"]
    assert list(ask({"inputs": [4]})[1]) == ["outputs"]


def test_several_inputs_and_outputs_are_named():
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": {"b64": "eQ=="}}]
    assert kind("many", rows, "instances")[0] == [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}]
    assert kind("many", {"a": [1, 2], "b": ["x", "y"]})[0] == {"a": [1.0, 2.0], "b": ["x", "y"]}
    assert "list of objects" in kind("many", [1, 2], "instances")[0]
    assert "expecting an object" in kind("many", [1, 2])[0]
    assert "keys must be equal to: a,b" in kind("many", [{"a": 1}], "instances")[0]
    # A lone b64 object passes for a plain value, and then an input is missing.
    said, status = kind("many", [{"b64": "eQ=="}], "instances")
    assert status == 400 and "float" in said


@pytest.mark.parametrize("text", ["eHl6IQ==", "eHl6IQ", "eHl6\nIQ==", " eHl6IQ = = "])
def test_base64_is_read_without_padding_and_over_several_lines(text):
    assert kind("string", [{"b64": text}])[0] == ["xyz!"]


@pytest.mark.parametrize("value", [{"b64": "_-8="}, {"b64": "a"}, {"b64": "eHl6IQ="}, {"b64": "%%"}])
def test_other_base64_is_refused(value):
    assert kind("string", [value]) == ("Unable to base64 decode", 400)


@pytest.mark.parametrize("value", [{"b64": "eA==", "x": 1}, {"b64": 3}, {"B64": "eA=="}])
def test_base64_needs_exactly_its_key(value):
    said, status = kind("string", [value])
    assert status == 400 and "not formatted correctly for base64 data" in said


@pytest.mark.parametrize(
    "signature, good, bad",
    [
        ("int32", [-(2**31), 2**31 - 1], 2**31),
        ("int32", [1], 1.0),
        ("int32", [1], True),
        ("int64", [-(2**63), 2**63 - 1], 2**63),
        ("uint32", [0, 2**32 - 1], -1),
        ("bool", [True, False], 1),
        ("string", ["", "a\x00b", "ü"], 3),
        ("double", [1e300, 0.1, 2**53 - 1], 2**53 + 1),
    ],
)
def test_types_keep_their_ranges(signature, good, bad):
    assert kind(signature, good) == (good, 200)
    assert kind(signature, [bad])[1] == 400


def test_small_whole_numbers_wrap_as_in_the_servers_buffers():
    assert kind("uint8", [255, 256, -1])[0] == [255, 0, 255]


def test_types_that_json_cannot_hold_are_not_implemented():
    assert kind("odd", [1])[1] == 501


def test_decimals_come_back_as_short_as_they_went_in():
    values = [0.1, 0.2, 1 / 3, 1e-7, 16777215, 3.4028234663852886e38, -0.0]
    found, _ = kind("float", values)
    assert found[:2] == [0.1, 0.2] and json.dumps(found[:2]) == "[0.1, 0.2]"
    assert [np.float32(v) for v in found] == [np.float32(v) for v in values]
    assert kind("half", [0.1])[0] == [0.0999756]


def test_bytes_go_through_unharmed():
    every = bytes(range(256))
    sent = {"b64": base64.b64encode(every).decode()}
    assert kind("bytes", [sent], "instances")[0] == [sent]
    raw = answer(
        KINDS, "POST", "/v1/models/kinds:predict", b'{"signature_name": "bytes", "inputs": ["\xff\xfe"]}'
    )
    assert json.loads(raw.body)["outputs"] == [{"b64": base64.b64encode(b"\xff\xfe").decode()}]
    raw = answer(
        KINDS, "POST", "/v1/models/kinds:predict", b'{"signature_name": "string", "inputs": ["\xff"]}'
    )
    assert b'["\xff"]' in raw.body
    assert kind("string", ["\ud800"])[1] == 400


def test_numbers_that_are_none_are_read_and_written():
    _, found = ask('{"instances": [NaN, Infinity, -Infinity]}')
    assert str(found["predictions"]) == "[nan, inf, -inf]"


def test_integers_too_long_for_python_are_decimals():
    assert ask('{"instances": [%s]}' % ("1" * 300))[0] == 400
    assert kind("double", [10**300])[0] == [1e300]
    assert ask('{"instances": [%s]}' % ("1" * 5000))[0] in (200, 400)


def test_outputs_without_rows_have_no_row_form():
    assert "has no shape information" in kind("scalar", [1, 2], "instances")[0]
    assert kind("scalar", [1, 2])[0] == 3.0
    assert "inconsistent batch size" in kind("uneven", [1, 2], "instances")[0]


def test_a_signature_without_inputs_says_so():
    assert "Failed to get input map for signature: none" in kind("none", [1])[0]


def test_codes_become_the_http_statuses_of_the_server():
    statuses = {
        "OK": 200,
        "INVALID_ARGUMENT": 400,
        "FAILED_PRECONDITION": 400,
        "OUT_OF_RANGE": 400,
        "NOT_FOUND": 404,
    }
    statuses |= {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "ALREADY_EXISTS": 409, "ABORTED": 409}
    statuses |= {"RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503}
    statuses |= {"DEADLINE_EXCEEDED": 504, "UNKNOWN": 500, "INTERNAL": 500, "DATA_LOSS": 500}
    assert {code: ServingError(code, "").http for code in CODES} == statuses


def test_codes_are_those_of_grpc():
    grpc = pytest.importorskip("grpc")
    assert {code.name: code.value[0] for code in grpc.StatusCode} == CODES
    assert code_of(14) == "UNAVAILABLE"


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_never_a_crash(seed):
    """Damaged bodies get an answer, and the same whole value reads as Python reads it."""
    random = np.random.default_rng(seed)
    whole = bytearray(
        b'{"signature_name": "string", "instances": [{"b64": "eHl6"}, "a\\u00fc", [1.5e3, {"k": null}]]}'
    )
    assert parse(bytes(whole)) == json.loads(whole)
    for _ in range(50):
        body = bytearray(whole)
        for place in random.integers(0, len(body), random.integers(1, 4)):
            body[place] = random.integers(256)
        reply = answer(
            KINDS, "POST", "/v1/models/kinds:predict", bytes(body[: random.integers(1, len(body) + 1)])
        )
        assert reply.status in (200, 400, 501)
        assert json.loads(reply.body.decode("utf-8", "surrogateescape"))


def test_float32_survives_json_exactly():
    bits = np.random.default_rng(0).integers(0, 2**32, 2000, dtype=np.uint64)
    values = np.array([struct.unpack("<f", struct.pack("<I", b))[0] for b in bits.tolist()], np.float32)
    values = values[np.isfinite(values)]
    found, status = kind("float", values.astype(float).tolist())
    assert status == 200 and (np.array(found, np.float32) == values).all()
