"""A whole captioner as one `.tflite` file: pixels in, words out, on a device without TensorFlow."""

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
from captioner.decoding.strategies.sample import Sample
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.engines.tflite import LiteEngine, runtime
from captioner.engines.tflite_file import CAPTION, ENCODE, STEP, pack
from captioner.errors import BundleError, DataError, ImageError, ModelError, SpecError
from captioner.exporting import lite_path
from captioner.exporting.options import facts, finite, length
from captioner.image import loading, pillow_preprocess
from captioner.registry import parse_spec, unknown
from captioner.types import END, START

# What the numbers in the file are: all float32; weights of 16 bits; weights of 8 bits; all arithmetic of 8 bits.
KINDS = ("none", "float16", "dynamic", "int8")
LEAST_IMAGES = 16
_LOG = logging.getLogger(__name__)
_MOST_IMAGES = 128


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
    """A `.tflite` file with the vocabulary and everything else inside.

    Its signatures, N rows being the beams of one image:

        encode    image uint8 [1, H, W, 3] -> memory_0 ..., state_0 ... [1, ...]
        step      ids int32 [N], memory_0 ..., state_0 ... [N, ...] -> logits [N, V], attention [N, L],
                  next_state_0 ... [N, ...]
        caption   image -> ids [1, K, T], lengths, logp, score [1, K], word_logp [1, K, T], attention [1, K, T, L]:
                  the whole search in one call; not in int8, for strategies that draw at random, and where
                  TensorFlow Lite cannot convert a loop (then a warning is logged)

    Args:
        model: `CaptionModel`.
        folder: Path. Where the file goes: `model.tflite`, or `model_float16.tflite` and so on.
        strategy: str, default None, which is the one of every engine. What `caption` does, and `LiteEngine` if not
            told otherwise.
        max_length: int, default None, which is the model's own. Most ids of a caption, its end token included.
        quantize: str, one of "none", "float16", "dynamic" and "int8". Defaults to "none".
        calibration: str or sequence, default None, which is what training set aside: `calibration` beside `folder`.
            For int8: a folder of at least 16 images like those to come, or the images; their ranges of values
            are what 8 bits are spread over.
        overwrite: bool, default False. Whether a file that is there may be replaced.
        max_pixels: int, default 50 million. The most pixels to decode; see `captioner.image.pillow_decode.decode`.

    Returns:
        Path of the file.

    Raises:
        SpecError: for an option out of range.
        DataError: if int8 has no or too few images to calibrate with.
        ModelError: if the model cannot be converted.
        BundleError: if there is such a file already, or the disk refuses.
        MissingDependency: if ai-edge-litert, which tries the file out, is not installed.
    """
    if quantize not in KINDS:
        raise SpecError(unknown("quantize", str(quantize), KINDS))
    path = lite_path(Path(folder), quantize, overwrite)
    strategy = str(parse_spec(strategy or DEFAULT_STRATEGY))
    # What is wrong or missing is told before minutes are spent on converting.
    most_pixels = checks.integer(max_pixels, "max_pixels", 1)
    runtime()
    finite(model)
    lite = _Lite(model, strategy, length(model, max_length))
    if lite.strategy.reranker is not None and lite.strategy.reranker.parameters:
        raise SpecError(
            f"a .tflite file cannot hold the fitted parameters that {strategy} needs: choose another reranker for it, "
            "such as rerank='mbr'"
        )
    beside = Path(folder).absolute().parent / bundle.CALIBRATION
    if quantize == "int8" and calibration is None and beside.is_dir():
        calibration = str(beside)
    images = _images(calibration, model.image_size, quantize)
    names = lite.signatures(whole_search=quantize != "int8")
    try:
        graph = _converted(lite, names, quantize, images)
    except ModelError as error:
        if CAPTION not in names:
            raise
        _LOG.warning("%s; the file gets no signature %r, everything else works", error, CAPTION)
        names.remove(CAPTION)
        graph = _converted(lite, names, quantize, images)
    noted = {
        **facts(model, strategy, lite.max_length, lite.strategy.n_best),
        "max_pixels": most_pixels,
        "quantize": quantize,
        "signatures": names,
        "memory": lite.memory_names,
        "state": lite.state_names,
    }
    _LOG.info("checking and writing %s", path.name)
    _put(path, pack(graph, noted, model.tokenizer), lambda aside: _try_out(aside, lite, quantize))
    return path


