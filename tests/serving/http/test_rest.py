"""The REST interface as a function: routes and bodies.

The rules are those observed on TensorFlow Serving 2.20; `test_server.py` compares the server with recorded answers.
"""

import pytest

from serving.http.rest import answer
from tests.support.serving.rest_requests import HPT, PREDICT, ask

# Method, path, body; the expected status, and the predictions or a part of the error.
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
    # The path matches in any case; method and parts of a model are case-sensitive.
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
    "method, target, body, status, expected", ROUTES, ids=[f"{r[0]} {r[1]}" for r in ROUTES]
)
def test_routes(method, target, body, status, expected):
    actual, document = ask(body, target, method=method)
    assert actual == status
    if status == 200:
        assert expected is None or document["predictions"] == expected
    else:
        assert list(document) == ["error"] and expected in document["error"]


def test_states_newest_first_versions_as_strings():
    _, document = ask("", "/v1/models/hpt", method="GET")
    rows = document["model_version_status"]
    assert [row["version"] for row in rows] == ["2", "1"]
    assert rows[0] == {
        "version": "2",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


def test_metadata_in_upper_case_is_the_status():
    assert ask("", "/v1/models/hpt/METADATA", method="GET") == ask("", "/v1/models/hpt", method="GET")
    assert list(ask("", "/v1/models/hpt/metadata", method="GET")[1]) == ["model_spec", "metadata"]


def test_version_beyond_int64_has_an_empty_answer():
    for digits in ("9223372036854775808", "9" * 5000):
        reply = answer(HPT, "GET", f"/v1/models/hpt/versions/{digits}", b"")
        assert (reply.status, reply.body) == (400, b"")
    assert ask("", "/v1/models/hpt/versions/9223372036854775807", method="GET")[0] == 404


def test_outside_v1_is_not_found():
    for target in ("/", "/v2/health/ready", "/v1", "/monitoring"):
        reply = answer(HPT, "GET", target, b"")
        assert reply.status == 404 and reply.headers["Content-Type"] == "text/html"


def test_head_and_options_have_no_body():
    assert answer(HPT, "HEAD", "/v1/models/hpt", b"").body == b""
    reply = answer(HPT, "OPTIONS", PREDICT, b"")
    assert (reply.status, reply.body, reply.headers["Content-Type"][:9]) == (400, b"", "text/html")
    # CORS preflight requests.
    for origin, status in (("https://example.org", 200), ("http://localhost:3000", 200), ("null", 400)):
        reply = answer(HPT, "OPTIONS", PREDICT, b"", origin=origin)
        assert (reply.status, reply.body) == (status, b"") and list(reply.headers) == ["Content-Type"]


# A body, and the predictions it leads to (200) or a part of the error (400).
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


@pytest.mark.parametrize("body, expected", BODIES, ids=[str(b)[:60] for b, _ in BODIES])
def test_bodies(body, expected):
    status, document = ask(body)
    if isinstance(expected, str):
        assert status == 400 and expected in document["error"]
    else:
        assert status == 200 and next(iter(document.values())) == expected
