"""A fake TensorFlow Serving over gRPC and REST.

`World` (of `fake_model.py`) decides what is answered and which faults are injected; the servers only speak.
"""

import base64
import contextlib
import json
import os
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np

from captioner.engines.remote import messages
from tests.support.fake_model import NoSignature, Refusal, World, expected, outputs

__all__ = ["SERVERS", "NoSignature", "Refusal", "Relay", "World", "expected", "outputs"]

# Requests to these servers must not go through a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
CODES |= {
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


# gRPC


def tensor_of(array):
    """A tensor message, with numbers in the typed fields, as the server writes them."""
    shape = messages.message_classes().TensorShape(
        dim=[messages.message_classes().Dim(size=size) for size in array.shape]
    )
    number, field = {
        "f": (1, "float_val"),
        "i": (3, "int_val"),
        "O": (7, "string_val"),
        "b": (10, "bool_val"),
    }[array.dtype.kind]
    return messages.message_classes().Tensor(
        dtype=number, tensor_shape=shape, **{field: array.ravel().tolist()}
    )


class GrpcServer:
    """A `World` over gRPC."""

    scheme = "grpc"

    def __init__(self, world, port=0, credentials=None):
        import grpc

        self.world, self.grpc = world, grpc
        self._pool = ThreadPoolExecutor(16)
        self._server = grpc.server(
            self._pool, options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        )
        classes = messages.message_classes()
        for path, method, request in (
            (messages.PREDICT, self._predict, classes.PredictRequest),
            (messages.GET_STATUS, self._status, classes.GetModelStatusRequest),
            (messages.GET_METADATA, self._metadata, classes.GetModelMetadataRequest),
        ):
            _, service, name = path.split("/")
            handler = grpc.unary_unary_rpc_method_handler(
                self._guarded(method), request.FromString, lambda answer: answer.SerializeToString()
            )
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(service, {name: handler})]
            )
        address = f"127.0.0.1:{port}"
        self.port = (
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
        )
        self._server.start()

    def close(self):
        self.world.closed.set()
        self._server.stop(0).wait()
        self._pool.shutdown(wait=False)

    def _guarded(self, method):
        def answer(request, context):
            try:
                headers = dict(context.invocation_metadata())
                self.world.check(request.model_spec.name, headers.get("authorization"))
                return method(request)
            except Refusal as refusal:
                context.abort(getattr(self.grpc.StatusCode, CODES[refusal.status]), refusal.words)
            except NoSignature as name:
                code = self.grpc.StatusCode.FAILED_PRECONDITION
                context.abort(code, f'Serving signature key "{name}" not found.')

        return answer

    def _version(self, spec):
        number = spec.version.value if spec.HasField("version") else None
        return self.world.version(number, spec.version_label or None)

    def _predict(self, request):
        spec = request.model_spec
        version = self._version(spec)
        images = messages.array(request.inputs["image_bytes"]).tolist()
        arrays = self.world.predict(spec.signature_name or "serving_default", images)
        answer = messages.message_classes().PredictResponse()
        for name, array in arrays.items():
            if request.output_filter and name not in request.output_filter:
                continue
            answer.outputs[name].CopyFrom(tensor_of(array))
        answer.model_spec.name, answer.model_spec.version.value = spec.name, version
        return answer

    def _status(self, request):
        spec = request.model_spec
        answer = messages.message_classes().GetModelStatusResponse()
        numbers = {name: number for number, name in messages.STATES.items()}
        for version, state, message in self.world.status(
            spec.version.value if spec.HasField("version") else None
        ):
            row = answer.model_version_status.add(version=version, state=numbers[state])
            row.status.error_message = message
        return answer

    def _metadata(self, request):
        assert list(request.metadata_field) == ["signature_def"]
        answer, signatures = (
            messages.message_classes().GetModelMetadataResponse(),
            messages.message_classes().SignatureDefMap(),
        )
        answer.model_spec.version.value = self._version(request.model_spec)
        for name, names in {"__saved_model_init_op": ["NoOp"], **self.world.signatures}.items():
            signatures.signature_def[name].inputs["image_bytes"].dtype = 7
            for output in names:
                signatures.signature_def[name].outputs[output].dtype = 1
        answer.metadata["signature_def"].value = signatures.SerializeToString()
        return answer


# REST


class RestServer:
    """A `World` over REST, with keep-alive."""

    scheme = "http"

    def __init__(self, world, port=0, context=None):
        self.world = world

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                self._answer(None)

            def do_POST(self):
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_):
                pass

            def _answer(self, body):
                try:
                    status, answer = (
                        200,
                        rest_answer(world, self.path, body, self.headers.get("Authorization")),
                    )
                except Refusal as refusal:
                    status, answer = refusal.status, {"error": refusal.words}
                except NoSignature as name:
                    words = f'Serving signature name: "{name}" not found in signature def'
                    status, answer = 400, {"error": words}
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.world.closed.set()
        self._server.shutdown()
        self._server.server_close()


def rest_answer(world, path, body, authorization):
    """The answer of the REST server, in the row format of TensorFlow Serving."""
    assert path.startswith("/v1/models/")
    path, _, verb = path.removeprefix("/v1/models/").partition(":")
    metadata = path.endswith("/metadata")
    name, *which = path.removesuffix("/metadata").split("/")
    world.check(unquote(name), authorization)
    number = int(which[1]) if which and which[0] == "versions" else None
    label = unquote(which[1]) if which and which[0] == "labels" else None
    if metadata:
        signatures = {
            name: {"inputs": {"image_bytes": {}}, "outputs": {output: {} for output in outputs}}
            for name, outputs in {"__saved_model_init_op": ["NoOp"], **world.signatures}.items()
        }
        spec = {"name": world.name, "version": str(world.version(number, label)), "signature_name": ""}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}
    if verb != "predict":
        return {
            "model_version_status": [
                {"version": str(n), "state": state, "status": {"error_code": "OK", "error_message": message}}
                for n, state, message in world.status(number)
            ]
        }
    world.version(number, label)
    request = json.loads(body)
    images = [base64.b64decode(row["b64"], validate=True) for row in request["instances"]]
    arrays = world.predict(request.get("signature_name", "serving_default"), images)
    if isinstance(arrays, bytes):
        return arrays
    text = {
        name: np.vectorize(bytes.decode, otypes=[object])(a) if a.dtype == object else a
        for name, a in arrays.items()
    }
    return {
        "predictions": [
            {
                name: a[i].tolist() if isinstance(a[i], np.ndarray | np.generic) else a[i]
                for name, a in text.items()
            }
            for i in range(len(text["ok"]))
        ]
    }


SERVERS = {"grpc": GrpcServer, "http": RestServer}


class Relay:
    """Relays connections to a server, and resets the first `cuts` of them after so many bytes of the answer."""

    def __init__(self, port, cuts, after):
        self._target, self.cuts, self._after = port, cuts, after
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                state = {"left": None if self.cut >= self.cuts else self._after}
                for source, sink, counts in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._pump, args=(source, sink, counts, state), daemon=True
                    ).start()

    def _pump(self, source, sink, counts, state):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counts and state["left"] is not None:
                    data, over = data[: state["left"]], len(data) >= state["left"]
                    state["left"] -= len(data)
                    sink.sendall(data)
                    if over:
                        self.cut += 1
                        # A reset, not an orderly end.
                        sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        break
                else:
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
