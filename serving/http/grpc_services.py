"""TensorFlow Serving's gRPC services: PredictionService.Predict and GetModelMetadata, ModelService.GetModelStatus."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Its C core writes to standard error by itself otherwise.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from captioner.engines.remote.messages import GET_METADATA, GET_STATUS, PREDICT, STATES, message_classes
from captioner.errors import EngineError
from serving.protocol.predict import Call, Models, client_disconnected, predict
from serving.protocol.status import CODES, ServingError, invalid
from serving.protocol.tensor_proto import arrays_of, tensor_of
from serving.runtime import log
from serving.runtime.admission import AdmissionControl
from serving.runtime.metrics import Metrics

_SPARE_THREADS = 8  # for requests that are rejected or only ask for states
_STATE_NUMBERS = {name: number for number, name in STATES.items()}
_STATUS = {code.name: code for code in grpc.StatusCode}


class GrpcServer:
    """The gRPC server. The port is taken at once; requests are answered from `start` on.

    Args:
        models: callable that returns `Models`: they may be loaded later.
        address: str, "host:port"; port 0 for any.
        admission: `AdmissionControl`.
        metrics: `Metrics`.
        max_message: int. Bytes of a request.

    Raises:
        EngineError: if the port is in use.
    """

    def __init__(
        self,
        models: Callable[[], Models],
        address: str,
        admission: AdmissionControl,
        metrics: Metrics,
        max_message: int,
    ):
        self._models, self._admission, self._metrics = models, admission, metrics
        self._max_message = max_message
        options = [
            ("grpc.max_receive_message_length", max_message),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # otherwise two servers may share a port silently
        ]
        threads = admission.limit + _SPARE_THREADS
        self._server = grpc.server(
            ThreadPoolExecutor(threads, "grpc"), options=options, maximum_concurrent_rpcs=threads
        )
        kinds = message_classes()
        for path, work, request, response in (
            (PREDICT, self._predict, kinds.PredictRequest, kinds.PredictResponse),
            (GET_METADATA, self._metadata, kinds.GetModelMetadataRequest, kinds.GetModelMetadataResponse),
            (GET_STATUS, self._status, kinds.GetModelStatusRequest, kinds.GetModelStatusResponse),
        ):
            _, service, method = path.split("/")
            handler = grpc.unary_unary_rpc_method_handler(
                self._wrapped(work, method), request.FromString, response.SerializeToString
            )
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {method: handler}),)
            )
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise EngineError(
                f"cannot listen on {address} for gRPC: the port is in use, or not ours to take; "
                "give another --port"
            )

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self, seconds: float) -> None:
        """Accepts no more requests and waits for running ones, at most `seconds`."""
        self._server.stop(seconds).wait(seconds + 5)

    def _wrapped(self, work: Callable[..., Any], method: str) -> Callable[[Any, Any], Any]:
        """Adds what all methods share: errors as status codes, metrics, a line in the log."""

        def handle(request: Any, context: Any) -> Any:
            start, code, reason = time.perf_counter(), "OK", None
            about: dict[str, Any] = {}
            try:
                return work(request, context, about)
            except ServingError as error:
                code, reason = error.code, error.short
            except Exception as error:  # a bug must not leak its details
                log.event(
                    "bug", "error", error=f"{type(error).__name__}: {error}"[:500], method=method.lower()
                )
                code, reason = "INTERNAL", "the server failed; its log says how"
            finally:
                seconds = time.perf_counter() - start
                self._metrics.record_request("grpc", method.lower(), code, seconds)
                level = "info" if code == "OK" else "warning"
                about |= {"api": "grpc", "method": method.lower(), "code": code, "error": reason}
                log.event("request", level, ms=round(seconds * 1000, 1), **about)
            context.abort(_STATUS[code] if code in CODES else grpc.StatusCode.UNKNOWN, reason or "")
            raise AssertionError  # abort has raised

        return handle

    def _predict(self, request: Any, context: Any, about: dict[str, Any]) -> Any:
        name, version, label = _spec(request)
        about |= {"model": name, "bytes": request.ByteSize()}
        _check_name(name)
        with self._admission.admit(), _cancelled_when(lambda: not context.is_active()):
            inputs = arrays_of(request.inputs, self._max_message)
            answer = predict(
                self._models(),
                Call(
                    name,
                    inputs,
                    version,
                    label,
                    request.model_spec.signature_name,
                    list(request.output_filter),
                    context.time_remaining(),
                ),
            )
        about |= {"version": answer.version, "signature": answer.signature}
        response = message_classes().PredictResponse()
        _answer_spec(response.model_spec, name, answer.version, answer.signature)
        for key, array in answer.outputs.items():
            response.outputs[key].CopyFrom(tensor_of(array))
        return response

    def _metadata(self, request: Any, context: Any, about: dict[str, Any]) -> Any:
        name, version, label = _spec(request)
        about["model"] = name
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name_of_field in request.metadata_field:
            if name_of_field != "signature_def":
                raise invalid(f"Metadata field {name_of_field} is not supported")
        _check_name(name)
        response = message_classes().GetModelMetadataResponse()
        with self._models().use(name, version, label) as servable:
            signatures = message_classes().SignatureDefMap()
            for key, definition in (servable.metadata or {}).items():
                # Fields that our message does not declare are preserved.
                signatures.signature_def[key].MergeFromString(definition.SerializeToString())
            _answer_spec(response.model_spec, name, servable.number, "")
        field = response.metadata["signature_def"]
        field.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        field.value = signatures.SerializeToString()
        return response

    def _status(self, request: Any, context: Any, about: dict[str, Any]) -> Any:
        name, version, _ = _spec(request)
        about["model"] = name
        response = message_classes().GetModelStatusResponse()
        for state in self._models().states(name, version):
            row = response.model_version_status.add(version=state.version, state=_STATE_NUMBERS[state.state])
            row.status.error_code = CODES[state.code]
            row.status.error_message = state.message
        return response


def _spec(request: Any) -> tuple[str, int | None, str | None]:
    """Which model, version and label a request asks for."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


def _check_name(name: str) -> None:
    if not name:
        raise invalid("ModelSpec has no name specified.")


@contextlib.contextmanager
def _cancelled_when(disconnected: Callable[[], bool]) -> Iterator[None]:
    """Lets the model run be skipped if the client has disconnected by then."""
    token = client_disconnected.set(disconnected)
    try:
        yield
    finally:
        client_disconnected.reset(token)


def _answer_spec(spec: Any, name: str, version: int, signature: str) -> None:
    spec.name, spec.signature_name = name, signature
    spec.version.value = version
