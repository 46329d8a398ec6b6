"""What users call: load a model, caption pictures, save. Imports nothing heavy until it runs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from captioner import bundle, inputs
from captioner.engines import ENGINES, Engine
from captioner.errors import EngineError, ImageError, ModelError
from captioner.types import Caption

DEFAULT_MODEL = "saved_models/default"


class Captioner:
    """Captions pictures with whatever engine runs the model.

    A context manager, for engines that hold connections or threads.

    Args:
        engine: `Engine`.

    Example:
        >>> from captioner.engines.fake import FakeEngine
        >>> import numpy as np
        >>> picture = np.zeros((8, 8, 3), np.uint8)
        >>> with Captioner(FakeEngine()) as model:
        ...     captions = list(model.caption_many([picture, "missing.jpg"]))
        >>> captions[0].words[0], captions[1].error
        ('a', 'missing.jpg: no such picture file')
    """

    def __init__(self, engine: Engine):
        self.engine = engine

    def caption(self, image: Any, strategy: str | None = None) -> Caption:
        """Captions one picture.

        Args:
            image: path, encoded bytes, PIL image, array or tensor; see `captioner.inputs.to_bytes`.
            strategy: str, default None, which is the engine's own. How words are chosen: "greedy",
                "beam(width=5, n_best=3)"; `captioner models` lists them all.

        Returns:
            `Caption`.

        Raises:
            ImageError: if the picture cannot be read.
            SpecError: if the strategy is not known.
            EngineError: if the engine cannot run.
        """
        caption = self.engine.predict([inputs.to_bytes(image)], strategy)[0]
        if caption.error is not None:
            raise ImageError(f"{inputs.name(image)}: {caption.error}")
        return caption

    def caption_many(
        self, images: Iterable[Any], strategy: str | None = None, batch_size: int = 32
    ) -> Iterator[Caption]:
        """Captions many pictures, lazily and in order; a bad one never stops the rest.

        Args:
            images: iterable of what `caption` takes. Read as captions are asked for, `batch_size` at a time.
            strategy: str, default None; see `caption`.
            batch_size: int, default 32. How many pictures go through the network together.

        Returns:
            An iterator of `Caption`, one for each picture; one that cannot be read has its reason in `error`.

        Raises:
            ImageError: if `images` is a single picture.
            SpecError: if the strategy is not known.
            EngineError: if `batch_size` is below 1, or the engine cannot run.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise ImageError(
                f"caption_many expects several pictures, got one {type(images).__name__}: use caption"
            )
        if batch_size < 1:
            raise EngineError(f"expected a batch_size of 1 or more, got {batch_size}")
        self.engine.predict([], strategy)  # so that a wrong strategy is told here, not at the first picture
        return self._captions(iter(images), strategy, batch_size)

    def _captions(self, images: Iterator[Any], strategy: str | None, batch_size: int) -> Iterator[Caption]:
        place = 0
        while batch := list(islice(images, batch_size)):
            names = [inputs.name(image, place + i) for i, image in enumerate(batch)]
            read = [_read(image, name) for image, name in zip(batch, names, strict=True)]
            good = [data for data in read if isinstance(data, bytes)]
            found = iter(self.engine.predict(good, strategy) if good else [])
            for data, name in zip(read, names, strict=True):
                caption = data if isinstance(data, Caption) else next(found)
                if caption.error is not None and caption is not data:
                    caption = replace(caption, error=f"{name}: {caption.error}")
                yield caption
            place += len(batch)

    def close(self) -> None:
        """Lets go of what the engine holds."""
        self.engine.close()

    def __enter__(self) -> Captioner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(source: str | os.PathLike[str] = DEFAULT_MODEL) -> Captioner:
    """Loads a model, whatever runs it.

    Args:
        source: str or PathLike, default "saved_models/default". A model folder.

    Returns:
        `Captioner`.

    Raises:
        BundleError: if the folder is missing, no model, damaged or too new.
        ModelError: if the weights do not fit the network.
        EngineError: if this version has no engine for such a source.
        MissingDependency: if the engine's packages are not installed.
    """
    source = os.fspath(source)
    name = engine_for(source)
    if name not in ENGINES.names():
        raise EngineError(f"this version of captioner has no engine for {source}: expected a model folder")
    return Captioner(ENGINES[name].open(source))


def engine_for(source: str) -> str:
    """Names the engine that a source asks for, whether or not this version has it.

    Args:
        source: str.

    Returns:
        str: a row of `ENGINES`, or the name that it would have.

    Example:
        >>> engine_for("saved_models/default"), engine_for("grpc://host:8500/dogs")
        ('keras', 'grpc')
    """
    scheme, separator, _ = source.partition("://")
    if separator:
        return {"https": "http"}.get(scheme, scheme)
    return "lite" if source.endswith(".tflite") else "keras"


def save(
    model: Any,
    folder: str | os.PathLike[str],
    overwrite: bool = False,
    card: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Saves a network, its weights and its vocabulary as a model folder that `load` takes.

    Args:
        model: `CaptionModel`.
        folder: str or PathLike.
        overwrite: bool, default False. Whether a model that is there may be replaced.
        card: str, default None. Markdown about the model, for people.
        metrics: mapping that JSON can hold, default None. What it scored.

    Returns:
        Path of the folder.

    Raises:
        BundleError: if the folder holds a model already, something is in the way, or the disk refuses.
        ModelError: if `model` is no `CaptionModel`.
    """
    if not all(hasattr(model, name) for name in ("get_config", "tokenizer", "save_weights", "encoder")):
        raise ModelError(f"expected a CaptionModel to save, got {type(model).__name__}")
    encoder, every = (sum(math.prod(w.shape) for w in part.weights) for part in (model.encoder, model))
    return bundle.write(
        folder,
        config=model.get_config(),
        tokenizer=model.tokenizer,
        save_weights=model.save_weights,
        card=card,
        metrics=metrics,
        overwrite=overwrite,
        parameters={"encoder": encoder, "decoder": every - encoder},
    )


def _read(image: Any, name: str) -> bytes | Caption:
    """The encoded picture, or a `Caption` that says why there is none."""
    try:
        return inputs.to_bytes(image, name)
    except ImageError as error:
        return Caption("", error=str(error))
