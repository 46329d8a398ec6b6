"""One spec grammar and one kind of table for every family of parts.

A spec is a name, or a name with keyword arguments: `"lstm"`, `"beam(width=5)"`, `"pkg.mod:Name(k='v')"`.
Arguments are Python literals and nothing else. `"pkg.mod:Name"` imports code of the caller's own, which is for those
who write Python, the command line and recipes: a spec from a file, a server or a visitor is built inside
`table_specs_only()`, where it may name rows of the tables and nothing else.
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
    """Reads one spec.

    Args:
        text: str such as `"beam(width=5)"`, or a `Spec`, returned as it is.

    Returns:
        The `Spec`.

    Raises:
        SpecError: if the text is no name with literal keyword arguments.

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
        # One call and no more: "beam(width=5)(n_best=2)" is a call of what a call returned.
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise wrong
        names = [k.arg for k in call.keywords]
        if None in names or len(set(names)) < len(names):
            raise wrong
        return Spec(name, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords})
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise wrong from None


# None where the specs come from the program's own user; else the packages that may be imported all the same.
_trusted: ContextVar[tuple[str, ...] | None] = ContextVar("trusted", default=None)


@contextmanager
def table_specs_only(trust: Sequence[str] = ()) -> Iterator[None]:
    """Within the block specs come from a file, a server or a visitor: `"pkg.mod:Name"` imports nothing.

    Holds for this thread (or task), and for specs inside specs. Blocks nest; an inner one never allows more than the
    outer one does.

    Args:
        trust: sequence of str, default none. Packages whose parts may be imported all the same, because the user said
            so: "my_pkg" stands for my_pkg and all its modules.

    Raises:
        SpecError: for `trust` that is no list of package names; inside the block, for a spec of code that is not
            trusted.

    Example:
        >>> with table_specs_only():
        ...     Table("number", {}).build("fractions:Fraction")
        Traceback (most recent call last):
        captioner.errors.SpecError: number 'fractions:Fraction' names Python code, and comes from a file or a \
stranger: nothing was imported; if you trust it, pass trust=("fractions",)
    """
    listed = isinstance(trust, Iterable) and not isinstance(trust, str)
    if not listed or not all(isinstance(name, str) and name for name in trust):
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
    """The one table of a family: names to classes, imported only when asked for.

    Args:
        kind: str. What a row is, in the singular, for messages ("strategy").
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
                f"{self.kind} {name!r} names Python code, and comes from a file or a stranger: nothing was imported; "
                f'if you trust it, pass trust=("{package}",)'
            )
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # somebody else's module may fail in any way
            if path == name:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                raise SpecError(f"cannot import {self.kind} {name!r}: {reason}") from None
            raise

    def build(self, spec: str | Spec, **extra: Any) -> Any:
        """Builds the row that a spec names.

        Args:
            spec: str or Spec.
            **given: arguments from the program rather than the spec's writer.

        Returns:
            What the row's class or function returns.

        Raises:
            SpecError: if the name or an argument is unknown; the message names the nearest known one. Also if an
                argument is missing, or the name is that of code which cannot be called with them.
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
        """The first docstring line of every row, for help texts (imports the rows)."""
        return {name: (inspect.getdoc(self[name]) or "").split("\n")[0] for name in self}


def unknown(kind: str, name: str, known: Any) -> str:
    """One line for a name that is not known: what came, the nearest, and all there are."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {name!r}{hint}; expected one of: {', '.join(known)}"
