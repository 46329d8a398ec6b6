"""The engine `keras`: runs a `CaptionModel` in this process, with Keras on TensorFlow."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from captioner import bundle
from captioner.engines.base import Engine, captions_of, default_strategy
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.engines.weights import load_weights, save_weights
from captioner.errors import CaptionerError, EngineError, ImageError, ModelError, SpecError
from captioner.outputs.ood import OutOfDistribution
from captioner.outputs.outcome import judged, outcomes
from captioner.registry import parse_spec, table_specs_only
from captioner.text.normalize import words
from captioner.types import Caption, Hypotheses

_MAX_STRATEGIES = 16  # graphs kept at a time
_MOST_BEAMS = 1000  # of a strategy that a model folder names


class KerasEngine(Engine):
    """Runs a network that is in memory, or one from a bundle.

    Images are decoded in parallel on the CPU. Each strategy is traced to one graph on first use, for any batch
    size, which takes seconds.

    Args:
        model: `CaptionModel`.
        source: str, default "". The path of the model, for messages.

    Raises:
        EngineError: if Keras runs on another backend than TensorFlow.
    """

    sources = "a model folder"
    purpose = "For development: the trained weights, run by Keras."
    chooses_strategy = True

    def __init__(self, model: Any, source: str = ""):
        import_tensorflow("running a model")
        from captioner.image import tf_decode

        self.model, self.source = model, source
        self._read = tf_decode.reader(tuple(model.image_size))
        self._searches: dict[str, Callable[[Any], Any]] = {}
        self._tracing = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "captioner-decode")

    @classmethod
    def opens(cls, source: str) -> bool:
        """See `Engine.opens`. Any path, for `open` says what is missing there."""
        return "://" not in source

    @classmethod
    def variants(cls, folder: Path) -> list[str]:
        """See `Engine.variants`."""
        return [str(folder)]

    @classmethod
    def label(cls, source: str | Path) -> str:
        """See `Engine.label`."""
        return "weights, run by Keras"

    @classmethod
    def open(cls, source: str, trust: Sequence[str] = ()) -> KerasEngine:
        """Opens a model folder.

        Args:
            source: str. Path of a bundle.
            trust: sequence of str, default none. Packages of the user whose classes the model may name.

        Returns:
            KerasEngine.

        Raises:
            BundleError: if it is no complete bundle.
            ModelError: if its network cannot be built, its weights do not fit it, or it cannot run the strategy that it
                names.
        """
        return cls(bundle.opened(source, lambda model: _load(model, trust)), source)

    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """See `Engine.predict`."""
        search = self._search(strategy or default_strategy(self.model))
        try:
            pixels = list(self._pool.map(self._decode, images))
        except RuntimeError as error:
            if not self._closed:
                raise
            raise EngineError(f"the model {self.source} was closed: load it again ({error})") from None
        readable = [p for p in pixels if not isinstance(p, ImageError)]
        captions = iter(self._captions(*search(readable)) if readable else [])
        return [Caption("", error=str(p)) if isinstance(p, ImageError) else next(captions) for p in pixels]

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        return {
            "engine": "keras",
            "source": self.source,
            "strategy": default_strategy(self.model),
            "model": self.model.get_config(),
            "vocabulary": len(self.model.tokenizer),
            "confidence": self.model.calibration,
            "language": self.model.language,
        }

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True
        self._pool.shutdown(wait=False)

    def _captions(self, hypotheses: Hypotheses, outcomes: tuple[Any, Any] | None) -> list[Caption]:
        captions = captions_of(hypotheses, self.model.tokenizer, self.model.grid)
        return captions if outcomes is None else judged(captions, *outcomes, self.model.language)

    def _search(self, strategy: str) -> Callable[[Any], Any]:
        """The function from pixels of images to `Hypotheses` and `outcomes`, traced once for any batch size."""
        import tensorflow as tf

        from captioner.decoding import STRATEGIES, generate

        spec = parse_spec(strategy)
        # Built even if traced already: it refuses classes that this caller may not name.
        built = STRATEGIES.build(spec)
        key = str(spec)
        with self._tracing:
            if key not in self._searches:
                model = self.model

                def run(pixels: Any) -> Any:
                    features = model.encode(pixels)
                    hypotheses = generate(model, features, built, model.max_length, model.tokenizer)
                    return hypotheses, outcomes(model, features, hypotheses)

                signature = [tf.TensorSpec([None, *model.image_size, 3], tf.float32)]
                graph = tf.function(run, input_signature=signature, autograph=False)
                graph.get_concrete_function()  # traced here, under the lock
                if len(self._searches) >= _MAX_STRATEGIES:
                    self._searches.pop(next(iter(self._searches)))
                self._searches[key] = lambda pixels: graph(tf.stack(pixels))
            return self._searches[key]

    def _decode(self, image: bytes) -> Any:
        """float32 [H, W, 3] of an encoded image, or the `ImageError` if it cannot be read."""
        try:
            return self._read(image)
        except ImageError as error:
            return error


def network(stored: bundle.Bundle, trust: Sequence[str] = ()) -> Any:
    """The `CaptionModel` of a bundle with its weights, without calibration and fitted parameters.

    Args:
        stored: Bundle.
        trust: sequence of str, default none. Packages whose classes the config may name; they are imported, so that
            they can register with Keras.

    Raises:
        ModelError: if the network cannot be built from classes that are known or trusted, or the weights do not fit.
        SpecError: for `trust` that is no list of package names.
    """
    from captioner.models import CaptionModel
    from captioner.models.encoders import without_weights

    config = dict(stored.config)
    with table_specs_only(trust):
        try:
            for package in trust:
                importlib.import_module(package)
            if isinstance(config["encoder"], str):
                # The bundle has the weights: no file that the encoder names is read.
                config["encoder"] = str(without_weights(config["encoder"]))
            model = CaptionModel.from_config(config, tokenizer=stored.tokenizer)
        except Exception as error:  # layers of Keras raise exceptions of any kind
            kind = "" if isinstance(error, CaptionerError) else f"{type(error).__name__}: "
            reason = " ".join(str(error).split())
            raise ModelError(f"cannot build the network of {stored.folder}: {kind}{reason[:500]}") from None
    load_weights(model, stored)
    return model


def check_strategy(model: Any) -> Any:
    """Builds the strategy of a model, and checks that it fits the model, the parameters of its reranker apart.

    Args:
        model: `CaptionModel`.

    Returns:
        `captioner.decoding.Strategy`.

    Raises:
        SpecError: if it is unknown, or has more beams than words or than `_MOST_BEAMS`.
    """
    from captioner.decoding import STRATEGIES

    built = STRATEGIES.build(default_strategy(model))
    built.check_vocabulary(len(model.tokenizer))
    if (beams := built.search_rows(words)) > _MOST_BEAMS:
        raise SpecError(
            f"expected a strategy with at most {_MOST_BEAMS} beams for a model's own, got {beams}"
        )
    return built


def _load(stored: bundle.Bundle, trust: Sequence[str]) -> Any:
    """The `CaptionModel` of a bundle with weights, calibration and all fitted parameters."""
    import_tensorflow("running a model")
    from captioner.rerank import RERANKERS

    model = network(stored, trust)
    model.calibration = stored.confidence or None
    model.language = stored.language
    if stored.strategy:
        model.strategy = stored.strategy
        with table_specs_only(trust):
            try:
                check_strategy(model)
            except Exception as error:  # the options may be anything
                reason = " ".join(str(error).split())[:500]
                raise ModelError(f"{stored.folder} cannot run the strategy that it names: {reason}") from None
    for name, path in stored.reranker_parameters.items():
        model.reranker_parameters[name] = RERANKERS[name].load(
            path, stored.tokenizer.fingerprint, model.encoder.channels
        )
    if stored.ood is not None:
        model.ood = OutOfDistribution.load(stored.ood, model.encoder.channels)
    return model


__all__ = ["KerasEngine", "load_weights", "network", "save_weights"]
