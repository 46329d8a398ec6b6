"""What runs a model, seen from outside: encoded images in, captions out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

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
    """

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
