"""Captions and metrics of a split, for validation and test alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from captioner.cli.progress import progress_bar
from captioner.decoding import generate
from captioner.metrics import evaluate
from captioner.models import CaptionModel
from captioner.text.languages import ENGLISH
from training.data.datasets import Example


class Captioning:
    """Captions the images of a split in a graph that is traced once.

    Args:
        model: CaptionModel.
        strategy: spec of `STRATEGIES`.
        batch: int. Images at a time.
        key: "features" or "images": the inputs of the split.
    """

    def __init__(self, model: CaptionModel, strategy: str, batch: int, key: str):
        self.model, self.batch = model, batch

        def run(inputs: Any) -> Any:
            features = inputs if key == "features" else model.encode(inputs)
            return generate(model, features, strategy, model.max_length, model.tokenizer)

        self._run = tf.function(run, autograph=False)

    def __call__(self, read: Callable[[np.ndarray], Any], count: int, progress: str = "") -> list[str]:
        """Captions of the first `count` images, whose inputs `read` returns."""
        captions: list[str] = []
        bar = progress_bar(total=count, desc=progress, disable=not progress)
        with bar:
            for start in range(0, count, self.batch):
                # The last batch is filled up, so that there is one shape and one trace.
                index = np.minimum(np.arange(start, start + self.batch), count - 1)
                hypotheses = self._run(tf.convert_to_tensor(read(index)))
                for ids in hypotheses.ids.numpy()[: count - start, 0]:
                    captions.append(self.model.tokenizer.decode(ids.tolist()))
                bar.update(min(self.batch, count - start))
        return captions


def score(
    captions: Sequence[str],
    examples: Sequence[Example],
    training: Sequence[str] = (),
    official: bool = False,
    undefined: float = 0.0,
    language: str = ENGLISH,
) -> dict[str, float]:
    """All metrics of captions against their examples' references; see `captioner.evaluate`.

    Undefined metrics (CIDEr-D of a single image) are `undefined`: 0, as the best epoch is chosen by them.
    """
    predictions = {example.id: caption for example, caption in zip(examples, captions, strict=True)}
    references = {example.id: list(example.captions) for example in examples}
    metrics = evaluate(
        predictions,
        references,
        official=official,
        training=training or None,
        allow_empty=True,
        language=language,
    )
    return {name: undefined if math.isnan(value) else value for name, value in metrics.items()}
