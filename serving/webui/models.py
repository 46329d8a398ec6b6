"""The models behind the web page: the served version, and models that `captioner.load` takes."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.engines.versions import read_metadata
from captioner.errors import EngineError, SpecError
from captioner.outputs.confidence import Confidence
from captioner.registry import parse_spec, table_specs_only
from captioner.signature import EXPLAIN, INPUT, captions_from, missing
from captioner.text.languages import ENGLISH
from captioner.types import Caption
from serving.protocol.predict import Call, Models, Version, predict_on
from serving.protocol.status import ServingError
from serving.runtime.admission import AdmissionControl
from serving.webui.about import About, about


class PageModel(abc.ABC):
    """A model that the page offers.

    Attributes:
        name: str. What the page calls it.
    """

    name: str

    @abc.abstractmethod
    def row(self) -> dict[str, Any]:
        """The model's row in `/page/models`.

        Raises:
            ServingError: while no version is served.
        """

    @abc.abstractmethod
    def about(self) -> About:
        """Size and metrics, without loading the model."""

    @abc.abstractmethod
    def caption(self, data: bytes, strategy: str | None, timeout: float) -> Caption:
        """Captions an encoded image.

        Args:
            data: bytes.
            strategy: str, or None for the model's default.
            timeout: float. Seconds.

        Returns:
            `Caption`, with its error if the image cannot be read.

        Raises:
            CaptionerError: if the model cannot be loaded or run.
            ServingError: DEADLINE_EXCEEDED; UNAVAILABLE while the model is being loaded, which takes seconds.
        """

    @abc.abstractmethod
    def confidence(self, caption: Caption) -> float | None:
        """The probability that a person would accept the caption, or None where the model is not calibrated."""

    @abc.abstractmethod
    def language(self) -> str:
        """The code of the captions' language; English where the model does not record it."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the model."""


