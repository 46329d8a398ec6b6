"""Warm-up requests, in the file that TensorFlow Serving replays before it reports a version as available.

The file is a TFRecord of `PredictionLog` messages. The server builds one executor for every requested set of outputs,
which takes seconds the first time, so there are requests for each signature and for each `output_filter` of our
clients. Another batch size needs no new executor; the largest one allocates its memory here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from captioner.engines.remote import messages
from captioner.signature import INPUT, SERVING_DEFAULT, SIGNATURES

FILE = "tf_serving_warmup_requests"
# TensorFlow Serving refuses a version with more requests.
MAX_REQUESTS = 1000
# The `output_filter` of gRPC clients: that of serving/examples/grpc_client.py, and the sentence alone.
FILTERS = {SERVING_DEFAULT: (("caption", "error"), ("caption",))}
# As many batch sizes as fit.
MAX_BATCH_SIZES = (MAX_REQUESTS - sum(map(len, FILTERS.values()))) // len(SIGNATURES)


def write(folder: Path, name: str, batch_sizes: Sequence[int], image: bytes) -> Path:
    """Writes requests for every signature and batch size, and for every filter of outputs.

    Args:
        folder: Path. The `assets.extra` of a version.
        name: str. The name of the model.
        batch_sizes: sequence of int, each 1 or more.
        image: bytes. An encoded image.

    Returns:
        Path of the file.
    """
    path = folder / FILE
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature in SIGNATURES:
            for size in batch_sizes:
                file.write(_log(name, signature, [image] * size))
            for outputs in FILTERS.get(signature, ()):
                file.write(_log(name, signature, [image] * min(batch_sizes), outputs))
    return path


def _log(name: str, signature: str, images: Sequence[bytes], outputs: Sequence[str] = ()) -> bytes:
    """A serialized `PredictionLog`; `outputs` are its `output_filter`."""
    classes = messages.message_classes()
    spec = classes.ModelSpec(name=name, signature_name=signature)
    request = classes.PredictRequest(model_spec=spec, inputs={INPUT: messages.strings(images)})
    request.output_filter.extend(outputs)
    log = classes.PredictionLog(predict_log=classes.PredictLog(request=request))
    return log.SerializeToString()
