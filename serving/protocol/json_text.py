"""JSON as TensorFlow Serving reads and shows it, where that differs from Python's.

What follows the first whole value is ignored, the first of two equal keys counts, NaN and Infinity are read, strings
may hold bytes that are no UTF-8. Syntax errors have the server's status and form, in the words of Python's reader.
"""

from __future__ import annotations

import json
import re
from typing import Any

from serving.protocol.status import ServingError, invalid

_EMPTY = "JSON Parse error: The document is empty"
TOO_DEEP = "JSON Parse error: lists or objects nested too deeply"
_SPACE = re.compile(r"[ \t\n\r]*")
# How bodies begin that are no JSON in UTF-8, and what to send.
_NO_JSON = (
    (re.compile(rb"\xff\xfe|\xfe\xff|\0{1,3}[\s\[{\"]|[\s\[{\"]\0"), "UTF-16: send UTF-8"),
    (re.compile(rb"\x1f\x8b"), "gzip: send the header Content-Encoding: gzip with it"),
    (
        re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF....WEBP", re.S),
        'an image: send {"instances": [{"b64": "..."}]}, with the image in base64',
    ),
    (re.compile(rb"--|[\w.%+-]+=", re.S), "a form: send JSON"),
)
_LONGEST = 308  # digits; a double holds no more


def parse(body: bytes) -> dict[str, Any]:
    """Reads a request's body.

    Args:
        body: bytes.

    Returns:
        dict. Strings in it may hold surrogate escapes; `.encode("utf-8", "surrogateescape")` gives the bytes sent.

    Raises:
        ServingError: if it is no JSON, or no object.

    Example:
        >>> parse(b'{"instances": [1, 2.5]} and so on')
        {'instances': [1, 2.5]}
    """
    try:
        return _parse(body)
    except ServingError as error:
        if hint := next((hint for begins, hint in _NO_JSON if begins.match(body)), None):
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
    """A value as error messages show it: JSON, with U+FFFD for what is no UTF-8.

    Example:
        >>> show({"instances": [1.0, None]})
        '{"instances": [1.0, null]}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        found = {}
        for key, value in pairs:
            found.setdefault(key, value)
    return found


def _integer(text: str) -> int | float:
    # Python refuses to read integers of thousands of digits; to the server they are decimals.
    return int(text) if len(text) <= _LONGEST else float(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins, parse_int=_integer)
