"""Warm-up requests, in the file that TensorFlow Serving replays before it calls a version available.

The file is a TFRecord of `PredictionLog` messages. Every set of outputs that is asked for is an executor of its own in
the server, seconds the first time, so each signature has its requests here, and so has each `output_filter` of clients
that we write. Another batch size is no new executor; the largest is there for the memory that it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from captioner.engines.remote import messages as proto
from captioner.signature import INPUT, SERVING_DEFAULT, SIGNATURES

FILE = "tf_serving_warmup_requests"
# The server refuses a version with more.
MOST = 1000
# What clients over gRPC ask for in `output_filter`: that of serving/examples/grpc_client.py, and the sentence alone.
FILTERS = {SERVING_DEFAULT: (("caption", "error"), ("caption",))}
# So many batch sizes fit.
MOST_SIZES = (MOST - sum(map(len, FILTERS.values()))) // len(SIGNATURES)


def write(folder: Path, name: str, batch_sizes: Sequence[int], image: bytes) -> Path:
    """Writes requests for every signature and batch size, and for every filter of outputs.

    Args:
        folder: Path. The `assets.extra` of a version.
        name: str. What the model is called.
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
    """A `PredictionLog` on the wire; only some outputs if there are any."""
    message = proto.messages()
    spec = message.ModelSpec(name=name, signature_name=signature)
    request = message.PredictRequest(model_spec=spec, inputs={INPUT: proto.strings(images)})
    request.output_filter.extend(outputs)
    log = message.PredictionLog(predict_log=message.PredictLog(request=request))
    return log.SerializeToString()
