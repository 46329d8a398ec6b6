"""The interface of all engines: encoded images in, captions out."""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from captioner.errors import EngineError
from captioner.text import Tokenizer
from captioner.types import END, Caption, Hypotheses

# The strategy of every engine, export and program that is given none, of models that have none of their own.
DEFAULT_STRATEGY = "beam(width=3)"


class Engine(abc.ABC):
    """Base of all engines, which run a model.

    An engine takes encoded images and returns one `Caption` for each, in order. An image that it cannot read fails
    alone: its `Caption` has the reason in `error`, and the batch continues. Everything above engines (`Captioner`, the
    command line, servers) uses no more of them than this.

    One engine serves any number of threads: each gets the captions that it would get alone, whatever the others
    request at the same time, with whichever strategies. `close` may be called while others predict: they get their
    captions or an `EngineError`. Engines may be opened in several threads at once.

    No caption of an engine has a NaN or an infinity in it: that is an `EngineError`.

    The properties of an engine that are needed before it is opened are those of its class, found through
    `captioner.engines.ENGINES`.

    Attributes:
        sources: str. What it opens, in words, for messages.
        purpose: str. What it is for, in a sentence, for people who choose among models.
        chooses_strategy: bool. Whether `predict` runs any strategy; if not, only the one that was exported.
        thread_safe: bool. Whether threads may share one; all of ours may.
        model: `CaptionModel` that runs in this process, None for engines that run an export.
    """

    sources: ClassVar[str]
    purpose: ClassVar[str]
    chooses_strategy: ClassVar[bool] = False
    thread_safe: ClassVar[bool] = True
    model: Any = None

    @classmethod
    @abc.abstractmethod
    def opens(cls, source: str) -> bool:
        """Whether `source` names a model for this engine, by its name and by what is on disk; nothing is loaded."""

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Names of the options of `open`, beside the source."""
        return tuple(inspect.signature(cls.open).parameters)[1:]

    @classmethod
    def variants(cls, folder: Path) -> list[str]:
        """The sources in a model folder that this engine opens, each as `captioner.load` takes it."""
        return []

    @classmethod
    def label(cls, source: str | Path) -> str:
        """The name of a variant of a model folder in its `metrics.json`."""
        return Path(source).name

    @classmethod
    def metadata(cls, source: str) -> dict[str, Any]:
        """What an export recorded about itself, such as "strategy", read without loading it; {} if there is none.

        Raises:
            MissingDependency: if a package that runs it is not installed.
            EngineError: if captioner did not write it, or it is damaged.
        """
        return {}

    @classmethod
    @abc.abstractmethod
    def open(cls, source: str) -> Engine:
        """Opens the model that `source` names, as `captioner.load` takes it.

        Raises:
            CaptionerError: if it is missing, not written by captioner, damaged or cannot be reached.
        """

    @abc.abstractmethod
    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """Captions images.

        Args:
            images: sequence of bytes, each an encoded image. An empty sequence only checks the strategy.
            strategy: str, default None, which is that of the engine. A spec of `captioner.decoding.STRATEGIES`.

        Returns:
            list of Caption, one for each image.

        Raises:
            SpecError: if the strategy is unknown.
            EngineError: if the engine cannot run it.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Describes the model: "engine", "source", "strategy" (the default), and whatever else is known.

        "confidence" is the argument of `captioner.outputs.confidence.Confidence`, or None where the model was never
        calibrated. "language" is a code of `captioner.text.languages`, or None where it is not known.
        """

    def close(self) -> None:  # noqa: B027  (most engines hold nothing)
        """Releases the resources of the engine; a second call does nothing."""


def default_strategy(model: Any) -> str:
    """The strategy of a model where nobody asks for one: its own, or `DEFAULT_STRATEGY`.

    Args:
        model: `CaptionModel` or `captioner.bundle.Bundle`.

    Returns:
        str, a spec of `captioner.decoding.STRATEGIES`.

    Example:
        >>> from types import SimpleNamespace
        >>> default_strategy(SimpleNamespace(strategy="")), default_strategy(SimpleNamespace(strategy="greedy"))
        ('beam(width=3)', 'greedy')
    """
    return model.strategy or DEFAULT_STRATEGY


def captions_of(hypotheses: Hypotheses, tokenizer: Tokenizer, grid: tuple[int, int]) -> list[Caption]:
    """Turns the hypotheses of a search into captions.

    Args:
        hypotheses: `Hypotheses` of arrays, B images and K captions each.
        tokenizer: Tokenizer.
        grid: (h, w) with h * w == L.

    Returns:
        list of B `Caption`, each with up to K - 1 alternatives.

    Raises:
        EngineError: if a number is NaN or infinite.

    Example:
        >>> zeros = np.zeros((1, 1, 2), np.float32)
        >>> best = Hypotheses(np.array([[[4, 2]]]), np.array([[2]]), zeros[0], zeros[0], zeros,
        ...                   np.zeros((1, 1, 2, 6)))
        >>> captions_of(best, Tokenizer(["dog"]), (2, 3))[0].words
        ('dog',)
    """
    hypotheses = Hypotheses(*(np.asarray(leaf) for leaf in hypotheses))
    numbers = (hypotheses.logp, hypotheses.score, hypotheses.word_logp, hypotheses.attention)
    if not all(np.isfinite(array).all() for array in numbers):
        raise EngineError(
            "the network computed NaN or infinity: its weights are not finite, or overflow; train or export it again"
        )
    captions = []
    for image in range(hypotheses.ids.shape[0]):
        best, *alternatives = (
            _caption(Hypotheses(*(leaf[image, k] for leaf in hypotheses)), tokenizer, grid)
            for k in range(hypotheses.ids.shape[1])
            # Unreachable hypotheses are returned empty.
            if k == 0 or hypotheses.lengths[image, k] > 0
        )
        captions.append(dataclasses.replace(best, alternatives=tuple(alternatives)))
    return captions


def _caption(hypothesis: Hypotheses, tokenizer: Tokenizer, grid: tuple[int, int]) -> Caption:
    ids = hypothesis.ids[: int(hypothesis.lengths)]
    count = len(ids) - int(len(ids) > 0 and ids[-1] == END)
    words = tokenizer.words(ids)
    attention = hypothesis.attention[:count].astype(np.float32).reshape(count, *grid)
    return Caption(
        text=tokenizer.detokenize(words),
        score=float(hypothesis.score),
        words=words,
        logp=float(hypothesis.logp),
        word_logp=tuple(float(value) for value in hypothesis.word_logp[:count]),
        attention=attention if attention.any() else None,
    )
