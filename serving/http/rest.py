"""TensorFlow Serving's REST interface as a function of a request; it returns status, headers and body.

No sockets here: `serving.http.app` connects it to the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from captioner.signature import SERVING_DEFAULT
from serving.protocol.json_answers import write
from serving.protocol.json_tensors import read
from serving.protocol.json_text import TOO_DEEP, parse, show
from serving.protocol.predict import Call, Models, State, predict_on
from serving.protocol.status import ServingError, invalid

_VERSION = r"(?:(?:/versions/(?P<version>[0-9]+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.I | re.S
)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?", re.I | re.S)
_API = re.compile(r"/v1/.*", re.I | re.S)
_JSON = {"Content-Type": "application/json"}
_NOT_FOUND = (
    b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
)
_MAX_VERSION = 2**63 - 1


@dataclass
class Reply:
    """An HTTP response; `about` is for logs and metrics."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: dict(_JSON))
    about: dict[str, Any] = field(default_factory=dict)


def answer(
    models: Models, method: str, target: str, body: bytes, timeout: float | None = None, origin: str = ""
) -> Reply:
    """Answers one request.

    Args:
        models: `Models`.
        method: str, such as "POST".
        target: str. The raw path, percent-encoded and with the query string.
        body: bytes, already decompressed.
        timeout: float, default None. Seconds that the model may take.
        origin: str, default "". The header Origin of a CORS preflight request (OPTIONS).

    Returns:
        `Reply`.
    """
    if not _API.fullmatch(target):
        return Reply(404, _NOT_FOUND, {"Content-Type": "text/html", "Connection": "close"})
    if method == "OPTIONS":
        preflight = "http://" in origin or "https://" in origin
        return Reply(200 if preflight else 400, b"", {"Content-Type": "text/html; charset=ISO-8859-1"})
    about: dict[str, Any] = {"method": "other"}
    try:
        document = _answer(models, method, target, body, timeout, about)
        if document is None:  # a version number that no version can have
            return Reply(400, b"", about=about)
        return Reply(200, document, about=about)
    except ServingError as error:
        about["code"] = error.code
        return Reply(error.http, b"" if method == "HEAD" else error_body(error.short), about=about)


def error_body(message: str) -> bytes:
    """The body of an error response."""
    return _dump({"error": message})


def _answer(
    models: Models, method: str, target: str, body: bytes, timeout: float | None, about: dict[str, Any]
) -> bytes | None:
    match = {"POST": _POST, "GET": _GET}[method].fullmatch(target) if method in ("POST", "GET") else None
    if match is None:
        raise invalid(f"Malformed request: {method} {target}")
    fields = match.groupdict()
    name, version, label = unquote(fields["name"] or ""), fields["version"], fields["label"]
    label = None if label is None else unquote(label)
    # Python refuses to parse integers of thousands of digits.
    number = None if version is None else int(version.lstrip("0")[:20] or 0)
    if number is not None and number > _MAX_VERSION:
        return None
    # The path matches in any case, but names of methods and parts of a model are lower-case.
    verb, metadata = fields.get("method"), fields.get("metadata") == "/metadata"
    if verb is not None and verb not in ("classify", "regress", "predict"):
        raise invalid(f"Malformed request: {method} {target}")
    about |= {"model": name, "method": verb or ("metadata" if metadata else "status")}
    if method == "POST":
        if about["method"] != "predict":
            raise ServingError(
                "UNIMPLEMENTED", f"{about['method']} is not offered by the development server: use predict"
            )
        return _predict(models, Call(name, {}, number, label, timeout=timeout), body, about)
    if not name:
        raise invalid("Missing model name in request.")
    if metadata:
        return _metadata(models, name, number, label)
    return _dump(status_json(models.states(name, number)))


def _predict(models: Models, call: Call, body: bytes, about: dict[str, Any]) -> bytes:
    try:
        return _predict_document(parse(body), models, call, about)
    except RecursionError:  # parsed, but too deep to traverse
        raise invalid(TOO_DEEP) from None


def _predict_document(document: dict[str, Any], models: Models, call: Call, about: dict[str, Any]) -> bytes:
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise invalid(
            f"JSON Value: {show(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    key = signature or SERVING_DEFAULT
    with models.use(call.name, call.version, call.label) as version:
        if key not in version.signatures:
            raise invalid(f'Serving signature name: "{key}" not found in signature def')
        inputs = version.signatures[key].inputs
        if not inputs:
            raise invalid(f"Failed to get input map for signature: {signature or 'DEFAULT'}")
        arrays, rows = read(document, inputs)
        about |= {"signature": key, "version": version.number}
        answer = predict_on(version, replace(call, inputs=arrays, signature=signature))
    return _dump(write(answer.outputs, rows))


def _metadata(models: Models, name: str, number: int | None, label: str | None) -> bytes:
    from google.protobuf.json_format import MessageToDict

    with models.use(name, number, label) as version:
        signatures = {
            key: MessageToDict(
                definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for key, definition in sorted((version.metadata or {}).items())
        }
        spec = {"name": name, "version": str(version.number), "signature_name": ""}
    return _dump({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})


def status_json(states: list[State]) -> Mapping[str, Any]:
    """The states of versions as TensorFlow Serving writes them."""
    return {
        "model_version_status": [
            {
                "version": str(state.version),
                "state": state.state,
                "status": {"error_code": state.code, "error_message": state.message},
            }
            for state in states
        ]
    }


def _dump(value: Any) -> bytes:
    # Strings that are not UTF-8 are written as they are, as the server does.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
