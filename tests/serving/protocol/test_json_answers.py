"""Arrays to JSON."""

import base64
import json
import struct

import numpy as np

from serving.http.rest import answer
from tests.support.serving.rest_requests import ECHO, ask, echo


def test_row_and_column_format():
    assert list(ask({"instances": [4]})[1]) == ["predictions"]
    assert list(ask({"inputs": [4]})[1]) == ["outputs"]


def test_floats_have_the_shortest_digits():
    values = [0.1, 0.2, 1 / 3, 1e-7, 16777215, 3.4028234663852886e38, -0.0]
    values_read, _ = echo("float", values)
    assert values_read[:2] == [0.1, 0.2] and json.dumps(values_read[:2]) == "[0.1, 0.2]"
    assert [np.float32(v) for v in values_read] == [np.float32(v) for v in values]
    assert echo("half", [0.1])[0] == [0.0999756]


def test_scalar_outputs_have_no_row_format():
    assert "has no shape information" in echo("scalar", [1, 2], "instances")[0]
    assert echo("scalar", [1, 2])[0] == 3.0
    assert "inconsistent batch size" in echo("uneven", [1, 2], "instances")[0]


def test_float32_survives_json_exactly():
    bits = np.random.default_rng(0).integers(0, 2**32, 2000, dtype=np.uint64)
    values = np.array([struct.unpack("<f", struct.pack("<I", b))[0] for b in bits.tolist()], np.float32)
    values = values[np.isfinite(values)]
    values_read, status = echo("float", values.astype(float).tolist())
    assert status == 200 and (np.array(values_read, np.float32) == values).all()


def test_bytes_round_trip():
    every = bytes(range(256))
    sent = {"b64": base64.b64encode(every).decode()}
    assert echo("bytes", [sent], "instances")[0] == [sent]
    raw = answer(
        ECHO, "POST", "/v1/models/echo:predict", b'{"signature_name": "bytes", "inputs": ["\xff\xfe"]}'
    )
    assert json.loads(raw.body)["outputs"] == [{"b64": base64.b64encode(b"\xff\xfe").decode()}]
    raw = answer(ECHO, "POST", "/v1/models/echo:predict", b'{"signature_name": "string", "inputs": ["\xff"]}')
    assert b'["\xff"]' in raw.body
    assert echo("string", ["\ud800"])[1] == 400
