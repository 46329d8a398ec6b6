"""Runs a `.tflite` file with ai-edge-litert, NumPy and Pillow alone."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner import checks
from captioner.engines.base import Engine, captions_of
from captioner.engines.tensorflow_import import starting_tflite
from captioner.engines.tflite_file import ENCODE, STEP, LiteFile, read
from captioner.errors import EngineError, ImageError, MissingDependency
from captioner.image import loading, pillow_preprocess
from captioner.registry import table_specs_only
from captioner.types import Caption, Hypotheses


class LiteEngine(Engine):
    """Runs what `captioner export --to tflite` wrote: the graph looks and weighs words, NumPy searches.

    The search is the one of every engine (`captioner.decoding`), so all strategies and rules run here.

    Args:
        path: Path.
        file: LiteFile. What the file holds besides its graph.
        threads: int. Threads that the graph may use.
        trust: sequence of str, default none. Packages whose strategies the file may name.

    Attributes:
        decoder: LiteDecoder. The graph.
    """

    sources = "a .tflite file"
    purpose = "For phones and small computers: needs no TensorFlow."
    chooses_strategy = True

    def __init__(self, path: Path, file: LiteFile, threads: int, trust: Sequence[str] = ()):
        from captioner.decoding import STRATEGIES

        self.path, self._facts, self.tokenizer = path, file.facts, file.tokenizer
        with table_specs_only(trust):
            try:
                self._strategy = STRATEGIES.build(file.facts["strategy"])
            except Exception as error:  # options of a stranger's
                reason = " ".join(str(error).split())[:300]
                raise EngineError(f"{path} cannot be run with the strategy that it names: {reason}") from None
        self.decoder = LiteDecoder(path, file.facts, threads)
        self.decoder.check(file.facts, len(file.tokenizer))
        # A graph has one set of buffers, and the decoder one image that it looks at.
        self._alone = threading.Lock()

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
        return read(Path(source)).facts

    @classmethod
    def open(cls, source: str, threads: int | None = None, trust: Sequence[str] = ()) -> LiteEngine:
        """Opens a file.

        Args:
            source: str. Path of a `.tflite` file that captioner wrote.
            threads: int, default None, which is one a core. Threads that the graph may use.
            trust: sequence of str, default none. Packages of the user's own whose strategies the file may name.

        Returns:
            LiteEngine.

        Raises:
            EngineError: if it is missing, none of ours, damaged or too new, or names a strategy that is not known.
            SpecError: for a number of threads that this machine does not have.
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
        from captioner.decoding.backend import numpy_arrays

        built = self._strategy if strategy is None else STRATEGIES.build(strategy)
        if built.reranker is not None:
            built.reranker.find_parameters({})  # a file holds none
        height, width = self._facts["grid"]
        places = np.zeros((1, height * width, 0), np.float32)
        size, most = tuple(self._facts["image_size"]), self._facts.get("max_pixels", loading.MAX_PIXELS)
        captions = []
        for image in images:
            try:
                seen = pillow_preprocess.read(image, size, most)
            except ImageError as error:
                captions.append(Caption("", error=str(error)))
                continue
            with self._alone, numpy_arrays():
                self.decoder.look(seen)
                found = generate(self.decoder, places, built, self._facts["max_length"], self.tokenizer)
                # Copies: what the graph gave may lie in its buffers.
                found = Hypotheses(*(np.array(leaf) for leaf in found))
            captions += captions_of(found, self.tokenizer, (height, width))
        return captions

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        return {
            "engine": "lite",
            "source": str(self.path),
            "strategy": self._facts["strategy"],
            "quantize": self._facts.get("quantize"),
            "model": self._facts.get("model"),
            "vocabulary": len(self.tokenizer),
            "confidence": self._facts.get("confidence"),
        }


def runtime() -> Any:
    """The class that runs `.tflite` files.

    Raises:
        MissingDependency: if ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependency(error.name or "ai_edge_litert", "lite", "running a .tflite file") from None
    return Interpreter


class LiteDecoder:
    """The graph as a decoder: `start`, `step` and `head` over the two signatures, for one image at a time.

    Args:
        path: Path.
        facts: mapping. What the export noted.
        threads: int.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], threads: int):
        try:
            with starting_tflite():
                self._interpreter = runtime()(model_path=str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
            self._encode = self._interpreter.get_signature_runner(ENCODE)
            self._step = self._interpreter.get_signature_runner(STEP)
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EngineError(f"{path} cannot be run: {reason}; export it again") from None
        self._path, self._memory, self._state = path, facts["memory"], facts["state"]
        self._seen: dict[str, np.ndarray] = {}

    def check(self, facts: Mapping[str, Any], vocabulary: int) -> None:
        """Raises an `EngineError` unless the graph has the sizes that the file says it has."""
        encode, step = self._encode.get_input_details(), self._step.get_input_details()
        after = self._step.get_output_details()
        made = self._encode.get_output_details()
        kept = [*self._memory, *self._state]
        rows, columns = facts["grid"]
        wanted = {"ids", *kept}, {"logits", "attention", *(f"next_{name}" for name in self._state)}
        whole = (
            set(encode) == {"image"}
            and list(encode["image"]["shape"]) == [1, *facts["image_size"], 3]
            and wanted[0] == set(step)
            and wanted[1] <= set(after)
            and set(kept) <= set(made)
            and after["logits"]["shape"][-1] == vocabulary
            and after["attention"]["shape"][-1] == rows * columns
        )
        if not whole:
            raise EngineError(
                f"damaged {self._path}: its graph has other sizes or names than captioner noted; export it again"
            )

    def look(self, seen: np.ndarray) -> None:
        """Encodes the image uint8 [H, W, 3] that the next search is about."""
        self._seen = self._encode(image=seen[np.newaxis])

    def start(self, features: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Memory and first state of the image last looked at; `features` only say how many places there are."""
        return {n: self._seen[n] for n in self._memory}, {n: self._seen[n] for n in self._state}

    def step(self, ids: np.ndarray, memory: dict, state: dict) -> tuple[np.ndarray, np.ndarray, dict]:
        """Logits [R, V] as output, attention [R, L] and next state, for ids [R]."""
        found = self._step(ids=ids, **memory, **state)
        return found["logits"], found["attention"], {name: found[f"next_{name}"] for name in self._state}

    def head(self, output: np.ndarray) -> np.ndarray:
        """The logits: the step has run the head."""
        return output
