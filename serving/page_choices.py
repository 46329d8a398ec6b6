"""What the web page offers to choose from: models and strategies."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner import bundle
from captioner.engines.lite_file import read as read_lite
from captioner.errors import CaptionerError, SpecError
from captioner.registry import parse_spec, table_specs_only, unknown
from serving import log
from serving.batching import Gate
from serving.page_models import Loaded, Served
from serving.predict import Models
from serving.status import ServingError
from serving.versions import is_version

_MOST = 64  # beams of a strategy that a visitor may ask for; each costs memory and time
_FIELDS = ("width", "n_best", "n", "must_include")  # options that the page has fields for


class Choices:
    """The models that the page offers, the served one first.

    Args:
        name: str. The served model's.
        models: callable that gives `Models`.
        find: callable that gives the version folders on disk.
        gate: `Gate`.
        model: str, default None. Where the served model is; a model folder brings its other strategies and its
            `.tflite` files.
        also: sequence of str, default none. Further models, as `captioner.load` takes them.

    Raises:
        SpecError: if a model comes twice.
    """

    def __init__(
        self,
        name: str,
        models: Callable[[], Models],
        find: Callable[[], Mapping[int, Path]],
        gate: Gate,
        model: str | None = None,
        also: Sequence[str] = (),
    ):
        home = _home(model)
        self._models: dict[str, Served | Loaded] = {name: Served(name, models, find, gate, home)}
        self._also = list(also)
        for path in sorted(home.glob("*.tflite")) if home else []:
            self._offer_lite(path, gate)
        for source in also:
            if source in self._models:
                raise SpecError(f"--also {source}: expected each model once, and another name than {name}")
            self._models[source] = Loaded(source, source, gate)

    def __iter__(self) -> Iterator[Served | Loaded]:
        return iter(self._models.values())

    def __getitem__(self, name: str) -> Served | Loaded:
        if not name:
            return next(iter(self))
        if name not in self._models:
            raise ServingError("NOT_FOUND", unknown("model", name, self._models))
        return self._models[name]

    def open(self) -> None:
        """Loads what `also` named, so that a wrong one is told when the server starts.

        Raises:
            CaptionerError: if one cannot be loaded.
        """
        for source in self._also:
            found = self._models[source]
            if isinstance(found, Loaded):
                try:
                    found.open()
                except CaptionerError as error:
                    raise type(error)(f"--also {source}: {error}") from None

    def close(self) -> None:
        """Lets go of all."""
        for each in self:
            each.close()

    def _offer_lite(self, path: Path, gate: Gate) -> None:
        if importlib.util.find_spec("ai_edge_litert") is None:
            return
        try:
            strategy = str(read_lite(path).facts["strategy"])
        except CaptionerError as error:
            log.event("not_offered", "warning", file=path.name, reason=str(error))
            return
        self._models[path.name] = Loaded(path.name, str(path), gate, strategy)


def strategies() -> list[dict[str, Any]]:
    """The strategies with what a form must know of them.

    Returns:
        list of dict with name, about, and options: those that the page has fields for, and their defaults.
    """
    from inspect import signature

    from captioner.decoding import STRATEGIES

    return [
        {
            "name": name,
            "about": about,
            "options": {
                option: each.default
                for option, each in signature(STRATEGIES[name]).parameters.items()
                if option in _FIELDS
            },
        }
        for name, about in STRATEGIES.describe().items()
    ]


def checked(strategy: str) -> str:
    """A visitor's strategy, if it is one of the table and of a bearable size.

    Args:
        strategy: str. A spec.

    Returns:
        str: the same.

    Raises:
        SpecError: if it is not. Specs such as "package.module:Name", which load code, are not for visitors.

    Example:
        >>> checked("os:system(command='ls')")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        captioner.errors.SpecError: unknown strategy 'os:system'; expected one of: greedy, ...
    """
    from captioner.decoding import STRATEGIES

    spec = parse_spec(strategy)
    if spec.name not in STRATEGIES.names():
        raise SpecError(unknown("strategy", spec.name, STRATEGIES))
    try:
        with table_specs_only():
            rows = int(STRATEGIES.build(spec).rows) * (1 + len(spec.args.get("must_include", ())))
    except TypeError as error:
        raise SpecError(f"strategy {strategy}: {' '.join(str(error).split())}") from None
    if rows > _MOST:
        raise SpecError(f"expected a strategy with at most {_MOST} beams here, got {rows}: lower the width")
    return strategy


def _home(model: str | None) -> Path | None:
    """The captioner model that a served folder is, or is a version of."""
    if model is None:
        return None
    folder = Path(os.path.abspath(model))
    folder = folder.parent if is_version(folder) else folder
    return folder if (folder / bundle.MANIFEST).is_file() else None