class _Lite:
    """The functions behind the signatures."""

    def __init__(self, model: Any, strategy: str, max_length: int):
        self.model, self.max_length = model, max_length
        self.strategy = STRATEGIES.build(strategy)
        self.image = tf.TensorSpec([1, *model.image_size, 3], tf.uint8, name="image")
        # One run, for what memory and state look like.
        self._memory, self._state = self._begin(tf.zeros(self.image.shape, tf.uint8))
        leaves = [tf.nest.flatten(tree) for tree in (self._memory, self._state)]
        self.memory_names = [f"memory_{i}" for i in range(len(leaves[0]))]
        self.state_names = [f"state_{i}" for i in range(len(leaves[1]))]
        given = {"ids": tf.TensorSpec([None], tf.int32, name="ids")}
        for name, leaf in zip(self.memory_names, leaves[0], strict=True):
            given[name] = tf.TensorSpec(leaf.shape, leaf.dtype, name=name)
        for name, leaf in zip(self.state_names, leaves[1], strict=True):
            given[name] = tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype, name=name)
        self._given = given

    def _begin(self, image: tf.Tensor) -> tuple[Any, Any]:
        memory, state = self.model.start(self.model.encode(tf.cast(image, tf.float32)))
        return tf.nest.map_structure(tf.convert_to_tensor, (memory, state))

    def encode(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Memory and first state."""
        leaves = tf.nest.flatten(self._begin(image))
        return dict(zip([*self.memory_names, *self.state_names], leaves, strict=True))

    def step(self, given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One word of every row."""
        memory = tf.nest.pack_sequence_as(self._memory, [given[name] for name in self.memory_names])
        state = tf.nest.pack_sequence_as(self._state, [given[name] for name in self.state_names])
        output, attention, state = self.model.step(given["ids"], memory, state)
        found = {f"next_{n}": leaf for n, leaf in zip(self.state_names, tf.nest.flatten(state), strict=True)}
        return {"logits": self.model.head(output), "attention": attention, **found}

    def caption(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """The whole search."""
        model = self.model
        features = model.encode(tf.cast(image, tf.float32))
        return generate(model, features, self.strategy, self.max_length, model.tokenizer)._asdict()

    def signatures(self, whole_search: bool) -> list[str]:
        """The names of the signatures; random draws are no built-in op of TensorFlow Lite."""
        search = whole_search and not isinstance(self.strategy, Sample)
        return [ENCODE, STEP, *([CAPTION] if search else [])]

    def functions(self, names: Sequence[str]) -> dict[str, Any]:
        """The signatures as graphs, each output under its own name."""
        specs = {ENCODE: [self.image], STEP: [self._given], CAPTION: [self.image]}

        def named(function: Callable[..., dict[str, tf.Tensor]], given: Any) -> dict[str, tf.Tensor]:
            return {name: tf.identity(leaf, name=name) for name, leaf in function(given).items()}

        return {
            name: tf.function(
                partial(named, getattr(self, name)), input_signature=specs[name], autograph=False
            )
            for name in names
        }

    def samples(self, images: Sequence[np.ndarray]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the signatures are given on real images: a greedy caption of each, a word at a time."""
        for image in images:
            yield ENCODE, {"image": image[np.newaxis]}
            found = self.encode(tf.constant(image[np.newaxis]))
            ids = np.array([START], np.int32)
            for _ in range(min(self.max_length, 8)):
                given = {"ids": tf.constant(ids), **found}
                yield STEP, {name: np.asarray(leaf) for name, leaf in given.items()}
                said = self.step(given)
                ids = np.argmax(said["logits"][:, END:], axis=-1).astype(np.int32) + END
                found |= {name: said[f"next_{name}"] for name in self.state_names}
                if ids[0] == END:
                    break


def _converted(lite: _Lite, names: Sequence[str], quantize: str, images: Sequence[np.ndarray]) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        # From a SavedModel read back: converted from live layers, a file can lack its weights.
        holder = tf.Module()
        holder.variables_kept = [variable.value for variable in lite.model.variables]
        _LOG.info("tracing the signatures %s", ", ".join(names))
        tf.saved_model.save(holder, place, signatures=lite.functions(names))
        how = {"none": "", "int8": f", calibrating with {len(images)} images"}.get(
            quantize, f" as {quantize}"
        )
        _LOG.info("converting to TensorFlow Lite%s", how)
        converter = tf.lite.TFLiteConverter.from_saved_model(place, signature_keys=list(names))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            converter.representative_dataset = lambda: lite.samples(images)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of TensorFlow, about the parts of itself that calibrate
                return converter.convert()
        except Exception as error:  # the converter raises whatever its parts do
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise ModelError(
                f"TensorFlow Lite cannot convert {' and '.join(names)} of this model with quantize={quantize!r}: "
                f"{lines[0].strip()[-200:]}"
            ) from None


def _images(calibration: Any, size: tuple[int, int], quantize: str) -> list[np.ndarray]:
    """Pixels of the images to calibrate with."""
    if quantize != "int8":
        if calibration is not None:
            raise SpecError(f"calibration is for quantize='int8', got quantize={quantize!r}: leave one out")
        return []
    wanted = f"at least {LEAST_IMAGES} images like those to come: calibration='FOLDER'"
    if calibration is None:
        raise DataError(f"quantize='int8' expects {wanted}; got none")
    if isinstance(calibration, str | os.PathLike):
        if not Path(calibration).is_dir():
            raise DataError(f"quantize='int8' expects {wanted}; {calibration} is no folder")
        calibration = sorted(p for p in Path(calibration).rglob("*") if p.suffix.lower() in loading.SUFFIXES)
    found = []
    # Spread over all of them, should they be too many.
    for each in list(calibration)[:: max(1, len(calibration) // _MOST_IMAGES)][:_MOST_IMAGES]:
        try:
            found.append(pillow_preprocess.read(loading.to_bytes(each), size))
        except ImageError:
            continue
    if len(found) < LEAST_IMAGES:
        raise DataError(f"quantize='int8' expects {wanted}; got {len(found)} that can be read")
    return found


def _put(path: Path, data: bytes, check: Callable[[Path], None]) -> None:
    """Writes aside, checks, and renames: there is a good file or none."""
    with atomic.replacing(path, BundleError, suffix=".tflite") as aside:
        aside.write_bytes(data)
        check(aside)


def _try_out(path: Path, lite: _Lite, quantize: str) -> None:
    """Runs the file as a device will; its first words weigh what the model's do."""
    engine = LiteEngine.open(str(path))
    image = pillow_preprocess.drawn(lite.model.image_size)
    caption = engine.predict([image])[0]
    if not caption.ok:
        raise ModelError(f"the exported file cannot caption an image: {caption.error}; nothing was written")
    seen = pillow_preprocess.read(image, tuple(lite.model.image_size))[np.newaxis]
    wanted = lite.step({"ids": tf.constant([START]), **lite.encode(tf.constant(seen))})["logits"].numpy()
    engine.decoder.look(seen[0])
    found, _, _ = engine.decoder.step(np.array([START], np.int32), *engine.decoder.start(None))
    apart = float(np.abs(found - wanted).max() / (np.ptp(wanted) + 1e-6))
    most = {"none": 1e-3, "float16": 0.05}.get(quantize, 0.5)
    if not apart <= most:  # NaN too
        raise ModelError(
            f"the exported file weighs words otherwise than the model (by {apart:.1%} of their range, at most "
            f"{most:.1%} was expected of quantize={quantize!r}); nothing was written"
        )
