"""JSON to arrays: types, ranges, base64 and named inputs."""

import pytest

from tests.support.serving.rest_requests import echo


def test_several_inputs_and_outputs():
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": {"b64": "eQ=="}}]
    assert echo("many", rows, "instances")[0] == [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}]
    assert echo("many", {"a": [1, 2], "b": ["x", "y"]})[0] == {"a": [1.0, 2.0], "b": ["x", "y"]}
    assert "list of objects" in echo("many", [1, 2], "instances")[0]
    assert "expecting an object" in echo("many", [1, 2])[0]
    assert "keys must be equal to: a,b" in echo("many", [{"a": 1}], "instances")[0]
    # A lone b64 object passes for a plain value, and then an input is missing.
    error, status = echo("many", [{"b64": "eQ=="}], "instances")
    assert status == 400 and "float" in error


@pytest.mark.parametrize("text", ["eHl6IQ==", "eHl6IQ", "eHl6\nIQ==", " eHl6IQ = = "])
def test_base64_without_padding_or_with_spaces(text):
    assert echo("string", [{"b64": text}])[0] == ["xyz!"]


@pytest.mark.parametrize("value", [{"b64": "_-8="}, {"b64": "a"}, {"b64": "eHl6IQ="}, {"b64": "%%"}])
def test_invalid_base64(value):
    assert echo("string", [value]) == ("Unable to base64 decode", 400)


@pytest.mark.parametrize("value", [{"b64": "eA==", "x": 1}, {"b64": 3}, {"B64": "eA=="}])
def test_base64_object_has_one_key(value):
    error, status = echo("string", [value])
    assert status == 400 and "not formatted correctly for base64 data" in error


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
def test_ranges_of_types(signature, good, bad):
    assert echo(signature, good) == (good, 200)
    assert echo(signature, [bad])[1] == 400


def test_small_integers_wrap_around():
    assert echo("uint8", [255, 256, -1])[0] == [255, 0, 255]


def test_unsupported_types():
    assert echo("odd", [1])[1] == 501


def test_signature_without_inputs():
    assert "Failed to get input map for signature: none" in echo("none", [1])[0]
