"""The engine `tflite`: runs a `.tflite` file with ai-edge-litert, NumPy and Pillow alone."""

from __future__ import annotations

import importlib.util
import io
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner import bundle, checks
from captioner.engines.base import Engine, captions_of
from captioner.engines.tensorflow_import import starting_tflite
from captioner.engines.tflite_file import ENCODE, MEAN_FEATURE, STEP, TFLiteFile, read
from captioner.errors import BundleError, EngineError, ImageError, MissingDependency
from captioner.image import loading, pillow_preprocess
from captioner.outputs.ood import OutOfDistribution
from captioner.outputs.outcome import Judge, judged
from captioner.registry import table_specs_only
from captioner.text.languages import ENGLISH
from captioner.types import Caption, Hypotheses


class TFLiteEngine(Engine):
    """Runs a file written by `captioner export --to tflite`: encoder and decoder in the graph, search in NumPy.

    The search is that of every engine (`captioner.decoding`), so all strategies and rules run here.

    Args:
        path: Path.
        file: TFLiteFile. The contents of the file besides its graph.
        threads: int. Threads that the graph may use.
        trust: sequence of str, default none. Packages whose strategies the file may name.

    Attributes:
        decoder: TFLiteDecoder.
    """

    sources = "a .tflite file"
    purpose = "For phones and small computers: needs no TensorFlow."
    chooses_strategy = True

    def __init__(self, path: Path, file: TFLiteFile, threads: int, trust: Sequence[str] = ()):
        from captioner.decoding import STRATEGIES

        self.path, self._metadata, self.tokenizer = path, file.metadata, file.tokenizer
        with table_specs_only(trust):
            try:
                self._strategy = STRATEGIES.build(file.metadata["strategy"])
            except Exception as error:  # the options may be anything
                reason = " ".join(str(error).split())[:300]
                raise EngineError(f"{path} cannot be run with the strategy that it names: {reason}") from None
        self.decoder = TFLiteDecoder(path, file.metadata, threads)
        self._judge = None if file.ood is None else _judge(path, file, self.decoder.channels())
        self.decoder.check(file.metadata, len(file.tokenizer))
        # The interpreter has one set of buffers, and the decoder holds one image.
        self._lock = threading.Lock()

    @classmethod
    def opens(cls, source: str) -> bool:
        """See `Engine.opens`."""
        return source.endswith(".tflite") and "://" not in source and not os.path.isdir(source)

    @classmethod
    def variants(cls, folder: Path) -> list[str]:
        """See `Engine.variants`. The largest first."""
        return [str(path) for path in sorted(folder.glob("*.tflite"), key=lambda path: -path.stat().st_size)]

    @classmethod
    def metadata(cls, source: str) -> dict[str, Any]:
        """See `Engine.metadata`."""
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise MissingDependency("ai_edge_litert", "lite", "running a .tflite file")
        return read(Path(source)).metadata

    @classmethod
    def open(cls, source: str, threads: int | None = None, trust: Sequence[str] = ()) -> TFLiteEngine:
        """Opens a file.

        Args:
            source: str. Path of a `.tflite` file that captioner wrote.
            threads: int, default None, which is the number of cores. Threads that the graph may use.
            trust: sequence of str, default none. Packages of the user whose strategies the file may name.

        Returns:
            TFLiteEngine.

        Raises:
            EngineError: if it is missing, not by captioner, damaged or too new, or names an unknown strategy.
            SpecError: for more threads than this machine has cores.
            MissingDependency: if ai-edge-litert is not installed.
        """
        cores = os.cpu_count() or 1
        threads = (
            cores if threads is None else checks.integer(threads, "threads", 1, cores, "(the cores here)")
        )
        path = Path(source)
        return cls(path, read(path), threads, trust)

    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """See `Engine.predict`."""
        from captioner.decoding import STRATEGIES, generate
        from captioner.decoding.backend import numpy_backend

        built = self._strategy if strategy is None else STRATEGIES.build(strategy)
        if built.reranker is not None:
            built.reranker.find_parameters({})  # raises if it needs any: a file holds none
        height, width = self._metadata["grid"]
        features = np.zeros((1, height * width, 0), np.float32)  # only their shape is used
        size = tuple(self._metadata["image_size"])
        max_pixels = self._metadata.get("max_pixels", loading.MAX_PIXELS)
        captions = []
        for image in images:
            try:
                pixels = pillow_preprocess.read(image, size, max_pixels)
            except ImageError as error:
                captions.append(Caption("", error=str(error)))
                continue
            with self._lock, numpy_backend():
                self.decoder.encode(pixels)
                hypotheses = generate(
                    self.decoder, features, built, self._metadata["max_length"], self.tokenizer
                )
                # Copied: arrays may lie in buffers of the interpreter.
                hypotheses = Hypotheses(*(np.array(leaf) for leaf in hypotheses))
                scores = None if self._judge is None else self._judge.ood.score(self.decoder.mean_feature())
                codes = None if self._judge is None else self._judge.codes(scores, hypotheses)
            one = captions_of(hypotheses, self.tokenizer, (height, width))
            captions += (
                one if codes is None else judged(one, codes, scores, self._metadata.get("language", ENGLISH))
            )
        return captions

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        return {
            "engine": "tflite",
            "source": str(self.path),
            "strategy": self._metadata["strategy"],
            "quantize": self._metadata.get("quantize"),
            "model": self._metadata.get("model"),
            "vocabulary": len(self.tokenizer),
            "confidence": self._metadata.get("confidence"),
            "language": self._metadata.get("language"),
        }


