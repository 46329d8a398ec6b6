"""The models and strategies that the web page offers."""

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
from serving.runtime.admission import AdmissionControl
from serving.runtime.versions import is_version
from serving.webui.about import good_for
from serving.webui.models import LoadedModel, PageModel, ServedModel

# Limits on a visitor's strategy: each beam takes memory and time, and so does each word of a rule.
_MAX_ROWS, _MAX_BANNED, _MAX_SPEC = 64, 64, 2000
_FIELDS = ("width", "n_best", "n", "must_include", "rerank")  # options that the page has fields for
# Labels and descriptions of the rows of `STRATEGIES`.
_LABELS = {
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
        "Beam search for a caption that contains the words or phrases that you enter.",
    ),
}
# Labels of the rows of `RERANKERS`.
_RERANKERS = {"mbr": "Consensus (minimum Bayes risk)"}


class Choices:
    """The models that the page offers, the served one first.

    Args:
        name: str. The served model's.
        models: callable that returns `Models`.
        find: callable that returns the version folders on disk.
        admission: `AdmissionControl`.
        model: str, default None. Path of the served model; a model folder brings its other strategies and the
            files that were exported into it.
        extra_models: sequence of str, default none. Further models, as `captioner.load` takes them.

    Raises:
        SpecError: if a model comes twice.
    """

    def __init__(
        self,
        name: str,
        models: Callable[[], Models],
        find: Callable[[], Mapping[int, Path]],
        admission: AdmissionControl,
        model: str | None = None,
        extra_models: Sequence[str] = (),
    ):
        home = _home(model)
        served = ServedModel(name, models, find, admission, home)
        self._models: dict[str, PageModel] = {name: served}
        self._extra_models = list(extra_models)
        for source in sorted(benchmark.variants(home)) if home else []:
            if os.path.isfile(source):  # the served versions and their model folder are offered already
                self._offer_file(source, admission)
        for source in extra_models:
            if source in self._models:
                raise SpecError(
                    f"--extra-model {source}: expected each model once, and another name than {name}"
                )
            self._models[source] = LoadedModel(source, source, admission)

    def __iter__(self) -> Iterator[PageModel]:
        return iter(self._models.values())

    def __getitem__(self, name: str) -> PageModel:
        if not name:
            return next(iter(self))
        if name not in self._models:
            raise ServingError("NOT_FOUND", unknown("model", name, self._models))
        return self._models[name]

    def rows(self) -> list[dict[str, Any]]:
        """The models as JSON for the page, with a line of description.

        Raises:
            ServingError: while no version is served.
        """
        rows = [model.row() for model in self]
        lines = good_for([model.about() for model in self])
        return [
            {**row, "default_strategy": strategy_label(row["exported_strategy"]), "description": line}
            for row, line in zip(rows, lines, strict=True)
        ]

    def open(self) -> None:
        """Loads the extra models, so that an error is reported when the server starts.

        Raises:
            CaptionerError: if one cannot be loaded.
        """
        for source in self._extra_models:
            model = self._models[source]
            if isinstance(model, LoadedModel):
                try:
                    model.open()
                except CaptionerError as error:
                    raise type(error)(f"--extra-model {source}: {error}") from None

    def close(self) -> None:
        """Closes all models."""
        for model in self:
            model.close()

    def _offer_file(self, source: str, admission: AdmissionControl) -> None:
        engine, name = ENGINES[engine_for(source)], os.path.basename(source)
        try:
            strategy = engine.metadata(source).get("strategy")
        except MissingDependency:
            return
        except CaptionerError as error:
            log.event("not_offered", "warning", file=name, reason=str(error))
            return
        self._models[name] = LoadedModel(name, source, admission, strategy, engine.chooses_strategy)


def strategies() -> list[dict[str, Any]]:
    """The strategies as JSON for the form of the page.

    Returns:
        list of dict with "name", "label" and "description" (for people), and "options": those that the page has fields
        for, with their defaults.
    """
    from inspect import signature

    from captioner.decoding import STRATEGIES

    descriptions = STRATEGIES.describe()
    return [
        {
            "name": name,
            "label": _LABELS.get(name, (name, ""))[0],
            "description": _LABELS.get(name, ("", descriptions[name]))[1],
            "options": {
                option: parameter.default
                for option, parameter in signature(STRATEGIES[name]).parameters.items()
                if option in _FIELDS
            },
        }
        for name in STRATEGIES
    ]


def rerankers() -> list[dict[str, str]]:
    """The rerankers that run with every model, as JSON for the form: none that needs parameters fitted for it.

    Returns:
        list of dict with "name" and "label" (for people).
    """
    from captioner.rerank import RERANKERS

    return [
        {"name": name, "label": _RERANKERS.get(name, name)}
        for name in RERANKERS
        if not RERANKERS[name].parameters
    ]


def strategy_label(strategy: str | None) -> str:
    """A strategy in words; empty for None.

    Example:
        >>> strategy_label("beam(width=3, n_best=2)"), strategy_label("greedy")
        ('beam search, width 3, n best 2', 'greedy')
    """
    if strategy is None:
        return ""
    spec = parse_spec(strategy)
    label = _LABELS.get(spec.name, (spec.name, ""))[0]
    return ", ".join(
        [label[:1].lower() + label[1:], *(f"{k.replace('_', ' ')} {v}" for k, v in spec.args.items())]
    )


def check_strategy(strategy: str) -> str:
    """Checks that a visitor's strategy is a row of the table and within the limits.

    Args:
        strategy: str. A spec.

    Returns:
        str: the spec.

    Raises:
        SpecError: if it is not. Specs such as "package.module:Name", which import code, are refused.

    Example:
        >>> check_strategy("constrained(must_include=['dog', 'fire hydrant'], width=16)")
        "constrained(must_include=['dog', 'fire hydrant'], width=16)"
        >>> check_strategy("constrained(must_include=['dog', 'red fire hydrant'], width=16)")
        Traceback (most recent call last):
        captioner.errors.SpecError: expected a strategy with at most 64 beams here, got 80: lower the width or the \
number of words that must occur
    """
    from captioner.decoding import STRATEGIES
    from captioner.decoding.rules import Banned
    from captioner.decoding.strategies.sample import Sample

    if len(strategy) > _MAX_SPEC:
        raise SpecError(f"expected a strategy of at most {_MAX_SPEC} characters here, got {len(strategy)}")
    name = parse_spec(strategy).name
    if ":" in name:  # the registry's error is for users who may pass --trust
        known = ", ".join(STRATEGIES)
        raise SpecError(
            f"strategy {name!r} names Python code, which is not for visitors: expected one of {known}"
        )
    with table_specs_only():
        built = STRATEGIES.build(strategy)
    banned = sum(len(rule.value) for rule in built.rules if isinstance(rule, Banned))
    if banned > _MAX_BANNED:
        raise SpecError(f"expected at most {_MAX_BANNED} banned words here, got {banned}")
    rows = built.search_rows(words)
    if rows > _MAX_ROWS:
        alternative = " or the number of words that must occur" if rows > built.rows else ""
        option = "number of captions" if isinstance(built, Sample) else "width"
        raise SpecError(
            f"expected a strategy with at most {_MAX_ROWS} beams here, got {rows}: lower the {option}{alternative}"
        )
    return strategy


def _home(model: str | None) -> Path | None:
    """The captioner model folder that a served folder is, or is a version of."""
    if model is None:
        return None
    folder = Path(os.path.abspath(model))
    folder = folder.parent if is_version(folder) else folder
    return folder if (folder / bundle.MANIFEST).is_file() else None
