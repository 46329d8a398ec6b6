"""JSON as TensorFlow Serving reads and shows it, where that differs from Python's.

What follows the first whole value is ignored, the first of two equal keys counts, NaN and Infinity are read, strings
may hold bytes that are no UTF-8, and a syntax error names the byte where it was found.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np

from serving.protocol.status import ServingError, invalid

_MEANS = {  # how Python's reader begins its complaints, and the server's words for the same
    "Expecting property name": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character": "Invalid encoding in string.",
}
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
_BROKEN_NUMBER = re.compile(r"\d(\.|(?:\.\d+)?[eE][+-]?)$")
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
        raise _error("The document is empty.", text, start) if text else invalid(_EMPTY)
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _explained(error, text) from None
    except RecursionError:
        raise invalid(TOO_DEEP) from None
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {show(value)} Is not object")
    return value


def show(value: Any) -> str:
    """A value as error messages show it: objects over several lines, lists on one.

    Example:
        >>> print(show({"instances": [1.0, None]}))
        {
            "instances": [1.0, null]
        }
    """
    return _shown(value, 1)


def _shown(value: Any, depth: int) -> str:
    if isinstance(value, dict) and value:
        inner = ",\n".join(
            f"{'    ' * depth}{_string(key)}: {_shown(item, depth + 1)}" for key, item in value.items()
        )
        return f"{{\n{inner}\n{'    ' * (depth - 1)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_shown(item, depth + 1) for item in value)}]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float) and math.isfinite(value):
        return decimal(value)
    return json.dumps(value)


def _string(text: str) -> str:
    return json.dumps(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"), ensure_ascii=False)


def decimal(value: float) -> str:
    """A number with six digits where they say it exactly, otherwise with all it needs.

    Example:
        >>> decimal(0.2), decimal(3.0), decimal(9000000.0)
        ('0.2', '3.0', '9e+06')
    """
    text = f"{value:.6g}"
    if float(text) != value:
        text = f"{value:.9g}" if float(np.float32(value)) == value else f"{value:.17g}"
    return text if set(text) & set(".en") else text + ".0"


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


def _error(reason: str, text: str, place: int) -> ServingError:
    offset = len(text[:place].encode("utf-8", "surrogateescape"))
    return invalid(f"JSON Parse error: {reason} at offset: {offset}")


def _explained(error: json.JSONDecodeError, text: str) -> ServingError:
    """The server's words for a syntax error that Python's reader found."""
    place = error.pos
    for begins, means in _MEANS.items():
        if error.msg.startswith(begins):
            return _error(means, text, place)
    if error.msg.startswith("Expecting ','"):
        if match := _BROKEN_NUMBER.search(text[max(0, place - 30) : place + 1]):
            part = "fraction part" if match[1] == "." else "exponent"
            return _error(f"Miss {part} in number.", text, place)
        end = (
            "']' after an array element."
            if _innermost(text[:place]) == "["
            else "'}' after an object member."
        )
        return _error(f"Missing a comma or {end}", text, _SPACE.match(text, place).end())  # type: ignore[union-attr]
    return _error("Invalid value.", text, place)


def _innermost(text: str) -> str:
    """The bracket that is open at the end of text that is right so far."""
    open_ones = []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[][{}]', text, re.DOTALL):
        if match[0] in ("[", "{"):
            open_ones.append(match[0])
        elif match[0] in ("]", "}"):
            open_ones.pop()
    return open_ones[-1] if open_ones else ""
