"""Runs a `CaptionModel` in this process, with Keras on TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from captioner import bundle
from captioner.engines.base import DEFAULT_STRATEGY, Engine, captions_of
from captioner.engines.start import import_tensorflow
from captioner.errors import ImageError, ModelError
from captioner.registry import parse_spec
from captioner.types import Caption

_MAX_STRATEGIES = 16  # graphs kept at a time


class KerasEngine(Engine):
    """Runs a network that is in memory, or one from a bundle.

    Pictures are decoded side by side on the processor. Each strategy becomes one graph on first use, for any
    number of pictures; that first use takes seconds.

    Args:
        model: `CaptionModel`.
        source: str, default "". Where it came from, for messages.

    Raises:
        EngineError: if Keras runs on another backend than TensorFlow.
    """

    def __init__(self, model: Any, source: str = ""):
        import_tensorflow("running a model")
        from captioner import images

        self.model, self.source = model, source
        self._read = images.reader(tuple(model.image_size))
        self._searches: dict[str, Callable[[Any], Any]] = {}
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "captioner-decode")

    @classmethod
    def open(cls, source: str) -> KerasEngine:
        """Opens a model folder.

        Args:
            source: str. Path of a bundle.

        Returns:
            KerasEngine.

        Raises:
            BundleError: if it is no whole bundle.
            ModelError: if its weights do not fit its network.
        """
        found = bundle.read(source)
        import_tensorflow("running a model")
        from captioner.decoding.expectation import Expectation

        model = network(found)
        model.calibration = found.confidence or None
        if found.expectation is not None:
            model.expectation = Expectation.load(
                found.expectation, found.tokenizer.fingerprint, model.encoder.channels
            )
        return cls(model, source)

    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """See `Engine.predict`."""
        search = self._search(strategy or DEFAULT_STRATEGY)
        pixels = list(self._pool.map(self._pixels, images))
        good = [p for p in pixels if not isinstance(p, ImageError)]
        captions = iter(captions_of(search(good), self.model.tokenizer, self.model.grid) if good else [])
        return [Caption("", error=str(p)) if isinstance(p, ImageError) else next(captions) for p in pixels]

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        return {
            "engine": "keras",
            "source": self.source,
            "strategy": DEFAULT_STRATEGY,
            "model": self.model.get_config(),
            "vocabulary": len(self.model.tokenizer),
            "confidence": self.model.calibration,
        }

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.shutdown(wait=False)

    def _search(self, strategy: str) -> Callable[[Any], Any]:
        """Pixels of pictures to `Hypotheses`, traced once for any number of them."""
        import tensorflow as tf

        from captioner.decoding import STRATEGIES, generate

        key = str(parse_spec(strategy))
        if key not in self._searches:
            chosen, model = STRATEGIES.build(key), self.model
            if len(self._searches) >= _MAX_STRATEGIES:
                self._searches.pop(next(iter(self._searches)))

            def run(pixels: Any) -> Any:
                features = model.encode(pixels)
                return generate(model, features, chosen, model.max_length, model.tokenizer)

            signature = [tf.TensorSpec([None, *model.image_size, 3], tf.float32)]
            graph = tf.function(run, input_signature=signature, autograph=False)
            self._searches[key] = lambda pixels: graph(tf.stack(pixels))
        return self._searches[key]

    def _pixels(self, image: bytes) -> Any:
        """float32 [H, W, 3] of one picture, or the ImageError that says why not."""
        try:
            return self._read(image)
        except ImageError as error:
            return error


def network(found: bundle.Bundle) -> Any:
    """The `CaptionModel` of a bundle with its weights, and nothing of what was learnt about it afterwards.

    Raises:
        ModelError: if the weights do not fit.
    """
    from captioner.models import CaptionModel

    model = CaptionModel.from_config(found.config, tokenizer=found.tokenizer)
    load_weights(model, found)
    return model


def load_weights(model: Any, found: bundle.Bundle) -> None:
    """Puts the weights of a bundle into a network.

    Raises:
        ModelError: if they are those of another.
    """
    try:
        model.load_weights(str(found.weights))
    except (ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{found.weights} does not fit the network of {found.folder}: {reason}") from None


def save_weights(model: Any, path: str, half_precision: bool = False) -> None:
    """Writes the weights of a network, and nothing of its optimizer, which Keras would put beside them.

    Args:
        model: `CaptionModel`.
        path: str, ending in ".weights.h5".
        half_precision: bool, default False. Kernels and matrices as float16. Vectors stay: they are small, and
            variances among them need their range.
    """
    optimizer = getattr(model, "optimizer", None)
    try:
        model.optimizer = None
        model.save_weights(path)
    finally:
        model.optimizer = optimizer
    if half_precision:
        _halve(path)


def _halve(path: str) -> None:
    """Writes a file of weights anew: HDF5 would not give back the space of what is replaced in it."""
    import h5py
    import numpy as np

    whole = f"{path}.whole"
    os.replace(path, whole)
    try:
        with h5py.File(whole, "r") as old, h5py.File(path, "w") as new:

            def copy(name: str, item: Any) -> None:
                if isinstance(item, h5py.Group):
                    target = new.require_group(name)
                else:
                    half = item.ndim > 1 and item.dtype == np.float32
                    target = new.create_dataset(name, data=item[()].astype(np.float16) if half else item[()])
                target.attrs.update(item.attrs)

            new.attrs.update(old.attrs)
            old.visititems(copy)
    finally:
        os.remove(whole)
