"""Captions and metrics of a split, for validation and test alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from captioner.cli.progress import progress_bar
from captioner.decoding import generate
from captioner.metrics import evaluate
from captioner.models import CaptionModel
from captioner.text.languages import ENGLISH
from training.config import Evaluation
from training.data.batches import PackedBatches, caption_groups
from training.data.datasets import Example
from training.data.source import Source
from training.loop.selection.choosing import CIDER

SOURCE_METRICS = (CIDER, "BLEU-4")  # of each source of a mixture


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


class ReferenceLoss:
    """Cross-entropy of references under teacher forcing, in a graph that is traced once.

    Args:
        model: CaptionModel.
        examples: the images of a split and their references, each of which is cut to the model's length.
        read: from image numbers [B] to the inputs of the split.
        key: "features" or "images": what `read` returns.
        batch: int. Images at a time.
    """

    def __init__(
        self,
        model: CaptionModel,
        examples: Sequence[Example],
        read: Callable[[np.ndarray], Any],
        key: str,
        batch: int,
    ):
        self._read, self._key = read, key
        group = max(len(example.captions) for example in examples)
        groups = [  # all words count alike, whatever they do in training
            group._replace(repeats=1.0, loss_weight=1.0)
            for group in caption_groups(examples, model.tokenizer, group, model.max_length)
        ]
        self._batches = PackedBatches(groups, batch, group, seed=0)

        def run(inputs: Any, targets: Any, weights: Any) -> Any:
            logits = tf.cast(model(inputs, training=False), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            return tf.reduce_sum(losses * weights)

        self._run = tf.function(run, autograph=False)

    def __call__(self) -> float:
        """The mean over all words, ends included, in nats a word, with the current weights."""
        total, words = 0.0, 0.0
        left = set(range(len(self._batches.caption_groups)))
        for plan in self._batches.plan(0):
            numbers = [number for number in plan if number in left]  # the last is filled up with earlier ones
            left -= set(numbers)
            images, packed, _ = self._batches.packed(numbers)
            inputs = {self._key: self._read(images), **packed.as_inputs()}
            tensors = tf.nest.map_structure(tf.convert_to_tensor, (inputs, packed.targets, packed.weights))
            total += float(self._run(*tensors))
            words += float(packed.weights.sum())
        return total / words


def score(
    captions: Sequence[str],
    examples: Sequence[Example],
    training: Sequence[str] = (),
    official: bool = False,
    language: str = ENGLISH,
) -> dict[str, float]:
    """All metrics of captions against their examples' references; see `captioner.evaluate`.

    Those of a mixture also have CIDEr-D and BLEU-4 of each source by itself, with the document frequencies of its own
    references, as "CIDEr-D/coco". Undefined metrics (CIDEr-D of a single image) are NaN.
    """
    metrics = _score(captions, examples, training, official, language)
    for source in sorted({example.source for example in examples if example.source}):
        chosen = [place for place, example in enumerate(examples) if example.source == source]
        part = _score([captions[i] for i in chosen], [examples[i] for i in chosen], language=language)
        metrics |= {f"{name}/{source}": part[name] for name in SOURCE_METRICS}
    return metrics


def _score(
    captions: Sequence[str],
    examples: Sequence[Example],
    training: Sequence[str] = (),
    official: bool = False,
    language: str = ENGLISH,
) -> dict[str, float]:
    predictions = {example.id: caption for example, caption in zip(examples, captions, strict=True)}
    references = {example.id: list(example.captions) for example in examples}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no CIDEr-D")  # programs print it in a line of their own
        return evaluate(
            predictions,
            references,
            official=official,
            training=training or None,
            allow_empty=True,
            language=language,
        )


class Scoring:
    """Captions and scores the splits of a run with the current weights of its model.

    Args:
        model: CaptionModel.
        source: Source.
        evaluation: Evaluation. The settings.
    """

    def __init__(self, model: CaptionModel, source: Source, evaluation: Evaluation):
        self.model, self.source, self.evaluation = model, source, evaluation
        self._captioning: dict[tuple[int, str], Captioning] = {}
        self._reference_loss: ReferenceLoss | None = None

    @cached_property
    def validated(self) -> list[Example]:
        """The validation images that are scored."""
        return self.source.examples("validation")[: self.evaluation.limit or None]

    def __call__(
        self, split: str, limit: int = 0, official: bool = False, strategy: str = ""
    ) -> tuple[list[str], dict[str, float]]:
        """Captions and metrics of a split, or of its first `limit` images, by the strategy of validation or another."""
        examples = self.source.examples(split)
        count = min(limit or len(examples), len(examples))
        batch = min(self.evaluation.batch_images, count)
        key = batch, strategy or self.evaluation.strategy
        if key not in self._captioning:
            self._captioning[key] = Captioning(self.model, key[1], batch, self.source.key)
        captions = self._captioning[key](self.source.reader(split), count, f"caption {split}")
        return captions, score(
            captions, examples[:count], self.source.training_captions, official, self.source.language
        )

    def reference_loss(self) -> float:
        """Cross-entropy of the references of the validation images, in nats a word."""
        if self._reference_loss is None:
            self._reference_loss = ReferenceLoss(
                self.model,
                self.validated,
                self.source.reader("validation"),
                self.source.key,
                min(self.evaluation.batch_images, len(self.validated)),
            )
        return self._reference_loss()
