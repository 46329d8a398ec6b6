"""Warm-up requests, replayed on NumPy models; shapes that a signature does not allow."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support.serving_models import LinearVersion, write_linear_model

pytest.importorskip("google.protobuf")
from captioner.engines.remote import messages
from serving.protocol.status import ServingError
from serving.protocol.tensor_proto import tensor_of
from serving.runtime.session import WARM_UP, warm_up


def field(number, content):
    """A message in a field of a message."""
    varint, rest = b"", len(content)
    while rest > 127:
        varint, rest = varint + bytes([rest & 127 | 128]), rest >> 7
    return bytes([number << 3 | 2]) + varint + bytes([rest]) + content


def log(values, signature="serving_default", outputs=()):
    """A serialized PredictionLog, with other fields before and after the request."""
    kinds = messages.message_classes()
    request = kinds.PredictRequest(model_spec=kinds.ModelSpec(name="any", signature_name=signature))
    request.inputs["x"].CopyFrom(tensor_of(np.array(values, np.float32)))
    request.output_filter.extend(outputs)
    return field(1, b"metadata") + field(6, field(1, request.SerializeToString())) + b"\x58\x01"


def write(folder, *logs):
    path = folder / WARM_UP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as file:
        for data in logs:
            file.write(data)
    return path


def test_every_request_is_replayed(tmp_path):
    version = LinearVersion(1, 0.5)
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
def test_failing_request_fails_the_version(tmp_path, bad, message):
    write(tmp_path, log([1.0]), bad)
    with pytest.raises(ServingError, match=message.replace("(", r"\(")):
        warm_up(LinearVersion(1, 0.5), tmp_path)


@pytest.mark.parametrize("keep", [5, 13, 30, -1])
def test_truncated_file(tmp_path, keep):
    path = write(tmp_path, log([1.0]))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ServingError, match="expected whole TFRecords, got one that is damaged or cut off at byte 0"
    ):
        warm_up(LinearVersion(1, 0.5), tmp_path)


def test_damaged_requests_do_not_crash(tmp_path):
    valid = log([1.0, 2.0])
    path = write(tmp_path, valid)
    random = np.random.default_rng(0)
    for _ in range(300):
        noisy = bytearray(valid)
        for index in random.integers(0, len(noisy), 2):
            noisy[index] = random.integers(256)
        with tf.io.TFRecordWriter(str(path)) as file:
            file.write(bytes(noisy))
        with contextlib.suppress(ServingError):
            warm_up(LinearVersion(1, 0.5), tmp_path)


def test_other_shapes_cost_an_executor_once(tmp_path, monkeypatch):
    from serving.runtime.session import SessionVersion

    version = SessionVersion(write_linear_model(tmp_path / "1", 0.5), 1)
    created, create = [], version._session._make_callable_from_options
    monkeypatch.setattr(
        version._session,
        "_make_callable_from_options",
        lambda options: created.append(options) or create(options),
    )
    for value in (4, 8):
        outputs = version.run("serving_default", {"x": np.full((1, 1), value, np.float32)}, ["y"], None)
        assert outputs["y"].tolist() == [[value / 2 + 2]]
    assert len(created) == 1
    # The signature that initialises a model has an output that is not a tensor; clients may request it.
    (name,) = set(version.signatures) - {"serving_default"}
    with pytest.raises(ServingError, match="has no outputs that are tensors") as caught:
        version.run(name, {}, list(version.signatures[name].outputs), None)
    assert caught.value.code == "INVALID_ARGUMENT"
    version.close()
