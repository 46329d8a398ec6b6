"""An engine without a model, for testing what is built on engines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner.engines.base import DEFAULT_STRATEGY, Engine
from captioner.image import loading
from captioner.registry import parse_spec
from captioner.types import Caption

_WORDS = ("red", "green", "blue", "small", "large", "round", "quiet", "bright")


class FakeEngine(Engine):
    """Derives a caption from the checksum of an image and the strategy: the same input, the same caption.

    Args:
        fail: Exception, default None. Raised by every `predict`, as for a server that is down.

    Attributes:
        calls: list of int. The number of images of each call of `predict`.

    Example:
        >>> from captioner.api import Captioner
        >>> Captioner(FakeEngine()).caption(np.zeros((8, 8, 3), np.uint8)).words[0]
        'a'
    """

    sources, purpose, chooses_strategy = "anything", "For tests.", True

    def __init__(self, fail: Exception | None = None):
        self.fail = fail
        self.calls: list[int] = []
        self.closed = False

    @classmethod
    def opens(cls, source: str) -> bool:
        """See `Engine.opens`."""
        return True

    @classmethod
    def open(cls, source: str) -> FakeEngine:
        """A new fake, whatever the source."""
        return cls()

    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """See `Engine.predict`."""
        spec = str(parse_spec(strategy or DEFAULT_STRATEGY))
        self.calls.append(len(images))
        if self.fail is not None:
            raise self.fail
        return [self._caption(image, spec) for image in images]

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        return {"engine": "fake", "source": "", "strategy": DEFAULT_STRATEGY}

    def close(self) -> None:
        """See `Engine.close`."""
        self.closed = True

    @staticmethod
    def _caption(image: bytes, spec: str) -> Caption:
        if loading.kind(image) is None:
            return Caption("", error="not an image")
        digest = hashlib.sha256(image + spec.encode()).digest()
        words = ("a", *(_WORDS[byte % len(_WORDS)] for byte in digest[:2]), "image")
        logp = tuple(-(byte + 1) / 64 for byte in digest[2:6])
        attention = np.frombuffer(digest[:16] * 4, np.uint8).reshape(4, 4, 4).astype(np.float32)
        attention /= attention.sum((1, 2), keepdims=True)
        return Caption(" ".join(words), sum(logp) / 5, words, sum(logp), logp, attention)
