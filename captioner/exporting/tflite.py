"""The export target `tflite`: a whole captioner as one `.tflite` file, for devices without TensorFlow.

The signatures of the file, for N rows, which are the beams of one image:

    encode    image uint8 [1, H, W, 3] -> memory_0 ..., state_0 ... [1, ...], mean_feature [1, C]
    step      ids int32 [N], memory_0 ..., state_0 ... [N, ...] -> logits [N, V], attention [N, L],
              next_state_0 ... [N, ...]
    caption   image -> ids [1, K, T], lengths, logp, score [1, K], word_logp [1, K, T], attention [1, K, T, L]:
              the whole search in one call; not in int8, for strategies that draw at random, and where
              TensorFlow Lite cannot convert a loop (then a warning is logged)

A model that knows which images are unlike its training images also has `mean_feature`, whose out-of-distribution score
the host computes (8 bits are too coarse for it); `caption` has `ood_score` and `outcome`, an index of `types.OUTCOMES`.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from captioner import atomic, bundle, checks
from captioner.decoding import STRATEGIES, generate
from captioner.decoding.pooling import mean_feature
from captioner.decoding.strategies.sample import Sample
from captioner.engines.tflite import TFLiteEngine, interpreter_class
from captioner.engines.tflite_file import CAPTION, ENCODE, MEAN_FEATURE, STEP, pack
from captioner.errors import BundleError, DataError, ImageError, ModelError, SpecError
from captioner.exporting import tflite_path
from captioner.exporting.options import check_finite, export_metadata, resolve_max_length, resolve_strategy
from captioner.image import loading, pillow_preprocess
from captioner.outputs.outcome import outcomes
from captioner.registry import unknown
from captioner.types import END, START

# Number formats: all float32; weights in 16 bits; weights in 8 bits; weights and arithmetic in 8 bits.
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
MIN_IMAGES = 16
_LOG = logging.getLogger(__name__)
_MAX_IMAGES = 128


def write(
    model: Any,
    folder: Path,
    strategy: str | None = None,
    max_length: int | None = None,
    quantize: str = "none",
    calibration: str | Sequence[Any] | None = None,
    overwrite: bool = False,
    max_pixels: int = loading.MAX_PIXELS,
) -> Path:
    """Writes a `.tflite` file that holds the network, the vocabulary and the metadata.

    Args:
        model: `CaptionModel`.
        folder: Path. Gets the file `model.tflite`, or `model_float16.tflite` and so on.
        strategy: str, default None, which is that of the model, without a reranker that needs fitted parameters. That
            of `caption`, and the default of `TFLiteEngine`.
        max_length: int, default None, which is that of the model. The most ids of a caption, its end token included.
        quantize: str, one of "none", "float16", "dynamic" and "int8". Defaults to "none".
        calibration: str or sequence, default None, which is the folder `calibration` beside `folder`, written by
            training. For int8: a folder of at least 16 representative images, or the images; the ranges of values
            on them are what 8 bits are spread over.
        overwrite: bool, default False. Whether an existing file may be replaced.
        max_pixels: int, default 50 million. The most pixels to decode; see `captioner.image.pillow_decode.decode`.

    Returns:
        Path of the file.

    Raises:
        SpecError: for an option out of range.
        DataError: if int8 has too few images to calibrate with.
        ModelError: if the model cannot be converted.
        BundleError: if the file exists already, or cannot be written.
        MissingDependency: if ai-edge-litert, which the file is checked with, is not installed.
    """
    if quantize not in QUANTIZATIONS:
        raise SpecError(unknown("quantize", str(quantize), QUANTIZATIONS))
    path = tflite_path(Path(folder), quantize, overwrite)
    strategy = resolve_strategy(model, strategy, fitted_parameters=False)
    max_pixels = checks.integer(max_pixels, "max_pixels", 1)
    interpreter_class()  # raises before minutes are spent on converting
    check_finite(model)
    module = _TFLiteModule(model, strategy, resolve_max_length(model, max_length))
    images = _calibration_images(calibration, Path(folder), model.image_size, quantize)
    graph, names = _convert_signatures(module, quantize, images)
    metadata = {
        **export_metadata(model, strategy, module.max_length, module.strategy.n_best),
        "max_pixels": max_pixels,
        "quantize": quantize,
        "signatures": names,
        "memory": module.memory_names,
        "state": module.state_names,
    }
    _LOG.info("checking and writing %s", path.name)
    with atomic.replacing(path, BundleError, suffix=".tflite") as temporary:
        ood = None if model.ood is None else model.ood.to_bytes()
        temporary.write_bytes(pack(graph, metadata, model.tokenizer, ood))
        _check_export(temporary, module, quantize)
    return path


class _TFLiteModule:
    """The function of each signature.

    Args:
        model: `CaptionModel`.
        strategy: str. Spec of `STRATEGIES`.
        max_length: int. The most ids of a caption.

    Raises:
        SpecError: if the strategy needs fitted parameters, which a `.tflite` file cannot hold.
    """

    def __init__(self, model: Any, strategy: str, max_length: int):
        self.model, self.max_length = model, max_length
        self.strategy = STRATEGIES.build(strategy)
        if self.strategy.reranker is not None and self.strategy.reranker.parameters:
            raise SpecError(
                f"a .tflite file cannot hold the fitted parameters that {strategy} needs: choose another reranker for "
                "it, such as rerank='mbr'"
            )
        self.image_spec = tf.TensorSpec([1, *model.image_size, 3], tf.uint8, name="image")
        # Run once to learn the structure of memory and state.
        self._memory, self._state = self._start(self._features(tf.zeros(self.image_spec.shape, tf.uint8)))
        memory, state = (tf.nest.flatten(tree) for tree in (self._memory, self._state))
        self.memory_names = [f"memory_{i}" for i in range(len(memory))]
        self.state_names = [f"state_{i}" for i in range(len(state))]
        self._step_specs = {"ids": tf.TensorSpec([None], tf.int32, name="ids")}
        for name, leaf in zip(self.memory_names, memory, strict=True):
            self._step_specs[name] = tf.TensorSpec(leaf.shape, leaf.dtype, name=name)
        for name, leaf in zip(self.state_names, state, strict=True):
            self._step_specs[name] = tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype, name=name)

    def _features(self, image: tf.Tensor) -> tf.Tensor:
        return self.model.encode(tf.cast(image, tf.float32))

    def _start(self, features: tf.Tensor) -> tuple[Any, Any]:
        return tf.nest.map_structure(tf.convert_to_tensor, self.model.start(features))

    def encode(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Memory, initial state and, if the model needs it, mean feature of an image uint8 [1, H, W, 3]."""
        features = self._features(image)
        leaves = tf.nest.flatten(self._start(features))
        tensors = dict(zip([*self.memory_names, *self.state_names], leaves, strict=True))
        return tensors if self.model.ood is None else {**tensors, MEAN_FEATURE: mean_feature(features)}

    def step(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One decoder step of N rows: logits, attention and next state."""
        memory = tf.nest.pack_sequence_as(self._memory, [inputs[name] for name in self.memory_names])
        state = tf.nest.pack_sequence_as(self._state, [inputs[name] for name in self.state_names])
        output, attention, state = self.model.step(inputs["ids"], memory, state)
        leaves = zip(self.state_names, tf.nest.flatten(state), strict=True)
        next_state = {f"next_{name}": leaf for name, leaf in leaves}
        return {"logits": self.model.head(output), "attention": attention, **next_state}

    def caption(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """The whole search for an image uint8 [1, H, W, 3]."""
        model, features = self.model, self._features(image)
        hypotheses = generate(model, features, self.strategy, self.max_length, model.tokenizer)
        judgement = outcomes(model, features, hypotheses) or ()
        return {**hypotheses._asdict(), **dict(zip(("outcome", "ood_score"), judgement, strict=False))}

    def signatures(self, names: Sequence[str]) -> dict[str, Any]:
        """The `tf.function` of each signature, its outputs named."""
        specs = {ENCODE: [self.image_spec], STEP: [self._step_specs], CAPTION: [self.image_spec]}

        def with_names(function: Callable[..., dict[str, tf.Tensor]], inputs: Any) -> dict[str, tf.Tensor]:
            return {name: tf.identity(leaf, name=name) for name, leaf in function(inputs).items()}

        return {
            name: tf.function(
                partial(with_names, getattr(self, name)), input_signature=specs[name], autograph=False
            )
            for name in names
        }

    def calibration_samples(self, images: Sequence[np.ndarray]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Inputs of the signatures on images [H, W, 3]: greedy search for a caption of each, step by step."""
        for image in images:
            yield ENCODE, {"image": image[np.newaxis]}
            tensors = self.encode(tf.constant(image[np.newaxis]))
            tensors.pop(MEAN_FEATURE, None)
            ids = np.array([START], np.int32)
            for _ in range(min(self.max_length, 8)):
                inputs = {"ids": tf.constant(ids), **tensors}
                yield STEP, {name: np.asarray(leaf) for name, leaf in inputs.items()}
                outputs = self.step(inputs)
                ids = np.argmax(outputs["logits"][:, END:], axis=-1).astype(np.int32) + END
                tensors |= {name: outputs[f"next_{name}"] for name in self.state_names}
                if ids[0] == END:
                    break


def _convert_signatures(
    module: _TFLiteModule, quantize: str, images: Sequence[np.ndarray]
) -> tuple[bytes, list[str]]:
    """The flatbuffer and the names of its signatures; `caption` is left out where it cannot be converted."""
    names = [ENCODE, STEP]
    # TensorFlow Lite has no built-in random operation, and the converter crashes on a loop in int8.
    if quantize != "int8" and not isinstance(module.strategy, Sample):
        try:
            return _convert(module, [*names, CAPTION], quantize, images), [*names, CAPTION]
        except ModelError as error:
            _LOG.warning("%s; the file gets no signature %r, everything else works", error, CAPTION)
    return _convert(module, names, quantize, images), names


def _convert(
    module: _TFLiteModule, names: Sequence[str], quantize: str, images: Sequence[np.ndarray]
) -> bytes:
    """The TensorFlow Lite flatbuffer with these signatures."""
    with tempfile.TemporaryDirectory() as folder:
        # Converted from a SavedModel: converted from live layers, a file can lack its weights.
        holder = tf.Module()
        holder.variables_kept = [variable.value for variable in module.model.variables]
        _LOG.info("tracing the signatures %s", ", ".join(names))
        tf.saved_model.save(holder, folder, signatures=module.signatures(names))
        numbers = {"none": "", "int8": f", calibrating with {len(images)} images"}.get(
            quantize, f" as {quantize}"
        )
        _LOG.info("converting to TensorFlow Lite%s", numbers)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(names))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            converter.representative_dataset = lambda: module.calibration_samples(images)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of TensorFlow, about its own calibrator
                return converter.convert()
        except Exception as error:  # the converter raises exceptions of any kind
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise ModelError(
                f"TensorFlow Lite cannot convert {' and '.join(names)} of this model with quantize={quantize!r}: "
                f"{lines[0].strip()[-200:]}"
            ) from None


