"""The engine `grpc`: TensorFlow Serving over gRPC. Needs grpcio and protobuf, not TensorFlow."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from captioner.engines.remote import messages
from captioner.engines.remote.address import Address, Options, Scheme, root_certificate
from captioner.engines.remote.base import RemoteEngine, Transport
from captioner.engines.remote.failures import LABEL, TOO_LARGE, Failure, unavailable
from captioner.errors import EngineError, MissingDependency
from captioner.signature import EXPLAIN, INPUT

_UNSAFE = re.compile(r"certificate|host ?name verification|\bSSL|\bTLS", re.I)
# Messages of gRPC itself, not of a server.
_NETWORK = re.compile(
    r"connect|socket|reset|DNS|resol|GOAWAY|stream|pipe|ping|transport|tcp|refused|shut", re.I
)


class GrpcEngine(RemoteEngine):
    """Requests captions over gRPC: `grpc://host:port/name`, encrypted with `grpcs://`.

    Example:
        >>> GrpcEngine.open("grpc://localhost")
        Traceback (most recent call last):
        ...
        captioner.errors.EngineError: expected grpc://host:port/name[/versions/N or /labels/L], got grpc://localhost
    """

    name, sources = "grpc", "grpc://host:port/name"
    schemes = {"grpc": Scheme(secure=False, port=8500), "grpcs": Scheme(secure=True, port=443)}

    @classmethod
    def connect(cls, place: Address, options: Options) -> Transport:
        """See `RemoteEngine.connect`."""
        return GrpcTransport(place, options)


class GrpcTransport(Transport):
    """Sends requests over gRPC.

    Args:
        place: Address.
        options: Options.

    Raises:
        MissingDependency: if grpcio or protobuf is not installed.
        EngineError: if the certificate that the options name cannot be read.
    """

    protocol = "gRPC"

    def __init__(self, place: Address, options: Options):
        # Its native code logs every failed connection to standard error; our exceptions tell it once.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            import grpc
        except ImportError as error:
            raise MissingDependency(error.name or "grpc", "serve", "asking a server over gRPC") from None
        self._classes = messages.message_classes()
        self._place, self._limit = place, options.max_bytes
        self._headers = [("authorization", options.authorization)] if options.authorization else []
        self._codes, self._problem = grpc.StatusCode, grpc.RpcError
        settings = [
            ("grpc.max_receive_message_length", options.max_bytes),
            ("grpc.max_send_message_length", -1),  # requests are batched by size before
            # Reconnects must come sooner than our retries, or these all fail.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A channel does not back off because another one in this process failed.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if place.secure:
            trusted = grpc.ssl_channel_credentials(root_certificate(options))
            self._channel = grpc.secure_channel(place.server, trusted, settings)
        else:
            self._channel = grpc.insecure_channel(place.server, settings)

    def status(self, left: float) -> list[tuple[int, str, str]]:
        """See `Transport.status`."""
        request = self._classes.GetModelStatusRequest(model_spec=self._spec())
        answer = self._call(messages.GET_STATUS, request, self._classes.GetModelStatusResponse, left)
        return [
            (
                version.version,
                messages.STATES.get(version.state, str(version.state)),
                version.status.error_message,
            )
            for version in answer.model_version_status
        ]

    def metadata(self, left: float) -> tuple[int | None, dict[str, Any]]:
        """See `Transport.metadata`."""
        request = self._classes.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        answer = self._call(messages.GET_METADATA, request, self._classes.GetModelMetadataResponse, left)
        packed = _parse(self._classes.SignatureDefMap, answer.metadata["signature_def"].value)
        return answer.model_spec.version.value or None, messages.signatures(packed)

    def explain(self, images: Sequence[bytes], left: float) -> tuple[Mapping[str, np.ndarray], int | None]:
        """See `Transport.explain`."""
        request = self._classes.PredictRequest(model_spec=self._spec(EXPLAIN))
        request.inputs[INPUT].CopyFrom(messages.strings(images))
        answer = self._call(messages.PREDICT, request, self._classes.PredictResponse, left)
        try:
            outputs = {name: messages.array(tensor) for name, tensor in answer.outputs.items()}
        except EngineError as error:
            raise Failure("foreign", f"the answer cannot be used: {error}") from None
        return outputs, answer.model_spec.version.value or None

    def encoded_size(self, image: bytes) -> int:
        """See `Transport.encoded_size`."""
        return len(image)

    def close(self) -> None:
        """See `Transport.close`."""
        self._channel.close()

    def _spec(self, signature: str = "") -> Any:
        """The `ModelSpec` message of the address."""
        spec = self._classes.ModelSpec(name=self._place.model, signature_name=signature)
        if self._place.version is not None:
            spec.version.value = self._place.version
        elif self._place.label is not None:
            spec.version_label = self._place.label
        return spec

    def _call(self, path: str, request: Any, answer: Any, left: float) -> Any:
        """The response, a message of the class `answer`."""
        try:
            data = self._channel.unary_unary(path)(
                request.SerializeToString(), timeout=left, metadata=self._headers
            )
        except self._problem as error:
            raise self._failure(error.code(), error.details() or "") from None
        except ValueError:  # of a closed channel
            raise Failure("failed", "the connection was closed meanwhile") from None
        return _parse(answer, data)

    def _failure(self, code: Any, detail: str) -> Failure:
        codes, unsafe = self._codes, _UNSAFE.search(detail)
        kinds = {
            codes.UNAVAILABLE: unavailable(
                detail, "away" if _NETWORK.search(detail) or not detail else "busy"
            ),
            codes.RESOURCE_EXHAUSTED: unavailable(detail, "busy"),
            codes.DEADLINE_EXCEEDED: "time",
            codes.NOT_FOUND: "missing",
            codes.UNAUTHENTICATED: "tls" if unsafe else "denied",  # "does not match SSL server name"
            codes.PERMISSION_DENIED: "denied",
            codes.UNIMPLEMENTED: "foreign",
        }
        kind = "large" if TOO_LARGE.search(detail) else kinds.get(code, "failed")
        if code is codes.UNAVAILABLE and unsafe:
            kind = "tls"
        if LABEL in detail:
            kind = "label"
        if "Serving signature" in detail:  # that there is none of that name
            kind = "foreign"
        return Failure(kind, f"{code.name}: {detail}")


def _parse(message_class: Any, data: bytes) -> Any:
    """A message of the class; a `Failure` if the bytes are none."""
    from google.protobuf.message import DecodeError

    try:
        return message_class.FromString(data)
    except DecodeError:
        raise Failure("foreign", f"the answer is no {message_class.DESCRIPTOR.name} message") from None
