"""The public functions `load`, `save` and `export`. TensorFlow is imported only when one of them needs it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner import bundle
from captioner.captioner import Captioner
from captioner.engines import ENGINES, engine_for, import_tensorflow
from captioner.errors import EngineError, ModelError, SpecError
from captioner.registry import Spec, parse_spec, unknown

__all__ = ["DEFAULT_MODEL", "Captioner", "export", "load", "located", "save"]

DEFAULT_MODEL = "saved_models/default"
_LOG = logging.getLogger(__name__)


def load(
    source: str | os.PathLike[str] = DEFAULT_MODEL, *, trust: Sequence[str] = (), **options: Any
) -> Captioner:
    """Loads a model with the engine for its source.

    Args:
        source: str or PathLike, default "saved_models/default", in the working directory or next to this package. A
            model folder, an exported version (or a folder of several, whose newest is taken, unless it has weights of
            its own), a `.tflite` file, which needs no TensorFlow, or the address of a served model:
            `grpc://host:8500/name`, `http://host:8501/name`, encrypted with grpcs:// and https://, with
            `/versions/3` or `/labels/stable` at the end if need be.
        trust: sequence of str, default none. Packages of your own whose classes a model folder or `.tflite` file may
            name, such as ("my_pkg",); they are imported. Without it a file may name only rows of this library's tables
            and layers of Keras, and no code from it is run. A SavedModel is a TensorFlow program: one that reads or
            writes files is refused, but run only those of people whom you trust.
        **options: options of the engine. For a served model timeout, batch_size, in_flight, retries, max_bytes,
            root_certificate and authorization; see `captioner.engines.remote.address.Options`. For a `.tflite`
            file threads.

    Returns:
        `Captioner`.

    Raises:
        BundleError: if the folder is missing, holds no model, is damaged or has a newer format.
        ModelError: if the network needs code that is not trusted, or the weights do not fit it.
        EngineError: if there is no engine for such a source, or the server does not answer, does not serve the
            model, or serves a model that captioner has not exported.
        SpecError: if the engine has no such option, or the value is out of its range.
        MissingDependency: if the engine's packages are not installed.
    """
    try:
        source = located(source)
        name = engine_for(source)
    except (OSError, TypeError, ValueError) as error:  # no valid file name
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
    """The path or address of a source; the default model is also looked for in the project of this package.

    Args:
        source: str or PathLike.

    Returns:
        str: `source` itself, but for the default model where the working directory has none.

    Example:
        >>> located("models/dogs")
        'models/dogs'
    """
    source = os.fspath(source)
    in_project = Path(__file__).resolve().parents[1] / DEFAULT_MODEL
    if source == DEFAULT_MODEL and not os.path.exists(source) and in_project.is_dir():
        return os.fspath(in_project)
    return source


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
        overwrite: bool, default False. Whether an existing model may be replaced.
        card: str, default None. Markdown about the model, for people.
        metrics: mapping that JSON can hold, default None. Scores of the model.
        half_precision: bool, default False. Stores kernels and matrices as float16, at half the size; the lost digits
            do not come back.

    Returns:
        Path of the folder.

    Raises:
        BundleError: if the folder holds a model already, a file is in the way, or the disk refuses.
        ModelError: if `model` is no `CaptionModel`, or cannot be rebuilt from its config, as with a layer that is not
            registered with Keras.
        SpecError: if the model cannot run its own strategy, `model.strategy`: it is unknown, or its reranker lacks
            fitted parameters in `model.reranker_parameters`.
    """
    if not all(hasattr(model, name) for name in ("get_config", "tokenizer", "save_weights", "encoder")):
        raise ModelError(f"expected a CaptionModel to save, got {type(model).__name__}")
    from captioner.engines.keras import check_strategy
    from captioner.engines.weights import save_weights
    from captioner.models.keras_config import check_rebuilding

    check_rebuilding(model)
    if model.strategy:
        reranker = check_strategy(model).reranker
        if reranker is not None:
            reranker.find_parameters(model.reranker_parameters)

    encoder, total = (sum(math.prod(w.shape) for w in part.weights) for part in (model.encoder, model))
    return bundle.write(
        folder,
        config=model.get_config(),
        tokenizer=model.tokenizer,
        save_weights=lambda path: save_weights(model, path, half_precision),
        card=card,
        metrics=metrics,
        overwrite=overwrite,
        language=model.language,
        strategy=model.strategy,
        confidence=model.calibration,
        save_reranker_parameters={name: fitted.save for name, fitted in model.reranker_parameters.items()},
        save_ood=None if model.ood is None else model.ood.save,
        parameters={"encoder": encoder, "decoder": total - encoder},
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
        strategy: str, default None, which is the model's own, or `captioner.engines.base.DEFAULT_STRATEGY`. The search
            strategy, which is fixed in the exported model. A `.tflite` file cannot hold fitted parameters of a
            reranker: it gets the model's own strategy without such a reranker, and a warning is logged.
        max_length: int, default None, which is the model's own. Most ids of a caption, its end token included.
        output_dir: str or PathLike, default None, which is the model folder. A SavedModel gets the next version number
            there, and an existing `.tflite` file is only replaced with `overwrite=True` of its target.
        trust: sequence of str, default none; see `load`.

    Returns:
        dict of a target's name to the Path of its file or folder; targets of the same name are named by their specs.

    Raises:
        BundleError: if the folder holds no complete model, a `.tflite` file exists already, or the disk refuses.
        SpecError: if a target, strategy or option is not known, or two targets would write the same file.
        ModelError: if the weights do not fit the network, or are not finite.
        MissingDependency: if TensorFlow is not installed.
    """
    from captioner.exporting import FILES, TARGETS

    # Mistakes are reported before the work starts.
    targets = [parse_spec(target) for target in ([to] if isinstance(to, str) else to)]
    output_dir = Path(output_dir or folder)
    target_of: dict[Path, Spec] = {}
    for target in targets:
        if target.name in FILES:
            path = FILES[target.name](output_dir, **target.args)
            if path in target_of:
                raise SpecError(f"{target_of[path]} and {target} would both write {path}: leave one out")
            target_of[path] = target
    _LOG.info("starting TensorFlow")
    import_tensorflow("exporting a model")
    from captioner.decoding import STRATEGIES

    for target in targets:
        TARGETS[target.name]
    if strategy:
        STRATEGIES.build(strategy)
    _LOG.info("loading %s", os.fspath(folder))
    model = ENGINES["keras"].open(os.fspath(folder), trust=trust).model
    options = {"model": model, "folder": output_dir, "strategy": strategy, "max_length": max_length}
    names = [target.name for target in targets]
    written = [TARGETS.build(target, **options) for target in targets]
    keys = [target.name if names.count(target.name) == 1 else str(target) for target in targets]
    return dict(zip(keys, written, strict=True))
