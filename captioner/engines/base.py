"""What runs a model, seen from outside: encoded images in, captions out."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from captioner.errors import EngineError
from captioner.text import Tokenizer
from captioner.types import END, Caption, Hypotheses

# What captions are chosen with when nobody says otherwise.
DEFAULT_STRATEGY = "beam(width=3)"


class Engine(abc.ABC):
    """Runs a model.

    An engine is given encoded images and gives one `Caption` for each, in order. An image that it cannot
    read gets a `Caption` whose `error` says why, and costs the others nothing. Everything above engines
    (`Captioner`, the command line, servers) knows no more of them than this.

    One engine serves any number of threads: each gets the captions that it would get alone, whatever the others ask
    for at the same time, with whichever strategies. `close` may be called while others predict: they get their captions
    or an `EngineError`. Engines may be opened in several threads at once.

    No caption of an engine has a NaN or an infinity in it: that is an `EngineError`.

    What there is to know of an engine before it is opened is said by its class, and asked for through
    `captioner.engines.ENGINES`.

    Attributes:
        sources: str. What it opens, in words, for messages.
        purpose: str. What it is for, in a sentence, for people who choose among models.
        chooses_strategy: bool. Whether `predict` runs any strategy; if not, only the one that was exported.
        thread_safe: bool. Whether threads may share one; all of ours may.
        model: `CaptionModel` that runs in this process, None for engines that run what was exported.
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
        """Names of what `open` takes beside the source."""
        return tuple(inspect.signature(cls.open).parameters)[1:]

    @classmethod
    def variants(cls, folder: Path) -> list[str]:
        """The sources in a model folder that this engine opens, each for `captioner.load`."""
        return []

    @classmethod
    def label(cls, source: str | Path) -> str:
        """The name of a variant of a model folder in its `metrics.json`."""
        return Path(source).name

    @classmethod
    def metadata(cls, source: str) -> dict[str, Any]:
        """What an export recorded about itself, such as "strategy", read without loading it; {} if there is none.

        Raises:
            MissingDependency: if what would run it is not installed.
            EngineError: if it is not ours, or damaged.
        """
        return {}

    @classmethod
    @abc.abstractmethod
    def open(cls, source: str) -> Engine:
        """Opens the model that `source` names, as `captioner.load` takes it.

        Raises:
            CaptionerError: if it is not there, not ours, damaged or cannot be reached.
        """

    @abc.abstractmethod
    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """Captions images.

        Args:
            images: sequence of bytes, each an encoded image. An empty one only checks the strategy.
            strategy: str, default None, which is the engine's own. A spec of `captioner.decoding.STRATEGIES`.

        Returns:
            list of Caption, one for each image.

        Raises:
            SpecError: if the strategy is not known.
            EngineError: if the engine cannot run it.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """What runs here: "engine", "source", "strategy" (the default), and whatever else is known.

        "confidence" is what `captioner.outputs.confidence.Confidence` takes, or None where the model was never
        calibrated.
        """

    def close(self) -> None:  # noqa: B027  (most engines hold nothing)
        """Lets go of what the engine holds; a second call does nothing."""


def captions_of(found: Hypotheses, tokenizer: Tokenizer, grid: tuple[int, int]) -> list[Caption]:
    """Turns what a search returned into captions.

    Args:
        found: `Hypotheses` of arrays, B images and K captions each.
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
    found = Hypotheses(*(np.asarray(leaf) for leaf in found))
    numbers = (found.logp, found.score, found.word_logp, found.attention)
    if not all(np.isfinite(array).all() for array in numbers):
        raise EngineError(
            "the network computed NaN or infinity: its weights are not finite, or overflow; train or export it again"
        )
    captions = []
    for image in range(found.ids.shape[0]):
        row = [
            _caption(Hypotheses(*(leaf[image, k] for leaf in found)), tokenizer, grid)
            for k in range(found.ids.shape[1])
            # A search that found fewer captions than asked for fills up with empty ones.
            if k == 0 or found.lengths[image, k] > 0
        ]
        best = row[0]
        captions.append(
            Caption(
                best.text, best.score, best.words, best.logp, best.word_logp, best.attention, tuple(row[1:])
            )
        )
    return captions


def _caption(found: Hypotheses, tokenizer: Tokenizer, grid: tuple[int, int]) -> Caption:
    ids = found.ids[: int(found.lengths)]
    count = len(ids) - int(len(ids) > 0 and ids[-1] == END)
    words = tokenizer.words(ids)
    attention = found.attention[:count].astype(np.float32).reshape(count, *grid)
    return Caption(
        text=tokenizer.detokenize(words),
        score=float(found.score),
        words=words,
        logp=float(found.logp),
        word_logp=tuple(float(value) for value in found.word_logp[:count]),
        attention=attention if attention.any() else None,
    )
