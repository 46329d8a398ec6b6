"""What the web page offers to choose from: models and strategies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner import benchmark, bundle
from captioner.engines import ENGINES, engine_for
from captioner.errors import CaptionerError, MissingDependency, SpecError
from captioner.registry import parse_spec, table_specs_only, unknown
from captioner.text import words
from serving.protocol.predict import Models
from serving.protocol.status import ServingError
from serving.runtime import log
from serving.runtime.batching import Gate
from serving.runtime.versions import is_version
from serving.webui.about import good_for
from serving.webui.models import Loaded, Served

# What a visitor's strategy may cost: each beam takes memory and time, and so does each word of a rule.
_MOST_ROWS, _MOST_BANNED, _LONGEST_SPEC = 64, 64, 2000
_FIELDS = ("width", "n_best", "n", "must_include", "rerank")  # options that the page has fields for
# What the page calls the rows of `STRATEGIES`, and says of them.
_WORDS = {
    "greedy": ("Greedy", "Takes the most likely word at every step: the fastest."),
    "beam": (
        "Beam search",
        "Follows several likely captions at once and keeps the best. A larger width searches more, and takes longer.",
    ),
    "sample": (
        "Random sampling",
        "Draws each word at random, likely ones more often: different captions every time.",
    ),
    "diverse": (
        "Diverse beam search",
        "Searches in groups that avoid each other's words, for captions that differ.",
    ),
    "constrained": (
        "Required words",
        "Beam search for a caption that contains the words or phrases that you name.",
    ),
}
# And those of `RERANKERS`.
_RERANKERS = {"mbr": "Consensus: the caption that most resembles the others"}


class Choices:
    """The models that the page offers, the served one first.

    Args:
        name: str. The served model's.
        models: callable that gives `Models`.
        find: callable that gives the version folders on disk.
        gate: `Gate`.
        model: str, default None. Where the served model is; a model folder brings its other strategies and the
            files that were exported into it.
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
        for source in sorted(benchmark.variants(home)) if home else []:
            if os.path.isfile(source):  # the served versions, and the folder behind them, are offered already
                self._offer_file(source, gate)
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

    def rows(self) -> list[dict[str, Any]]:
        """What the page is told of each model, with a line on what it is good for.

        Raises:
            ServingError: while no version is served.
        """
        rows = [model.row() for model in self]
        lines = good_for([model.about() for model in self])
        return [
            {**row, "default": described(row["exported_strategy"]), "good_for": line}
            for row, line in zip(rows, lines, strict=True)
        ]

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

    def _offer_file(self, source: str, gate: Gate) -> None:
        engine, name = ENGINES[engine_for(source)], os.path.basename(source)
        try:
            strategy = engine.metadata(source).get("strategy")
        except MissingDependency:
            return
        except CaptionerError as error:
            log.event("not_offered", "warning", file=name, reason=str(error))
            return
        self._models[name] = Loaded(name, source, gate, strategy, engine.chooses_strategy)


def strategies() -> list[dict[str, Any]]:
    """The strategies with what a form must know of them.

    Returns:
        list of dict with name, label and about (for people), and options: those that the page has fields for, and
        their defaults.
    """
    from inspect import signature

    from captioner.decoding import STRATEGIES

    described = STRATEGIES.describe()
    return [
        {
            "name": name,
            "label": _WORDS.get(name, (name, ""))[0],
            "about": _WORDS.get(name, ("", described[name]))[1],
            "options": {
                option: parameter.default
                for option, parameter in signature(STRATEGIES[name]).parameters.items()
                if option in _FIELDS
            },
        }
        for name in STRATEGIES
    ]


def rerankers() -> list[dict[str, str]]:
    """The rerankers that run with every model: none that needs parameters fitted for it.

    Returns:
        list of dict with name and label (for people).
    """
    from captioner.rerank import RERANKERS

    return [
        {"name": name, "label": _RERANKERS.get(name, name)}
        for name in RERANKERS
        if not RERANKERS[name].parameters
    ]


def described(strategy: str | None) -> str:
    """A strategy as people say it; empty for None.

    Example:
        >>> described("beam(width=3, n_best=2)"), described("greedy")
        ('beam search, width 3, n best 2', 'greedy')
    """
    if strategy is None:
        return ""
    spec = parse_spec(strategy)
    label = _WORDS.get(spec.name, (spec.name, ""))[0]
    return ", ".join(
        [label[:1].lower() + label[1:], *(f"{k.replace('_', ' ')} {v}" for k, v in spec.args.items())]
    )


def checked(strategy: str) -> str:
    """A visitor's strategy, if it is one of the table and of a bearable size.

    Args:
        strategy: str. A spec.

    Returns:
        str: the same.

    Raises:
        SpecError: if it is not. Specs such as "package.module:Name", which load code, are not for visitors.

    Example:
        >>> checked("constrained(must_include=['dog', 'fire hydrant'], width=16)")
        "constrained(must_include=['dog', 'fire hydrant'], width=16)"
        >>> checked("constrained(must_include=['dog', 'red fire hydrant'], width=16)")
        Traceback (most recent call last):
        captioner.errors.SpecError: expected a strategy with at most 64 beams here, got 80: lower the width or the \
number of words that must occur
    """
    from captioner.decoding import STRATEGIES
    from captioner.decoding.rules import Banned
    from captioner.decoding.strategies.sample import Sample

    if len(strategy) > _LONGEST_SPEC:
        raise SpecError(
            f"expected a strategy of at most {_LONGEST_SPEC} characters here, got {len(strategy)}"
        )
    name = parse_spec(strategy).name
    if ":" in name:  # what the registry says of it is for those who could trust it
        known = ", ".join(STRATEGIES)
        raise SpecError(
            f"strategy {name!r} names Python code, which is not for visitors: expected one of {known}"
        )
    with table_specs_only():
        built = STRATEGIES.build(strategy)
    banned = sum(len(rule.value) for rule in built.rules if isinstance(rule, Banned))
    if banned > _MOST_BANNED:
        raise SpecError(f"expected at most {_MOST_BANNED} banned words here, got {banned}")
    rows = built.search_rows(words)
    if rows > _MOST_ROWS:
        hint = " or the number of words that must occur" if rows > built.rows else ""
        what = "number of captions" if isinstance(built, Sample) else "width"
        raise SpecError(
            f"expected a strategy with at most {_MOST_ROWS} beams here, got {rows}: lower the {what}{hint}"
        )
    return strategy


def _home(model: str | None) -> Path | None:
    """The captioner model that a served folder is, or is a version of."""
    if model is None:
        return None
    folder = Path(os.path.abspath(model))
    folder = folder.parent if is_version(folder) else folder
    return folder if (folder / bundle.MANIFEST).is_file() else None