class LoadedModel(PageModel):
    """A model that `captioner.load` takes, run in a thread of its own, one image after another.

    Args:
        name: str. What the page calls it.
        source: str. Loaded with `captioner.load` by `open`, or on first use.
        admission: `AdmissionControl`, whose workers it shares.
        strategy: str, default None. Its default strategy, if that is known.
        free: bool, default True. Whether a strategy may be chosen per request.
    """

    def __init__(
        self,
        name: str,
        source: str,
        admission: AdmissionControl,
        strategy: str | None = None,
        free: bool = True,
    ):
        self.name, self.source, self.strategy, self.free = name, source, strategy, free
        self._admission = admission
        self._model: Any = None
        self._has_attention: bool | None = None
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
        """See `PageModel.row`."""
        return _row(self.name, self._has_attention, self.strategy, self.free)

    def about(self) -> About:
        """See `PageModel.about`."""
        return about(self.source)

    def caption(self, data: bytes, strategy: str | None, timeout: float) -> Caption:
        """See `PageModel.caption`."""
        deadline = time.monotonic() + timeout
        future = self._pool.submit(self._run, data, strategy, deadline)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            if self._model is None:
                raise ServingError(
                    "UNAVAILABLE", f"the model {self.name} is being loaded: try again soon"
                ) from None
            raise ServingError("DEADLINE_EXCEEDED", f"no caption within {timeout:g} s: try again") from None

    def confidence(self, caption: Caption) -> float | None:
        """See `PageModel.confidence`."""
        return None if self._model is None else self._model.confidence(caption)

    def language(self) -> str:
        """See `PageModel.language`."""
        return ENGLISH if self._model is None else self._model.language

    def close(self) -> None:
        """See `PageModel.close`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._model is not None:
            self._model.close()

    def _run(self, data: bytes, strategy: str | None, deadline: float) -> Caption:
        if self._model is None:
            self.open()
        with self._admission.worker(max(0.0, deadline - time.monotonic())):
            caption = self._predict(data, strategy)
        self._has_attention = _shows_attention(caption, self._has_attention)
        return caption

    def _predict(self, data: bytes, strategy: str | None) -> Caption:
        if strategy is None:
            return self._model.engine.predict([data], None)[0]
        with table_specs_only():  # a visitor's strategy must not import code
            return self._model.engine.predict([data], strategy)[0]


class _Export(NamedTuple):
    """What an exported version records about itself."""

    strategy: str | None = None
    calibration: Confidence | None = None
    language: str = ENGLISH


class ServedModel(PageModel):
    """The newest version of the model that is served; other strategies are run by the model folder it belongs to.

    Args:
        name: str. The model's.
        models: callable that returns `Models`.
        find: callable that returns the version folders on disk.
        admission: `AdmissionControl`.
        home: Path, default None. The model folder.
    """

    def __init__(
        self,
        name: str,
        models: Callable[[], Models],
        find: Callable[[], Mapping[int, Path]],
        admission: AdmissionControl,
        home: Path | None = None,
    ):
        self.name, self._models, self._find, self._home = name, models, find, home
        self._has_attention: bool | None = None
        self._loaded = LoadedModel(name, str(home), admission) if home is not None else None
        self._metadata: dict[int, _Export] = {}  # by version

    def row(self) -> dict[str, Any]:
        """See `PageModel.row`; `problem` is the reason why the version cannot caption, if there is one."""
        with self._models().use(self.name) as version:
            problem = _problem(self.name, version)
            exported = self._export_metadata(version.number).strategy
        row = _row(self.name, self._has_attention, exported, self._loaded is not None)
        return row | ({"problem": problem} if problem else {})

    def about(self) -> About:
        """See `PageModel.about`; of the newest version."""
        with self._models().use(self.name) as version:
            path = self._find().get(version.number)
        return about(path, self._home) if path is not None else About("saved_model")

    def caption(self, data: bytes, strategy: str | None, timeout: float) -> Caption:
        """See `PageModel.caption`."""
        with self._models().use(self.name) as version:
            exported = self._export_metadata(version.number).strategy
            if strategy is None or (exported and _same(strategy, exported)):
                if problem := _problem(self.name, version):
                    raise EngineError(problem)
                inputs = {INPUT: np.array([data], object)}
                outputs = sorted(version.signatures[EXPLAIN].outputs)
                call = Call(self.name, inputs, signature=EXPLAIN, outputs=outputs, timeout=timeout)
                caption = captions_from(predict_on(version, call).outputs)[0]
                self._has_attention = _shows_attention(caption, self._has_attention)
                return caption
        if self._loaded is None:
            raise SpecError(
                f"{self.name} is served with the strategy {exported or 'of its export'} alone: its model folder, "
                "which could run others, is not beside it"
            )
        return self._loaded.caption(data, strategy, timeout)

    def confidence(self, caption: Caption) -> float | None:
        """See `PageModel.confidence`."""
        with self._models().use(self.name) as version:
            calibration = self._export_metadata(version.number).calibration
        return None if calibration is None else calibration.of(caption)

    def language(self) -> str:
        """See `PageModel.language`."""
        with self._models().use(self.name) as version:
            return self._export_metadata(version.number).language

    def close(self) -> None:
        """Closes the model folder; the served versions are closed by their owner."""
        if self._loaded is not None:
            self._loaded.close()

    def _export_metadata(self, number: int) -> _Export:
        """What a version records, where captioner exported it."""
        if number not in self._metadata:
            try:
                metadata = read_metadata(self._find()[number])
                confidence = metadata.get("confidence")
                calibration = Confidence(confidence) if confidence else None
                strategy, language = str(metadata["strategy"]), metadata.get("language", ENGLISH)
                self._metadata[number] = _Export(strategy, calibration, language)
            except (KeyError, OSError, EngineError):  # not an export of captioner, or just deleted
                return _Export()
        return self._metadata[number]


def _row(name: str, attention: bool | None, strategy: str | None, free: bool) -> dict[str, Any]:
    return {"name": name, "attention": attention, "exported_strategy": strategy, "chooses_strategy": free}


def _problem(name: str, version: Version) -> str | None:
    signature = version.signatures.get(EXPLAIN)
    if signature is None or missing(signature.inputs, signature.outputs):
        return (
            f"{name} cannot be captioned with here: it lacks the signature {EXPLAIN!r} of models that "
            "`captioner export` writes"
        )
    return None


def _same(a: str, b: str) -> bool:
    return str(parse_spec(a)) == str(parse_spec(b))


def _shows_attention(caption: Caption, known: bool | None) -> bool | None:
    """Whether a model has attention, after one more of its captions; None while that is unknown."""
    if known or not caption.words:
        return known
    return caption.attention is not None
