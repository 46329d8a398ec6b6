"""The public API: load, caption, save, export. Imports nothing heavy until it runs."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from captioner import bundle, checks
from captioner.engines import ENGINES, Engine, engine_for, import_tensorflow
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.errors import EngineError, ImageError, ModelError, SpecError
from captioner.image import loading
from captioner.outputs.alt_text import LONGEST, THRESHOLD, AltText, alt_text
from captioner.outputs.confidence import Confidence
from captioner.registry import Spec, parse_spec, unknown
from captioner.types import Caption

DEFAULT_MODEL = "saved_models/default"
_LOG = logging.getLogger(__name__)


class Captioner:
    """Captions images with whatever engine runs the model.

    A context manager, for engines that hold connections or threads.

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
            strategy: str, default None, which is the engine's own. How words are chosen: "greedy",
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
        """Captions many images, lazily and in order; a bad one never stops the rest.

        Args:
            images: iterable of what `caption` takes. Read as captions are asked for, `batch_size` at a time.
            strategy: str, default None; see `caption`.
            batch_size: int, default 32. How many images go through the network together.

        Returns:
            An iterator of `Caption`, one for each image; one that cannot be read has its reason in `error`.

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
        self.engine.predict([], strategy)  # so that a wrong strategy is told here, not at the first image
        return self._captions(iter(images), strategy, batch_size)

    def _captions(self, images: Iterator[Any], strategy: str | None, batch_size: int) -> Iterator[Caption]:
        place = 0
        while batch := list(islice(images, batch_size)):
            names = [loading.name(image, place + i) for i, image in enumerate(batch)]
            read = [_read(image, name) for image, name in zip(batch, names, strict=True)]
            good = [data for data in read if isinstance(data, bytes)]
            captions = iter(self.engine.predict(good, strategy) if good else [])
            for data, name in zip(read, names, strict=True):
                caption = data if isinstance(data, Caption) else next(captions)
                if caption.error is not None and caption is not data:
                    caption = replace(caption, error=f"{name}: {caption.error}")
                yield caption
            place += len(batch)

    def confidence(self, caption: Caption) -> float | None:
        """The chance, from 0 to 1, that a person would accept a caption that this model gave.

        Args:
            caption: `Caption`.

        Returns:
            float; None where the model was never calibrated (`training/calibrate_confidence.py`), or is
                served elsewhere.
        """
        noted = self.engine.describe().get("confidence")
        return Confidence(noted).of(caption) if noted else None

    def alt_text(
        self, image: Any, max_length: int = LONGEST, threshold: float = THRESHOLD, strategy: str | None = None
    ) -> AltText:
        """An alternative text for an image on a page.

        Args:
            image: what `caption` takes.
            max_length: int, default 125; see `captioner.alt_text`.
            threshold: float, default 0.5; see `captioner.alt_text`.
            strategy: str, default None; see `caption`.

        Returns:
            `AltText`; its `str()` is the text.
        """
        caption = self.caption(image, strategy)
        return alt_text(caption, max_length, self.confidence(caption), threshold)

    def close(self) -> None:
        """Releases the resources of the engine."""
        self.engine.close()

    def __enter__(self) -> Captioner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    source: str | os.PathLike[str] = DEFAULT_MODEL, *, trust: Sequence[str] = (), **options: Any
) -> Captioner:
    """Loads a model with the engine that its source asks for.

    Args:
        source: str or PathLike, default "saved_models/default", here or beside this package. A model folder, an
            exported version (or the folder of several, whose newest is taken, unless it is a whole model folder), a
            `.tflite` file, which needs no TensorFlow, or the address of a served model:
            `grpc://host:8500/name`, `http://host:8501/name`, encrypted with grpcs:// and https://, with
            `/versions/3` or `/labels/stable` at the end if need be.
        trust: sequence of str, default none. Packages of your own that a model folder or `.tflite` file may name parts
            of, such as ("my_pkg",); they are imported. Without it a file names rows of this library's tables and layers
            of Keras, and nothing that it says is run as code. A SavedModel is a TensorFlow program: one that touches
            files is refused, but run only those of people whom you trust.
        **options: what the engine takes. For a served model timeout, batch_size, in_flight, retries, max_bytes,
            root_certificate and authorization; see `captioner.engines.remote.address.Options`. For a `.tflite`
            file threads.

    Returns:
        `Captioner`.

    Raises:
        BundleError: if the folder is missing, no model, damaged or too new.
        ModelError: if the network needs code that is not trusted, or the weights do not fit it.
        EngineError: if this version has no engine for such a source, or the server is away, does not serve the
            model, or serves none of ours.
        SpecError: if the engine takes no such option, or not such a value.
        MissingDependency: if the engine's packages are not installed.
    """
    try:
        source = located(source)
        name = engine_for(source)
    except (OSError, TypeError, ValueError) as error:  # no name of a file at all
        shown = repr(source) if len(repr(source)) <= 100 else f"{repr(source)[:100]}..."
        raise EngineError(
            f"expected a model folder, a .tflite file or a server's address, got {shown}: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from None
    engine = ENGINES[name]
    if trust:
        options["trust"] = trust
    for option in options:
        if option not in engine.options():
            known = engine.options() or ["none at all"]
            raise SpecError(unknown(f"option of engine {name!r}:", option, known))
    return Captioner(engine.open(source, **options))


def located(source: str | os.PathLike[str]) -> str:
    """Where a source is: the default model may lie beside this package in the project, all others are where they say.

    Args:
        source: str or PathLike.

    Returns:
        str.

    Example:
        >>> located("models/dogs")
        'models/dogs'
    """
    source = os.fspath(source)
    beside = Path(__file__).resolve().parents[1] / DEFAULT_MODEL
    elsewhere = source == DEFAULT_MODEL and not os.path.exists(source) and beside.is_dir()
    return os.fspath(beside) if elsewhere else source


def save(
    model: Any,
    folder: str | os.PathLike[str],
    overwrite: bool = False,
    card: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    half_precision: bool = False,
) -> Path:
    """Saves a network, its weights and its vocabulary as a model folder that `load` takes.

    Args:
        model: `CaptionModel`.
        folder: str or PathLike.
        overwrite: bool, default False. Whether a model that is there may be replaced.
        card: str, default None. Markdown about the model, for people.
        metrics: mapping that JSON can hold, default None. What it scored.
        half_precision: bool, default False. Kernels and matrices as float16: half the size, for good.

    Returns:
        Path of the folder.

    Raises:
        BundleError: if the folder holds a model already, something is in the way, or the disk refuses.
        ModelError: if `model` is no `CaptionModel`, or cannot be built again from what would be saved, as with a
            layer that is not registered with Keras.
    """
    if not all(hasattr(model, name) for name in ("get_config", "tokenizer", "save_weights", "encoder")):
        raise ModelError(f"expected a CaptionModel to save, got {type(model).__name__}")
    from captioner.engines.weights import save_weights
    from captioner.models.keras_config import check_rebuilding

    check_rebuilding(model)

    encoder, every = (sum(math.prod(w.shape) for w in part.weights) for part in (model.encoder, model))
    return bundle.write(
        folder,
        config=model.get_config(),
        tokenizer=model.tokenizer,
        save_weights=lambda path: save_weights(model, path, half_precision),
        card=card,
        metrics=metrics,
        overwrite=overwrite,
        confidence=model.calibration,
        save_reranker_parameters={name: fitted.save for name, fitted in model.reranker_parameters.items()},
        parameters={"encoder": encoder, "decoder": every - encoder},
    )


def export(
    folder: str | os.PathLike[str],
    to: Sequence[str | Spec] = ("saved_model",),
    strategy: str | None = None,
    max_length: int | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    *,
    trust: Sequence[str] = (),
) -> dict[str, Path]:
    """Exports a model folder for servers and devices, with image decoding and search inside.

    Args:
        folder: str or PathLike. A model folder.
        to: sequence of str or Spec, default `("saved_model",)`. Specs of `captioner.exporting.TARGETS`, such as
            "saved_model(batch_sizes=(1, 8, 32), max_pixels=20000000)" and "tflite(quantize='float16')".
        strategy: str, default None, which is `captioner.engines.base.DEFAULT_STRATEGY`. How words are chosen; what is
            exported does nothing else.
        max_length: int, default None, which is the model's own. Most ids of a caption, its end token included.
        output_dir: str or PathLike, default None, which is the model folder itself. Where it is put: a SavedModel gets
            the next number, and a `.tflite` file that is there is only replaced on `overwrite=True` of its target.
        trust: sequence of str, default none; see `load`.

    Returns:
        dict of target's name to the Path of what was written; where several targets have one name, of their specs
        as str.

    Raises:
        BundleError: if the folder is no whole model, a `.tflite` file is there already, or the disk refuses.
        SpecError: if a target, strategy or option is not known, or two targets would write one file.
        ModelError: if the weights do not fit the network, or are not finite.
        MissingDependency: if TensorFlow is not installed.
    """
    from captioner.exporting import FILES, TARGETS

    # What is wrong is told before the work starts.
    targets = [parse_spec(target) for target in ([to] if isinstance(to, str) else to)]
    output_dir = Path(output_dir or folder)
    makes: dict[Path, Spec] = {}
    for target in targets:
        if target.name in FILES:
            path = FILES[target.name](output_dir, **target.args)
            if path in makes:
                raise SpecError(f"{makes[path]} and {target} would both write {path}: leave one out")
            makes[path] = target
    _LOG.info("starting TensorFlow")
    import_tensorflow("exporting a model")
    from captioner.decoding import STRATEGIES

    for target in targets:
        TARGETS[target.name]
    STRATEGIES.build(strategy or DEFAULT_STRATEGY)
    _LOG.info("loading %s", os.fspath(folder))
    model = ENGINES["keras"].open(os.fspath(folder), trust=trust).model
    options = {"model": model, "folder": output_dir, "strategy": strategy, "max_length": max_length}
    names = [target.name for target in targets]
    written = [TARGETS.build(target, **options) for target in targets]
    keys = [target.name if names.count(target.name) == 1 else str(target) for target in targets]
    return dict(zip(keys, written, strict=True))


def _read(image: Any, name: str) -> bytes | Caption:
    """The encoded image, or a `Caption` that says why there is none."""
    try:
        return loading.to_bytes(image, name)
    except ImageError as error:
        return Caption("", error=str(error))
