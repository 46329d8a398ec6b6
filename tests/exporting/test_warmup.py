"""Warm-up requests, read back with the official stubs."""

import re
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from captioner.exporting import warmup
from captioner.image import pillow_preprocess
from captioner.signature import SIGNATURES


@pytest.mark.parametrize("length", [0, 1, 100, 20_000, 3_000_000])
def test_a_log_is_what_the_official_stubs_read(length):
    images = [bytes(length), b"x" * length, b"third"]
    log = prediction_log_pb2.PredictionLog.FromString(warmup._log("dogs", "explain", images))
    assert log.WhichOneof("log_type") == "predict_log" and log.ByteSize() > 2 * length
    request = log.predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("dogs", "explain")
    assert tf.make_ndarray(request.inputs["image_bytes"]).tolist() == images
    assert len(request.inputs) == 1 and not request.output_filter


def test_the_file_holds_every_signature_and_size(tmp_path):
    image = pillow_preprocess.drawn((20, 30))
    assert tf.io.decode_image(image).shape == (20, 30, 3)
    path = warmup.write(tmp_path, "dogs", [1, 4], image)
    assert path.name == "tf_serving_warmup_requests"
    requests = []
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        images = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
        assert set(images) == {image}
        requests.append((request.model_spec.signature_name, len(images), tuple(request.output_filter)))
    filters = [(name, 1, outputs) for name in warmup.FILTERS for outputs in warmup.FILTERS[name]]
    assert sorted(requests) == sorted([(name, size, ()) for name in SIGNATURES for size in (1, 4)] + filters)


def test_output_filters_of_clients_are_warmed_up():
    example = Path(__file__).parents[2] / "serving/examples/grpc_client.py"
    asked = tuple(re.findall(r'field\(3, b"(\w+)"\)', example.read_text(encoding="utf-8")))
    assert asked == ("caption", "error") and asked in warmup.FILTERS["serving_default"]
    for name, filters in warmup.FILTERS.items():
        assert all(set(outputs) < set(SIGNATURES[name]) for outputs in filters)
