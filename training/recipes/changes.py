"""Changes of a recipe, `--set key=value`: the value is cast to the type of the setting."""

from __future__ import annotations

import ast
import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from captioner.errors import SpecError
from captioner.registry import unknown
from training.config import Run


def with_changes(run: Run, changes: Sequence[str]) -> Run:
    """A run with `key=value` changes applied.

    Args:
        run: Run.
        changes: strings such as "xe.epochs=20" or "seed=3"; the value is cast to the field's type.

    Returns:
        A new `Run`.

    Raises:
        SpecError: for a change without "=", an unknown key (the nearest is named), or a value of another type or out of
            range.

    Example:
        >>> from training.config import Data, Model, Run
        >>> run = Run("x", Data("folder(path='a', captions='b')"), Model("small_cnn", "lstm"))
        >>> with_changes(run, ["xe.epochs=3"]).xe.epochs
        3
    """
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise SpecError(f"expected --set key=value, got {change!r}")
        run = _change(run, key.strip(), key.strip().split("."), value.strip())
    return run


def _change(part: Any, key: str, path: list[str], value: str) -> Any:
    types = typing.get_type_hints(type(part))
    name, *rest = path
    if name not in types or bool(rest) != dataclasses.is_dataclass(types[name]):
        raise SpecError(unknown("key", key, keys(part, prefix=key[: len(key) - len(".".join(path))])))
    new = _change(getattr(part, name), key, rest, value) if rest else _cast(key, types[name], value)
    return dataclasses.replace(part, **{name: new})


def keys(part: Any, prefix: str = "") -> list[str]:
    """All keys that `--set` takes below a part, in order."""
    names: list[str] = []
    for entry in dataclasses.fields(part):
        value = getattr(part, entry.name)
        if dataclasses.is_dataclass(value):
            names += keys(value, f"{prefix}{entry.name}.")
        else:
            names.append(prefix + entry.name)
    return names


def _cast(key: str, kind: Any, text: str) -> Any:
    wrong = SpecError(f"expected {key} to be {getattr(kind, '__name__', kind)}, got {text!r:.100}")
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.lower()
            ]
        if kind is str:
            return text
        if kind in (int, float):
            return kind(text)
        value = (
            ast.literal_eval(text) if text.startswith(("(", "[")) else tuple(filter(None, text.split(",")))
        )
        return tuple(map(str, value))
    except (ValueError, KeyError, SyntaxError):
        raise wrong from None