def _calibration_images(
    calibration: Any, folder: Path, size: tuple[int, int], quantize: str
) -> list[np.ndarray]:
    """The images to calibrate int8 with, uint8 [H, W, 3] each, at most 128 spread over those available."""
    if quantize != "int8":
        if calibration is not None:
            raise SpecError(f"calibration is for quantize='int8', got quantize={quantize!r}: leave one out")
        return []
    default = folder.absolute().parent / bundle.CALIBRATION
    if calibration is None and default.is_dir():
        calibration = str(default)
    expected = f"at least {MIN_IMAGES} images like those to come: calibration='FOLDER'"
    if calibration is None:
        raise DataError(f"quantize='int8' expects {expected}; got none")
    if isinstance(calibration, str | os.PathLike):
        if not Path(calibration).is_dir():
            raise DataError(f"quantize='int8' expects {expected}; {calibration} is no folder")
        calibration = sorted(p for p in Path(calibration).rglob("*") if p.suffix.lower() in loading.SUFFIXES)
    images = []
    for source in list(calibration)[:: max(1, len(calibration) // _MAX_IMAGES)][:_MAX_IMAGES]:
        try:
            images.append(pillow_preprocess.read(loading.to_bytes(source), size))
        except ImageError:
            continue
    if len(images) < MIN_IMAGES:
        raise DataError(f"quantize='int8' expects {expected}; got {len(images)} that can be read")
    return images


def _check_export(path: Path, module: _TFLiteModule, quantize: str) -> None:
    """Runs the file as a device does, and compares its first logits with those of the model."""
    engine = TFLiteEngine.open(str(path))
    size = tuple(module.model.image_size)
    encoded = pillow_preprocess.drawn(size)
    caption = engine.predict([encoded])[0]
    if not caption.ok:
        raise ModelError(f"the exported file cannot caption an image: {caption.error}; nothing was written")
    image = pillow_preprocess.read(encoded, size)
    tensors = module.encode(tf.constant(image[np.newaxis]))
    expected = module.step({"ids": tf.constant([START]), **tensors})["logits"].numpy()
    engine.decoder.encode(image)
    logits, _, _ = engine.decoder.step(np.array([START], np.int32), *engine.decoder.start(None))
    difference = float(np.abs(logits - expected).max() / (np.ptp(expected) + 1e-6))
    tolerance = {"none": 1e-3, "float16": 0.05}.get(quantize, 0.5)
    if not difference <= tolerance:  # NaN too
        raise ModelError(
            f"the logits of the exported file differ from those of the model by {difference:.1%} of their range, "
            f"expected at most {tolerance:.1%} with quantize={quantize!r}; nothing was written"
        )
