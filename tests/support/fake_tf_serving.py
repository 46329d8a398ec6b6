"""A made-up TensorFlow Serving, over gRPC and REST, whose captions come from `FakeEngine`.

One `World` says what there is to answer and what goes wrong; the two servers only speak.
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

from captioner.engines.fake import FakeEngine
from captioner.engines.remote import messages as proto
from captioner.types import Caption

# A proxy that the machine may have is not to be asked for these servers.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

T, K, GRID = 6, 3, (4, 4)
NOTHING = np.float32(-1e9)
CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
CODES |= {
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refusal(Exception):
    """The server says no: an HTTP status, for gRPC its counterpart, and words."""

    def __init__(self, status, words):
        self.status, self.words = status, words


class NoSignature(Exception):
    """The model has no such signature; each protocol has words of its own for it."""


class World:
    """What the servers know, and what they have seen.

    `faults` are taken one for each Predict: a `Refusal` is raised, a number is slept (until the server closes,
    at the most), anything else is called with the outputs and gives what to answer instead. `always` is the
    fault when there are none left.
    """

    def __init__(self):
        self.name, self.token, self.rude = "dogs", None, ""
        self.versions = {2: ("AVAILABLE", ""), 1: ("AVAILABLE", "")}
        self.labels = {"stable": 1}
        self.signatures = {
            "serving_default": ["caption", "error", "ok", "score"],
            "explain": sorted(outputs([b""])),
        }
        self.faults, self.always = [], None
        self.requests, self.asked, self.busy, self.busiest = [], [], 0, 0
        self.lock, self.over = threading.Lock(), threading.Event()

    def version(self, number=None, label=None):
        """The version that answers."""
        if label is not None:
            if label not in self.labels:
                raise Refusal(400, f"Unrecognized servable version label: {label}")
            return self.labels[label]
        ready = [n for n, (state, _) in self.versions.items() if state == "AVAILABLE" and number in (None, n)]
        if not ready:
            which = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
            raise Refusal(404, f"Servable not found for request: {which}")
        return max(ready)

    def check(self, name, authorization):
        self.asked.append(authorization)
        if self.token is not None and authorization != self.token:
            raise Refusal(401, f"{self.rude}who is {authorization}?")
        if name != self.name:
            raise Refusal(404, f"Servable not found for request: Latest({name})")

    def status(self, number):
        """(version, state, message) of those asked for."""
        found = [(n, *said) for n, said in self.versions.items() if number in (None, n)]
        if not found:
            raise Refusal(404, f"Could not find version {number} of model {self.name}")
        return found

    def predict(self, signature, images):
        """The outputs of a signature; faults included."""
        if signature not in self.signatures:
            raise NoSignature(signature)
        with self.lock:
            self.requests.append(len(images))
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            fault = self.faults.pop(0) if self.faults else self.always
        try:
            found = outputs(images)
            found = {name: found[name] for name in self.signatures[signature]}
            if isinstance(fault, Exception):
                raise fault
            if isinstance(fault, int | float):
                self.over.wait(fault)
            elif fault is not None:
                found = fault(found)
            return found
        finally:
            with self.lock:
                self.busy -= 1


def expected(image):
    """The caption that a client should get."""
    engine = FakeEngine()
    best = engine.predict([image])[0]
    if not best.ok:
        return best
    # Some images get fewer captions than there is room for.
    others = ["greedy", "sample"][: 1 + image[-1] % 2]
    others = [engine.predict([image], spec)[0] for spec in others]
    return Caption(
        best.text, best.score, best.words, best.logp, best.word_logp, best.attention, tuple(others)
    )


def outputs(images):
    """What `explain` gives, as arrays."""
    rows = [expected(image) for image in images]
    empty = Caption("", float(NOTHING), logp=float(NOTHING))
    found = _columns(rows)
    others = [
        _columns([row.alternatives[k] if k < len(row.alternatives) else empty for row in rows])
        for k in range(K - 1)
    ]
    for name in found:
        found_others = np.stack([columns[name] for columns in others], axis=1)
        others[0][name] = found_others
    found.update({f"alternatives_{name}": array for name, array in others[0].items()})
    found["ok"] = np.array([row.ok for row in rows])
    found["error"] = np.array([(row.error or "").encode() for row in rows], object)
    return found


def _columns(rows):
    n = len(rows)
    found = {
        "caption": np.array([row.text.encode() for row in rows], object),
        "score": np.float32([row.score for row in rows]),
        "logp": np.float32([row.logp for row in rows]),
        "ids": np.zeros((n, T), np.int32),
        "words": np.full((n, T), b"", object),
        "word_logp": np.zeros((n, T), np.float32),
        "attention": np.zeros((n, T, *GRID), np.float32),
    }
    for i, row in enumerate(rows):
        count = len(row.words)
        found["words"][i, :count] = [word.encode() for word in row.words]
        found["word_logp"][i, :count] = row.word_logp
        found["ids"][i, :count], found["ids"][i, count] = 7, 2
        if row.attention is not None:
            found["attention"][i, :count] = row.attention
    return found


# gRPC


def tensor_of(array):
    """A tensor message; numbers as values, as the server writes them."""
    shape = proto.messages().TensorShape(dim=[proto.messages().Dim(size=size) for size in array.shape])
    number, field = {
        "f": (1, "float_val"),
        "i": (3, "int_val"),
        "O": (7, "string_val"),
        "b": (10, "bool_val"),
    }[array.dtype.kind]
    return proto.messages().Tensor(dtype=number, tensor_shape=shape, **{field: array.ravel().tolist()})


class GrpcServer:
    """The world over gRPC."""

    scheme = "grpc"

    def __init__(self, world, port=0, credentials=None):
        import grpc

        self.world, self.grpc = world, grpc
        self._pool = ThreadPoolExecutor(16)
        self._server = grpc.server(
            self._pool, options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        )
        messages = proto.messages()
        for path, method, request in (
            (proto.PREDICT, self._predict, messages.PredictRequest),
            (proto.GET_STATUS, self._status, messages.GetModelStatusRequest),
            (proto.GET_METADATA, self._metadata, messages.GetModelMetadataRequest),
        ):
            _, service, name = path.split("/")
            handler = grpc.unary_unary_rpc_method_handler(
                self._guarded(method), request.FromString, lambda answer: answer.SerializeToString()
            )
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(service, {name: handler})]
            )
        place = f"127.0.0.1:{port}"
        self.port = (
            self._server.add_secure_port(place, credentials)
            if credentials
            else self._server.add_insecure_port(place)
        )
        self._server.start()

    def close(self):
        self.world.over.set()
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
        messages, spec = proto.messages(), request.model_spec
        version = self._version(spec)
        images = proto.array(request.inputs["image_bytes"]).tolist()
        found = self.world.predict(spec.signature_name or "serving_default", images)
        answer = messages.PredictResponse()
        for name, array in found.items():
            if request.output_filter and name not in request.output_filter:
                continue
            answer.outputs[name].CopyFrom(tensor_of(array))
        answer.model_spec.name, answer.model_spec.version.value = spec.name, version
        return answer

    def _status(self, request):
        spec = request.model_spec
        answer = proto.messages().GetModelStatusResponse()
        numbers = {name: number for number, name in proto.STATES.items()}
        for version, state, said in self.world.status(
            spec.version.value if spec.HasField("version") else None
        ):
            found = answer.model_version_status.add(version=version, state=numbers[state])
            found.status.error_message = said
        return answer

    def _metadata(self, request):
        messages = proto.messages()
        assert list(request.metadata_field) == ["signature_def"]
        answer, found = messages.GetModelMetadataResponse(), messages.SignatureDefMap()
        answer.model_spec.version.value = self._version(request.model_spec)
        for name, given in {"__saved_model_init_op": ["NoOp"], **self.world.signatures}.items():
            found.signature_def[name].inputs["image_bytes"].dtype = 7
            for output in given:
                found.signature_def[name].outputs[output].dtype = 1
        answer.metadata["signature_def"].value = found.SerializeToString()
        return answer


# REST


class RestServer:
    """The world over REST, on one connection for as long as the client likes."""

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
        self.world.over.set()
        self._server.shutdown()
        self._server.server_close()


def rest_answer(world, path, body, authorization):
    """What the REST server answers; rows as TensorFlow Serving writes them."""
    assert path.startswith("/v1/models/")
    path, _, verb = path.removeprefix("/v1/models/").partition(":")
    metadata = path.endswith("/metadata")
    name, *which = path.removesuffix("/metadata").split("/")
    world.check(unquote(name), authorization)
    number = int(which[1]) if which and which[0] == "versions" else None
    label = unquote(which[1]) if which and which[0] == "labels" else None
    if metadata:
        found = {
            name: {"inputs": {"image_bytes": {}}, "outputs": {output: {} for output in given}}
            for name, given in {"__saved_model_init_op": ["NoOp"], **world.signatures}.items()
        }
        spec = {"name": world.name, "version": str(world.version(number, label)), "signature_name": ""}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": found}}}
    if verb != "predict":
        return {
            "model_version_status": [
                {"version": str(n), "state": state, "status": {"error_code": "OK", "error_message": said}}
                for n, state, said in world.status(number)
            ]
        }
    world.version(number, label)
    request = json.loads(body)
    images = [base64.b64decode(row["b64"], validate=True) for row in request["instances"]]
    found = world.predict(request.get("signature_name", "serving_default"), images)
    if isinstance(found, bytes):
        return found
    text = {
        name: np.vectorize(bytes.decode, otypes=[object])(a) if a.dtype == object else a
        for name, a in found.items()
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
    """Passes connections on to a server, and cuts the first `cuts` of them after so many bytes of answer."""

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
