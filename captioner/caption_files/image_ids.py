"""Matching of image ids: predictions to references, caption files to files on disk.

Ids are compared as strings; no file is opened.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

_NUMBER = re.compile(r"(?:COCO_[a-z]+[0-9]{4}_)?0*([0-9]+)(?:\.0+)?(?:\.(?:jpe?g|png))?", re.IGNORECASE)


class Match(NamedTuple):
    """Pairs of ids that name the same image.

    Attributes:
        pairs: dict of left id to right id.
        ways: dict of the rule ("name", "base name" ...) to the number of pairs that it matched.
    """

    pairs: dict[Any, Any]
    ways: dict[str, int]


def match(
    left: Iterable[Any],
    right: Iterable[Any],
    also: Mapping[Any, Any] | None = None,
    left_folder: str | None = None,
    right_folder: str | None = None,
) -> Match:
    """Pairs ids that name the same image, by a list of rules from strict to loose.

    The rules are: the same text; the same path, with other slashes or with "./"; the same path in composed form (NFC);
    the same file, where folders are given; the same base name; the same number (1, "1", 1.0, "000000000001.jpg",
    "COCO_val2014_000000000001.jpg"). A rule pairs two ids only if no other id on either side has the same key, so that
    `a/1.jpg` and `b/1.jpg` are never mixed up.

    Args:
        left: iterable of ids, of any kind that is hashable.
        right: iterable of ids.
        also: mapping of a right id to a second name of it, or None.
        left_folder: str, default None. What relative paths on the left are relative to.
        right_folder: str, default None. Likewise on the right.

    Returns:
        `Match`.

    Example:
        >>> match(["val/one.jpg", "b.jpg"], ["one.jpg", "b.jpg"])
        Match(pairs={'b.jpg': 'b.jpg', 'val/one.jpg': 'one.jpg'}, ways={'name': 1, 'base name': 1})
    """
    left, right, also = list(left), list(right), also or {}
    ways: list[tuple[str, Callable[[Any], str | None], Callable[[Any], str | None]]] = [
        ("name", _text, _text),
        ("path", _plain, _plain),
        ("name in another Unicode form", composed, composed),
        ("base name", _base, _base),
        ("number", _number, _number),
    ]
    if left_folder is not None and right_folder is not None:
        ways.insert(3, ("path", _within(left_folder), _within(right_folder)))
    pairs: dict[Any, Any] = {}
    counts: dict[str, int] = {}
    matched: set[Any] = set()
    for way, left_key, right_key in ways:
        if len(pairs) == len(left):
            break
        lefts = _by_key([(name, left_key(name)) for name in left])
        rights = _by_key(
            [(name, right_key(name)) for name in right]
            + [(name, right_key(also[name])) for name in right if name in also]
        )
        for key, names in lefts.items():
            others = rights.get(key, set())
            if len(names) == len(others) == 1:
                (name,), (other,) = names, others
                if name not in pairs and other not in matched:
                    pairs[name] = other
                    matched.add(other)
                    counts[way] = counts.get(way, 0) + 1
    return Match(pairs, counts)


def composed(name: Any) -> str:
    """The normal form of a path: accents composed (NFC), forward slashes, no "." and, where possible, no "..".

    Example:
        >>> composed("./cafe\\u0301\\\\a.jpg")
        'caf\xe9/a.jpg'
    """
    return unicodedata.normalize("NFC", _plain(name))


def _plain(name: Any) -> str:
    """A path with forward slashes, no "." and, where possible, no ".."."""
    text = _text(name).replace("\\", "/")
    parts: list[str] = []
    for part in text.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".") and not (part == ".." and text.startswith("/")):
            parts.append(part)
    return ("/" if text.startswith("/") else "") + "/".join(parts)


def alike(name: Any, others: Iterable[Any]) -> Any:
    """The first id that differs from `name` only in capitals, ending or folder, to suggest in a message; or None.

    Example:
        >>> alike("photos/Beach.JPG", ["dog.jpg", "beach.jpg"])
        'beach.jpg'
    """
    others = list(others)
    for key in (lambda n: composed(n).casefold(), lambda n: _base(n).casefold(), _stem):
        wanted = key(name)
        for other in others:
            if other != name and wanted and key(other) == wanted:
                return other
    return None


def shown(name: Any) -> str:
    """An id for a message: in one line, cut to 120 characters, with combining marks escaped.

    Example:
        >>> shown("cafe\\u0301.png"), shown("caf\\u00e9.png")
        ("'cafe\\\\u0301.png'", "'caf\xe9.png'")
    """
    text = repr(name) if not isinstance(name, str) or name == composed(name) else _marked(name)
    return text if len(text) <= 120 else text[:117] + "..."


def _marked(name: str) -> str:
    """A string's repr with combining marks as escapes."""
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.combining(char) else char
        for char in repr(name)
    )


def _text(name: Any) -> str:
    return name if isinstance(name, str) else str(name)


def _number(name: Any) -> str | None:
    match = _NUMBER.fullmatch(_base(name))
    return match[1] if match else None


def _base(name: Any) -> str:
    last = composed(name).rpartition("/")[2]
    return "" if last == ".." else last


def _stem(name: Any) -> str:
    return os.path.splitext(_base(name))[0].casefold()


def _within(folder: str) -> Callable[[Any], str]:
    start = composed(os.path.join(os.getcwd(), folder))
    return lambda name: composed(_text(name) if _text(name).startswith("/") else f"{start}/{_text(name)}")


def _by_key(keyed: Iterable[tuple[Any, str | None]]) -> dict[str, set[Any]]:
    groups: dict[str, set[Any]] = {}
    for name, key in keyed:
        if key:
            groups.setdefault(key, set()).add(name)
    return groups
