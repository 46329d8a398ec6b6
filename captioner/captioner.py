"""The class `Captioner`: one interface to images and captions, whatever engine runs the model. No TensorFlow here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from captioner import checks
from captioner.engines import Engine
from captioner.errors import ImageError
from captioner.image import loading
from captioner.outputs.alt_text import LONGEST, THRESHOLD, AltText, alt_text
from captioner.outputs.confidence import Confidence
from captioner.text.languages import ENGLISH
from captioner.types import Caption


class Captioner:
    """Captions images with the engine that runs the model.

    A context manager: leaving the block closes the connections and threads of the engine.

    Args:
        engine: `Engine`.

    Example:
        >>> from captioner.engines.fake import FakeEngine
        >>> import numpy as np
        >>> image = np.zeros((8, 8, 3), np.uint8)
        >>> with Captioner(FakeEngine()) as model:
        ...     captions = list(model.caption_many([image, "missing.jpg"]))
        >>> captions[0].words[0], captions[1].error
        ('a', 'missing.jpg: no such image file')
    """

    def __init__(self, engine: Engine):
        self.engine = engine

    def __repr__(self) -> str:
        about = self.engine.describe()
        source, strategy = str(about["source"]), str(about["strategy"])
        return f"Captioner(engine={about['engine']}, source={source!r}, strategy={strategy!r})"

    def caption(self, image: Any, strategy: str | None = None) -> Caption:
        """Captions one image.

        Args:
            image: path, encoded bytes, PIL image, array or tensor; see `captioner.image.loading.to_bytes`.
            strategy: str, default None, which is the engine's own. The search strategy: "greedy",
                "beam(width=5, n_best=3)"; `captioner models` lists them all.

        Returns:
            `Caption`.

        Raises:
            ImageError: if the image cannot be read.
            SpecError: if the strategy is not known.
            EngineError: if the engine cannot run.
        """
        caption = self.engine.predict([loading.to_bytes(image)], strategy)[0]
        if caption.error is not None:
            raise ImageError(f"{loading.name(image)}: {caption.error}")
        return caption

    def caption_many(
        self, images: Iterable[Any], strategy: str | None = None, batch_size: int = 32
    ) -> Iterator[Caption]:
        """Captions many images, lazily and in order; an unreadable image does not stop the batch.

        Args:
            images: iterable of what `caption` takes. Read lazily, `batch_size` at a time.
            strategy: str, default None; see `caption`.
            batch_size: int, default 32. Images that go through the network together.

        Returns:
            An iterator of `Caption`, one for each image; that of an unreadable image has an `error`.

        Raises:
            ImageError: if `images` is a single image.
            SpecError: if the strategy is not known, or `batch_size` is no whole number of at least 1.
            EngineError: if the engine cannot run.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise ImageError(
                f"caption_many expects several images, got one {type(images).__name__}: use caption"
            )
        checks.integer(batch_size, "batch_size", 1)
        self.engine.predict([], strategy)  # raises for a wrong strategy now, not at the first image
        return self._captions(iter(images), strategy, batch_size)

    def _captions(self, images: Iterator[Any], strategy: str | None, batch_size: int) -> Iterator[Caption]:
        index = 0
        while batch := list(islice(images, batch_size)):
            names = [loading.name(image, index + i) for i, image in enumerate(batch)]
            inputs = [_read(image, name) for image, name in zip(batch, names, strict=True)]
            readable = [data for data in inputs if isinstance(data, bytes)]
            captions = iter(self.engine.predict(readable, strategy) if readable else [])
            for data, name in zip(inputs, names, strict=True):
                caption = data if isinstance(data, Caption) else next(captions)
                if caption.error is not None and caption is not data:
                    caption = replace(caption, error=f"{name}: {caption.error}")
                yield caption
            index += len(batch)

    def confidence(self, caption: Caption) -> float | None:
        """The calibrated probability that a person would accept a caption of this model.

        Args:
            caption: `Caption`.

        Returns:
            float from 0 to 1; None where the model was never calibrated (`training/calibrate_confidence.py`), or
                runs on a server.
        """
        calibration = self.engine.describe().get("confidence")
        return Confidence(calibration).of(caption) if calibration else None

    @property
    def language(self) -> str:
        """The code of the captions' language, such as "en"; English where the model does not record it."""
        return self.engine.describe().get("language") or ENGLISH

    def alt_text(
        self,
        image: Any,
        max_length: int = LONGEST,
        threshold: float = THRESHOLD,
        strategy: str | None = None,
        language: str | None = None,
    ) -> AltText:
        """The alternative text (HTML's `alt`) of an image.

        Args:
            image: what `caption` takes.
            max_length: int, default 125; see `captioner.alt_text`.
            threshold: float, default 0.5; see `captioner.alt_text`.
            strategy: str, default None; see `caption`.
            language: str, default None, which is that of the model. A served model does not say its language: pass it.

        Returns:
            `AltText`; its `str()` is the text.
        """
        caption = self.caption(image, strategy)
        confidence = self.confidence(caption)
        return alt_text(caption, max_length, confidence, threshold, language=language or self.language)

    def close(self) -> None:
        """Releases the resources of the engine."""
        self.engine.close()

    def __enter__(self) -> Captioner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(image: Any, name: str) -> bytes | Caption:
    """The encoded image, or a `Caption` with the error."""
    try:
        return loading.to_bytes(image, name)
    except ImageError as error:
        return Caption("", error=str(error))
