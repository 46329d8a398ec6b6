"""Warm-up requests, as exports bring them along, replayed on models that are functions of NumPy."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support.serving_models import Line

pytest.importorskip("google.protobuf")

from captioner.engines.remote import messages as proto
from serving.protocol.status import ServingError
from serving.protocol.tensor_proto import tensor_of
from serving.runtime.session import WARM_UP, warm_up


def field(number, content):
    """A message in a field of a message."""
    length, rest = b"", len(content)
    while rest > 127:
        length, rest = length + bytes([rest & 127 | 128]), rest >> 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + content


def log(values, signature="serving_default", outputs=()):
    """A PredictionLog, with a field before and one after that are of no interest."""
    kinds = proto.messages()
    request = kinds.PredictRequest(model_spec=kinds.ModelSpec(name="any", signature_name=signature))
    request.inputs["x"].CopyFrom(tensor_of(np.array(values, np.float32)))
    request.output_filter.extend(outputs)
    return field(1, b"metadata") + field(6, field(1, request.SerializeToString())) + b"\x58\x01"


def write(folder, *logs):
    path = folder / WARM_UP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as file:
        for each in logs:
            file.write(each)
    return path


def test_every_request_is_replayed(tmp_path):
    version = Line(1, 0.5)
    assert warm_up(version, tmp_path) == 0
    write(tmp_path, log([1.0]), log([1.0] * 200), log([3.0, 4.0], outputs=["y"]))
    assert warm_up(version, tmp_path) == 3 and version.rows == [1, 200, 2]


@pytest.mark.parametrize(
    "bad, message",
    [
        (log([13.0]), "warm-up request 2: 13 is unlucky"),
        (log([1.0], signature="no"), 'warm-up request 2: Serving signature key "no" not found.'),
        (log([1.0], outputs=["z"]), "warm-up request 2: output tensor alias not found"),
    ],
)
def test_one_that_fails_is_a_version_that_fails(tmp_path, bad, message):
    write(tmp_path, log([1.0]), bad)
    with pytest.raises(ServingError, match=message.replace("(", r"\(")):
        warm_up(Line(1, 0.5), tmp_path)


@pytest.mark.parametrize("keep", [5, 13, 30, -1])
def test_a_file_that_ends_too_early_is_told(tmp_path, keep):
    path = write(tmp_path, log([1.0]))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ServingError, match="expected whole TFRecords, got one that is damaged or cut off at byte 0"
    ):
        warm_up(Line(1, 0.5), tmp_path)


def test_noise_in_it_is_no_crash(tmp_path):
    whole = log([1.0, 2.0])
    path = write(tmp_path, whole)
    random = np.random.default_rng(0)
    for _ in range(300):
        noisy = bytearray(whole)
        for place in random.integers(0, len(noisy), 2):
            noisy[place] = random.integers(256)
        with tf.io.TFRecordWriter(str(path)) as file:
            file.write(bytes(noisy))
        with contextlib.suppress(ServingError):
            warm_up(Line(1, 0.5), tmp_path)
