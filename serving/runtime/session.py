"""Runs a SavedModel the way TensorFlow Serving does: in a session, with tensors fetched by name.

`tf.saved_model.load` would be shorter, but accepts more: there are exports that it runs and the server does not, and
the server computes only the outputs that a request asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import DataError
from serving.protocol.json_tensors import Spec
from serving.protocol.predict import Call, Signature, Version, predict_on
from serving.protocol.status import ServingError, code_of, invalid

WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
_TAG = "serve"
_MOST_CALLABLES = 16  # executors kept for inputs whose shapes the signature does not allow


class SessionVersion(Version):
    """A SavedModel in a session of its own.

    Args:
        folder: Path of the version.
        number: int.

    Raises:
        ServingError: if it cannot be loaded.
    """

    def __init__(self, folder: Path, number: int):
        import tensorflow as tf

        self.number, self._tf = number, tf
        self._callables: dict[tuple[str, ...], Any] = {}
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [_TAG], str(folder))
        except Exception as error:  # a damaged file can make it raise nearly anything
            self._session.close()
            raise self._error(error) from None
        self.metadata = dict(meta_graph.signature_def)
        self.signatures = {
            key: Signature(self._specs(definition.inputs), self._specs(definition.outputs))
            for key, definition in self.metadata.items()
        }

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        """See `Version.run`."""
        definition, specs = self.metadata[signature], self.signatures[signature].outputs
        if any(specs[name].dtype == "invalid" for name in outputs):  # the initialisation of the model
            raise invalid(f'the signature "{signature}" has no outputs that are tensors')
        feed = {definition.inputs[name].name: array for name, array in inputs.items()}
        fetches = {name: definition.outputs[name].name for name in outputs}
        try:
            if all(
                _shape_allowed(spec, inputs[name]) for name, spec in self.signatures[signature].inputs.items()
            ):
                options = None
                if timeout is not None:
                    options = self._tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(timeout * 1000)))
                values = self._session.run(fetches, feed, options=options)
            else:
                values = dict(zip(fetches, self._run_any_shape(feed, list(fetches.values())), strict=True))
        except (self._tf.errors.OpError, ValueError, TypeError, RuntimeError) as error:
            raise self._error(error) from None
        return {name: np.asarray(value, specs[name].numpy) for name, value in values.items()}

    def close(self) -> None:
        """See `Version.close`."""
        self._callables.clear()
        self._session.close()

    def _run_any_shape(self, feed: Mapping[str, np.ndarray], fetches: list[str]) -> list[Any]:
        """Runs inputs whose shapes the signature does not allow: Python refuses them, the server does not."""
        from tensorflow.core.protobuf.config_pb2 import CallableOptions

        key = (*feed, "", *fetches)
        run = self._callables.get(key)
        if run is None:  # takes seconds: each has an executor of its own
            run = self._session._make_callable_from_options(CallableOptions(feed=list(feed), fetch=fetches))
            if len(self._callables) < _MOST_CALLABLES:
                self._callables[key] = run
        return run(*feed.values())

    def _specs(self, infos: Mapping[str, Any]) -> dict[str, Spec]:
        return {
            name: Spec(self._dtype(info.dtype), _shape(info.tensor_shape)) for name, info in infos.items()
        }

    def _dtype(self, number: int) -> str:
        if number == 0:
            return "invalid"
        name = self._tf.dtypes.as_dtype(number).name
        # The names that messages, and so `Spec`, use.
        return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)

    def _error(self, error: Exception) -> ServingError:
        if not isinstance(error, self._tf.errors.OpError):
            return invalid(" ".join(str(error).split()) or type(error).__name__)
        # Without the traceback of the program that built the graph.
        message = error.message.split("\n\nOriginal stack trace for")[0]
        return ServingError(code_of(error.error_code), message)


def warm_up(version: Version, folder: Path) -> int:
    """Replays the warm-up requests that are stored with a version, as TensorFlow Serving does.

    Args:
        version: `Version`.
        folder: Path of the version.

    Returns:
        int: the number of requests.

    Raises:
        ServingError: if one fails, or the file is damaged.
    """
    if not (folder / WARM_UP).is_file():
        return 0
    from google.protobuf.message import DecodeError

    from captioner.engines.remote.messages import message_classes
    from captioner.tfrecord import read_records
    from serving.protocol.tensor_proto import arrays_of

    count = 0
    try:
        records = [record.content for record in read_records(folder / WARM_UP)]
    except DataError as error:
        raise ServingError("DATA_LOSS", str(error)) from None
    for record in records:
        try:
            log = message_classes().PredictionLog.FromString(record)
        except DecodeError:
            raise ServingError("DATA_LOSS", f"warm-up request {count + 1} is damaged") from None
        if not log.HasField("predict_log"):
            continue
        request = log.predict_log.request
        call = Call(
            request.model_spec.name,
            arrays_of(request.inputs),
            signature=request.model_spec.signature_name,
            outputs=list(request.output_filter),
        )
        try:
            predict_on(version, call)
        except ServingError as error:
            raise ServingError(error.code, f"warm-up request {count + 1}: {error.message}") from None
        count += 1
    return count


def _shape_allowed(spec: Spec, array: np.ndarray) -> bool:
    """Whether an array has a shape that the signature allows."""
    if spec.shape is None:
        return True
    return len(spec.shape) == array.ndim and all(
        size in (-1, length) for size, length in zip(spec.shape, array.shape, strict=True)
    )


def _shape(shape: Any) -> tuple[int, ...] | None:
    return None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