def _judge(path: Path, file: TFLiteFile, channels: int) -> Judge:
    """What decides the outcomes of a file with fitted parameters.

    Raises:
        EngineError: if they are damaged, or do not fit the graph.
    """
    try:
        ood = OutOfDistribution.load(io.BytesIO(file.ood or b""), channels, f"{path}, {bundle.OOD}")
    except BundleError as error:
        raise EngineError(f"{error}, and export the file again") from None
    return Judge(ood, file.metadata.get("confidence"))


def interpreter_class() -> Any:
    """The class `Interpreter` of ai-edge-litert.

    Raises:
        MissingDependency: if ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependency(error.name or "ai_edge_litert", "lite", "running a .tflite file") from None
    return Interpreter


class TFLiteDecoder:
    """The graph as a decoder: `start`, `step` and `head` by its signatures, for one image at a time.

    Args:
        path: Path.
        metadata: mapping. The metadata of the export.
        threads: int.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any], threads: int):
        try:
            with starting_tflite():
                self._interpreter = interpreter_class()(model_path=str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
            self._encode = self._interpreter.get_signature_runner(ENCODE)
            self._step = self._interpreter.get_signature_runner(STEP)
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EngineError(f"{path} cannot be run: {reason}; export it again") from None
        self._path, self._memory, self._state = path, metadata["memory"], metadata["state"]
        self._encoded: dict[str, np.ndarray] = {}

    def check(self, metadata: Mapping[str, Any], vocabulary: int) -> None:
        """Raises an `EngineError` unless the graph has the tensors and sizes that its metadata says."""
        encode_in, encode_out = self._encode.get_input_details(), self._encode.get_output_details()
        step_in, step_out = self._step.get_input_details(), self._step.get_output_details()
        tensors = [*self._memory, *self._state]
        rows, columns = metadata["grid"]
        matches = (
            set(encode_in) == {"image"}
            and list(encode_in["image"]["shape"]) == [1, *metadata["image_size"], 3]
            and set(tensors) <= set(encode_out)
            and set(step_in) == {"ids", *tensors}
            and set(step_out) >= {"logits", "attention", *(f"next_{name}" for name in self._state)}
            and step_out["logits"]["shape"][-1] == vocabulary
            and step_out["attention"]["shape"][-1] == rows * columns
        )
        if not matches:
            raise EngineError(
                f"damaged {self._path}: expected a graph with the sizes and names in its metadata, got others; "
                "export it again"
            )

    def encode(self, image: np.ndarray) -> None:
        """Encodes the image uint8 [H, W, 3] that the next search captions."""
        self._encoded = self._encode(image=image[np.newaxis])

    def start(self, features: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Memory and initial state of the image encoded last; `features` are ignored."""
        return {n: self._encoded[n] for n in self._memory}, {n: self._encoded[n] for n in self._state}

    def channels(self) -> int:
        """C of the mean feature that the graph computes; 0 if it does not."""
        details = self._encode.get_output_details()
        return int(details[MEAN_FEATURE]["shape"][-1]) if MEAN_FEATURE in details else 0

    def mean_feature(self) -> np.ndarray:
        """The mean feature float32 [1, C] of the image encoded last."""
        return self._encoded[MEAN_FEATURE]

    def step(self, ids: np.ndarray, memory: dict, state: dict) -> tuple[np.ndarray, np.ndarray, dict]:
        """Logits [R, V] as output, attention [R, L] and next state, for ids [R]."""
        outputs = self._step(ids=ids, **memory, **state)
        return (
            outputs["logits"],
            outputs["attention"],
            {name: outputs[f"next_{name}"] for name in self._state},
        )

    def head(self, output: np.ndarray) -> np.ndarray:
        """The logits as they are: `step` has applied the head."""
        return output
