"""Who captions for the web page: the version that is served, and models that `captioner.load` takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from captioner.engines.versions import facts
from captioner.errors import EngineError, SpecError
from captioner.outputs.confidence import Confidence
from captioner.registry import parse_spec, table_specs_only
from captioner.signature import EXPLAIN, INPUT, captions_from, missing
from captioner.types import Caption
from serving.protocol.predict import Call, Models, Version, predict_on
from serving.protocol.status import ServingError
from serving.runtime.batching import Gate
from serving.webui.about import About, about


class Loaded:
    """A model that `captioner.load` takes, run in a thread of its own, one image after another.

    Args:
        name: str. What the page calls it.
        source: str. What `captioner.load` is given, on first use or by `open`.
        gate: `Gate`, whose workers it shares.
        strategy: str, default None. What it does unless asked for something else, if that is known.
        free: bool, default True. Whether it runs any strategy.
    """

    def __init__(self, name: str, source: str, gate: Gate, strategy: str | None = None, free: bool = True):
        self.name, self.source, self.strategy, self.free = name, source, strategy, free
        self._gate = gate
        self._model: Any = None
        self._attends: bool | None = None
        self._pool = ThreadPoolExecutor(1, "page")

    def open(self) -> None:
        """Loads the model.

        Raises:
            CaptionerError: if `captioner.load` cannot.
        """
        from captioner.api import load

        model: Any = load(self.source)
        self.strategy, self.free = model.engine.describe()["strategy"], model.engine.chooses_strategy
        self._model = model

    def row(self) -> dict[str, Any]:
        """The model's row in `/page/models`."""
        return _row(self.name, self._attends, self.strategy, self.free)

    def about(self) -> About:
        """What is known of the model without loading it."""
        return about(self.source)

    def caption(self, data: bytes, strategy: str | None, timeout: float) -> Caption:
        """Captions an encoded image.

        Args:
            data: bytes.
            strategy: str, or None for the model's own.
            timeout: float. Seconds.

        Returns:
            `Caption`, with its error if the image cannot be read.

        Raises:
            CaptionerError: if the model cannot be loaded or run.
            ServingError: if the time is up; UNAVAILABLE while it is being made ready, which takes seconds.
        """
        ends = time.monotonic() + timeout
        job = self._pool.submit(self._run, data, strategy, ends)
        try:
            return job.result(timeout)
        except TimeoutError:
            job.cancel()
            if self._model is None:
                raise ServingError(
                    "UNAVAILABLE", f"the model {self.name} is being loaded: try again soon"
                ) from None
            raise ServingError("DEADLINE_EXCEEDED", f"no caption within {timeout:g} s: try again") from None

    def confidence(self, caption: Caption) -> float | None:
        """The chance that a person would accept the caption, or None where nobody has calibrated the model."""
        return None if self._model is None else self._model.confidence(caption)

    def close(self) -> None:
        """Lets go of the model."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._model is not None:
            self._model.close()

    def _run(self, data: bytes, strategy: str | None, ends: float) -> Caption:
        if self._model is None:
            self.open()
        with self._gate.running(max(0.0, ends - time.monotonic())):
            caption = self._predict(data, strategy)
        self._attends = _attends(caption, self._attends)
        return caption

    def _predict(self, data: bytes, strategy: str | None) -> Caption:
        if strategy is None:
            return self._model.engine.predict([data], None)[0]
        with table_specs_only():  # a visitor's: it imports nothing, whoever called
            return self._model.engine.predict([data], strategy)[0]


class Served:
    """The newest version of the model that is served, and with other strategies the model folder it belongs to.

    Args:
        name: str. The model's.
        models: callable that gives `Models`.
        find: callable that gives the version folders on disk.
        gate: `Gate`.
        home: Path, default None. The model folder.
    """

    def __init__(
        self,
        name: str,
        models: Callable[[], Models],
        find: Callable[[], Mapping[int, Path]],
        gate: Gate,
        home: Path | None = None,
    ):
        self.name, self._models, self._find, self._home = name, models, find, home
        self._attends: bool | None = None
        self._loaded = Loaded(name, str(home), gate) if home is not None else None
        self._known: dict[int, tuple[str | None, Confidence | None]] = {}  # what exports note, by version

    def row(self) -> dict[str, Any]:
        """The model's row in `/page/models`; `problem` says why it cannot caption, if so.

        Raises:
            ServingError: while no version is served.
        """
        with self._models().use(self.name) as version:
            problem = _problem(self.name, version)
            exported, _ = self._noted(version.number)
        row = _row(self.name, self._attends, exported, self._loaded is not None)
        return row | ({"problem": problem} if problem else {})

    def about(self) -> About:
        """What is known of the newest version; see `Loaded.about`."""
        with self._models().use(self.name) as version:
            path = self._find().get(version.number)
        return about(path, self._home) if path is not None else About("saved_model")

    def caption(self, data: bytes, strategy: str | None, timeout: float) -> Caption:
        """See `Loaded.caption`."""
        with self._models().use(self.name) as version:
            exported, _ = self._noted(version.number)
            if strategy is None or (exported and _same(strategy, exported)):
                if problem := _problem(self.name, version):
                    raise EngineError(problem)
                given = {INPUT: np.array([data], object)}
                outputs = sorted(version.signatures[EXPLAIN].outputs)
                call = Call(self.name, given, signature=EXPLAIN, outputs=outputs, timeout=timeout)
                caption = captions_from(predict_on(version, call).outputs)[0]
                self._attends = _attends(caption, self._attends)
                return caption
        if self._loaded is None:
            raise SpecError(
                f"{self.name} is served with the strategy {exported or 'of its export'} alone: its model folder, "
                "which could run others, is not beside it"
            )
        return self._loaded.caption(data, strategy, timeout)

    def confidence(self, caption: Caption) -> float | None:
        """See `Loaded.confidence`."""
        with self._models().use(self.name) as version:
            _, sure = self._noted(version.number)
        return None if sure is None else sure.of(caption)

    def close(self) -> None:
        """Lets go of the model folder; the versions are others' business."""
        if self._loaded is not None:
            self._loaded.close()

    def _noted(self, number: int) -> tuple[str | None, Confidence | None]:
        """The strategy of a version and its calibration, where captioner wrote it."""
        if number not in self._known:
            try:
                noted = facts(self._find()[number])
                sure = Confidence(noted["confidence"]) if noted.get("confidence") else None
                self._known[number] = (str(noted["strategy"]), sure)
            except (KeyError, OSError, EngineError):  # none of ours, or just gone
                return None, None
        return self._known[number]


def _row(name: str, attends: bool | None, strategy: str | None, free: bool) -> dict[str, Any]:
    return {"name": name, "attention": attends, "exported_strategy": strategy, "any_strategy": free}


def _problem(name: str, version: Version) -> str | None:
    signature = version.signatures.get(EXPLAIN)
    if signature is None or missing(signature.inputs, signature.outputs):
        return (
            f"{name} cannot be captioned with here: it lacks the signature {EXPLAIN!r} of models that "
            "`captioner export` writes"
        )
    return None


def _same(one: str, other: str) -> bool:
    return str(parse_spec(one)) == str(parse_spec(other))


def _attends(caption: Caption, known: bool | None) -> bool | None:
    """Whether a model attends, after one more of its captions."""
    if known or not caption.words:
        return known
    return caption.attention is not None
