"""Parses and formats JSON as TensorFlow Serving does, where that differs from Python.

Text after the first complete value is ignored, the first of two equal keys counts, NaN and Infinity are accepted,
strings may hold bytes that are not UTF-8. Syntax errors have the status and form of the server, with the message of
the parser of Python.
"""

from __future__ import annotations

import json
import re
from typing import Any

from serving.protocol.status import ServingError, invalid

_EMPTY = "JSON Parse error: The document is empty"
TOO_DEEP = "JSON Parse error: lists or objects nested too deeply"
_SPACE = re.compile(r"[ \t\n\r]*")
# First bytes of bodies that are not JSON in UTF-8, and what to send instead.
_OTHER_FORMATS = (
    (re.compile(rb"\xff\xfe|\xfe\xff|\0{1,3}[\s\[{\"]|[\s\[{\"]\0"), "UTF-16: send UTF-8"),
    (re.compile(rb"\x1f\x8b"), "gzip: send the header Content-Encoding: gzip with it"),
    (
        re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF....WEBP", re.S),
        'an image: send {"instances": [{"b64": "..."}]}, with the image in base64',
    ),
    (re.compile(rb"--|[\w.%+-]+=", re.S), "a form: send JSON"),
)
_MAX_DIGITS = 308  # of a double


def parse(body: bytes) -> dict[str, Any]:
    """Parses a request's body.

    Args:
        body: bytes.

    Returns:
        dict. Strings in it may hold surrogate escapes; `.encode("utf-8", "surrogateescape")` restores the bytes.

    Raises:
        ServingError: if it is not a JSON object.

    Example:
        >>> parse(b'{"instances": [1, 2.5]} and so on')
        {'instances': [1, 2.5]}
    """
    try:
        return _parse(body)
    except ServingError as error:
        if hint := next((hint for pattern, hint in _OTHER_FORMATS if pattern.match(body)), None):
            raise invalid(f"{error.message} (the body looks like {hint})") from None
        raise


def _parse(body: bytes) -> dict[str, Any]:
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    start = _SPACE.match(text).end()  # type: ignore[union-attr]
    if start == len(text):
        raise invalid(_EMPTY)
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error}") from None
    except RecursionError:
        raise invalid(TOO_DEEP) from None
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {show(value)} Is not object")
    return value


def show(value: Any) -> str:
    """A value as JSON for error messages, with U+FFFD for what is not UTF-8.

    Example:
        >>> show({"instances": [1.0, None]})
        '{"instances": [1.0, null]}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value_of = dict(pairs)
    if len(value_of) < len(pairs):
        value_of = {}
        for key, value in pairs:
            value_of.setdefault(key, value)
    return value_of


def _integer(text: str) -> int | float:
    # Python refuses to parse integers of thousands of digits; the server reads them as floats.
    return int(text) if len(text) <= _MAX_DIGITS else float(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins, parse_int=_integer)
