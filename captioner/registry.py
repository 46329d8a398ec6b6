"""The grammar of specs, and the tables of parts that they name.

A spec is a name, or a name with keyword arguments: `"lstm"`, `"beam(width=5)"`, `"pkg.mod:Name(k='v')"`.
Arguments are Python literals only. `"pkg.mod:Name"` imports code of the user, which is allowed in Python, on the
command line and in recipes. A spec from a file, a server or a client is built inside `table_specs_only()`, where it
may name rows of the tables only.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from captioner.errors import SpecError


@dataclass(frozen=True)
class Spec:
    """A parsed spec: `name` and literal keyword `args`.

    Example:
        >>> str(Spec("beam", {"width": 5}))
        'beam(width=5)'
    """

    name: str
    args: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.args.items())
        return f"{self.name}({inner})" if inner else self.name


def parse_spec(text: str | Spec) -> Spec:
    """Parses a spec.

    Args:
        text: str such as `"beam(width=5)"`, or a `Spec`, which is returned unchanged.

    Returns:
        The `Spec`.

    Raises:
        SpecError: if the text is not a name with literal keyword arguments.

    Example:
        >>> parse_spec("lstm(units=512)").args
        {'units': 512}
    """
    if isinstance(text, Spec):
        return text
    received = repr(text)
    if len(received) > 200:
        received = f"{received[:200]} ... ({len(received)} characters)"
    wrong = SpecError(
        f"expected a spec such as 'name' or 'name(key=value)' with literal values, got {received}"
    )
    if not isinstance(text, str):
        raise wrong
    name, paren, rest = text.strip().partition("(")
    name = name.strip()
    if not name or not all(p.isidentifier() for p in name.replace(":", ".", 1).split(".")):
        raise wrong
    if not paren:
        return Spec(name)
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        # A single call: "beam(width=5)(n_best=2)" would be a call of the result of a call.
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise wrong
        names = [k.arg for k in call.keywords]
        if None in names or len(set(names)) < len(names):
            raise wrong
        return Spec(name, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords})
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise wrong from None


# None where specs come from the user of the program; else the packages that specs may import.
_trusted: ContextVar[tuple[str, ...] | None] = ContextVar("trusted", default=None)


@contextmanager
def table_specs_only(trust: Sequence[str] = ()) -> Iterator[None]:
    """Within the block specs are untrusted, from a file, a server or a client: `"pkg.mod:Name"` imports nothing.

    Applies to this thread (or task), and to specs inside specs. Blocks nest; an inner block never allows more than the
    outer one.

    Args:
        trust: sequence of str, default none. Packages that specs may import nevertheless: "my_pkg" allows my_pkg and
            all its modules.

    Raises:
        SpecError: if `trust` is not a list of package names; inside the block, for a spec of code that is not trusted.

    Example:
        >>> with table_specs_only():
        ...     Table("number", {}).build("fractions:Fraction")
        Traceback (most recent call last):
        captioner.errors.SpecError: number 'fractions:Fraction' names Python code, and comes from a file or a \
client: nothing was imported; if you trust it, pass trust=("fractions",)
    """
    is_list = isinstance(trust, Iterable) and not isinstance(trust, str)
    if not is_list or not all(isinstance(name, str) and name for name in trust):
        raise SpecError(f"trust expects a list of package names such as ('my_pkg',), got {trust!r}")
    outer = _trusted.get()
    allowed = tuple(trust) if outer is None else tuple(n for n in trust if _is_trusted(n, outer))
    token = _trusted.set(allowed)
    try:
        yield
    finally:
        _trusted.reset(token)


def _is_trusted(module: str, trusted: Sequence[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in trusted)


class Table(Mapping[str, Any]):
    """The table of a family of parts: names to classes, which are imported lazily.

    Args:
        kind: str. Name of the family in the singular, for messages ("strategy").
        rows: dict of name to `"package.module:Class"`, or to the class or function itself.

    Example:
        >>> table = Table("number", {"half": "fractions:Fraction"})
        >>> table.names()
        ['half']
        >>> table["half"](1, 2)
        Fraction(1, 2)
    """

    def __init__(self, kind: str, rows: Mapping[str, Any]):
        self.kind = kind
        self._rows = dict(rows)

    def names(self) -> list[str]:
        """The names, in the table's order."""
        return list(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __getitem__(self, name: str) -> Any:
        path = self._rows.get(name)
        if path is None and ":" in name:
            path = name
        if path is None:
            raise SpecError(unknown(self.kind, name, self._rows))
        if not isinstance(path, str):
            return path
        module, _, attribute = path.partition(":")
        trusted = _trusted.get()
        if path == name and trusted is not None and not _is_trusted(module, trusted):
            package = module.partition(".")[0]
            raise SpecError(
                f"{self.kind} {name!r} names Python code, and comes from a file or a client: nothing was imported; "
                f'if you trust it, pass trust=("{package}",)'
            )
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a user's module may raise anything
            if path == name:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                raise SpecError(f"cannot import {self.kind} {name!r}: {reason}") from None
            raise

    def build(self, spec: str | Spec, **extra: Any) -> Any:
        """Builds the part that a spec names.

        Args:
            spec: str or Spec.
            **extra: arguments of the program, which the spec may not set.

        Returns:
            The object that the row's class or function returns.

        Raises:
            SpecError: if the name or an argument is unknown; the message suggests the nearest known one. Also if an
                argument is missing, or the name is that of an object which cannot be called with the arguments.
        """
        parsed = parse_spec(spec)
        row = self[parsed.name]
        try:
            signature = inspect.signature(row)
        except (TypeError, ValueError):
            raise SpecError(
                f"expected {self.kind} {parsed.name!r} to be a class or function of Python's, got {row!r:.100}"
            ) from None
        accepted = signature.parameters
        if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            for key in parsed.args:
                if key not in accepted or key in extra:
                    options = [k for k in accepted if k not in extra]
                    raise SpecError(unknown(f"option of {self.kind} {parsed.name!r}:", key, options))
        try:
            signature.bind(**extra, **parsed.args)
        except TypeError as error:
            raise SpecError(f"{self.kind} {parsed.name!r} cannot be built: {error}") from None
        return row(**extra, **parsed.args)

    def describe(self) -> dict[str, str]:
        """The first docstring line of each row, for help texts; imports all rows."""
        return {name: (inspect.getdoc(self[name]) or "").split("\n")[0] for name in self}


def unknown(kind: str, name: str, known: Any) -> str:
    """The error message for an unknown name: the name, the nearest known one, and all known ones."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {name!r}{hint}; expected one of: {', '.join(known)}"
