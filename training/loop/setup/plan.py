"""What a run will do, settled before it starts: networks, sizes that follow from the data, and the time it takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from captioner import api, bundle
from captioner.errors import DataError
from captioner.text.normalize import words
from captioner.types import SPECIALS
from training.config import Run
from training.data.datasets import DATASETS, Example
from training.data.duplicates import distinct, sample
from training.data.transforms import Subset
from training.recipes.changes import with_changes
from training.recipes.sizing import hold_out, sized

_log = logging.getLogger("captioner.training")

LEAST_IMAGES = 10
_LEAST_DISTINCT = 5  # training images that are no near-duplicates of one another
_LONGEST = 40  # words; a longer caption is a text of several sentences
_START_SECONDS = 20.0  # of tracing graphs, and of validation
# Useful arithmetic of a training step, as a share of the machine's rate for a large matrix product.
_EFFICIENCY = 0.25


def settled(recipe: Run, changes: Sequence[str]) -> tuple[Run, Any]:
    """A run with changes, whose open settings follow from its initial model and its data.

    Networks that are left empty are those of `model.init_from`. A recipe with `sized_by_data` has its batches, epochs,
    augmentations and hold-out from the number of images and captions; what `changes` sets stays as set.

    Args:
        recipe: Run.
        changes: strings such as "xe.epochs=20", see `training.recipes.changes.with_changes`.

    Returns:
        The `Run`, and its dataset if it was read.

    Raises:
        SpecError: see `training.recipes.changes.with_changes`.
        BundleError: if `model.init_from` is no model folder.
        DataError: if the data cannot be trained on, in one line with the remedy.
    """
    run = with_changes(recipe, changes)
    run = _with_networks(run)
    if not run.sized_by_data:
        return run, None
    dataset = DATASETS.build(run.data.source)
    examples = dataset.examples("train")
    count = min(run.data.images or len(examples), len(examples))
    keys = {change.partition("=")[0].strip() for change in changes}
    held_out = run.data.hold_out
    if "validation" not in dataset.splits and "data.hold_out" not in keys:
        held_out = hold_out(count)
    check_examples(examples, count)
    Subset(dataset, run.data.images, held_out)  # raises an error for more images than there are
    per_image = sum(len(example.captions) for example in examples) / len(examples)
    run = sized(run, count - held_out, round(per_image * (count - held_out)))
    run = replace(run, data=replace(run.data, hold_out=held_out))
    if "evaluation.tests" not in keys and "test" in dataset.splits:
        run = replace(run, evaluation=replace(run.evaluation, tests=("test",)))
    if "model.max_length" not in keys:
        run = replace(run, model=replace(run.model, max_length=_max_length(run, examples)))
    return _with_networks(with_changes(run, changes)), dataset


def _with_networks(run: Run) -> Run:
    """The run with the encoder and the decoder of its initial model where it names none."""
    model = run.model
    if not model.init_from:
        return run
    model = replace(model, init_from=str(api.located(model.init_from)))
    if not model.encoder or not model.decoder:
        config = bundle.read(model.init_from).config
        if not isinstance(config["encoder"], str):
            raise DataError(
                f"expected model.init_from={model.init_from} to have an encoder of the table, it has a network of its "
                "own; begin with another model"
            )
        if not model.encoder:
            model = replace(model, encoder=config["encoder"], image_size=config["image_size"][0])
        if not model.decoder:
            model = replace(model, decoder=config["decoder"], max_length=config["max_length"])
    return replace(run, model=model)


def check_examples(examples: Sequence[Example], count: int) -> None:
    """Refuses data that no model can be trained on.

    Args:
        examples: the training images.
        count: int. How many of them are to be used.

    Raises:
        DataError: for fewer than 10 images, or captions that are all alike.
    """
    if count < LEAST_IMAGES:
        raise DataError(
            f"expected at least {LEAST_IMAGES} images with captions, got {count}: caption more of them "
            "(training/annotate.py says which); 50 give a first model"
        )
    different = {tuple(words(caption)) for example in examples for caption in example.captions}
    if len(different) == 1:
        raise DataError(
            f"expected captions that differ, all captions of {len(examples)} images are "
            f"{' '.join(next(iter(different)))[:60]!r}: describe what each image shows"
        )


def check_distinct(source: Any) -> None:
    """Refuses images that are nearly all copies of a few, and warns of many copies.

    Args:
        source: Source, with features.

    Raises:
        DataError: if fewer than 5 images differ.
    """
    numbers = sample(len(source.examples("train")))
    read = source.reader("train")
    parts = np.array_split(numbers, max(1, len(numbers) // 100))
    count = distinct(np.concatenate([read(part).mean(axis=1) for part in parts]))
    if count < min(_LEAST_DISTINCT, len(numbers)):
        raise DataError(
            f"expected images that differ, {len(numbers):,} images are near-duplicates of {count}: add images of other "
            "things, or from other places"
        )
    if count < len(numbers) / 2:
        _log.warning(
            "%s images to train on are near-duplicates of %s: they teach little more than these; add others, or keep "
            "one of each burst", f"{len(numbers):,}", f"{count:,}",
        )  # fmt: skip


def _max_length(run: Run, examples: Sequence[Example]) -> int:
    """Ids of the longest caption but for the longest in a hundred, at least what the initial model has, at most 41."""
    lengths = [len(words(caption)) + 1 for example in examples for caption in example.captions]
    return max(run.model.max_length, min(int(np.percentile(lengths, 99)), _LONGEST + 1))


def describe(run: Run, source: Any, model: Any) -> list[str]:
    """The plan in a few lines: images, captions, steps, vocabulary, and minutes.

    Args:
        run: Run.
        source: Source, before its features are computed.
        model: CaptionModel.
    """
    train, validation = (source.dataset.examples(split) for split in ("train", "validation"))
    images, captions = sum(not example.flipped for example in train), len(source.training_captions)
    longest = run.model.max_length - 1
    cut = sum(len(words(caption)) > longest for caption in source.training_captions)
    lines = [
        f"{images + len(validation):,} images: {images:,} with {captions:,} captions to train on, "
        f"{len(validation):,} to validate on",
    ]
    lines.append(
        f"vocabulary: {len(source.tokenizer) - len(SPECIALS):,} words, {len(source.caption_words):,} of them in these "
        "captions"
    )
    if run.model.init_from and run.model.init_parts == "all":
        start_words = set(bundle.read(run.model.init_from).tokenizer.vocabulary)
        known = sum(word in start_words for word in source.caption_words)
        lines[-1] += f" ({known:,} known to {run.model.init_from})"
        if known < 0.1 * len(source.caption_words):
            lines.append(
                f"{run.model.init_from} knows hardly any of these words (another language or script?): it helps less, "
                "and more images are needed"
            )
    if cut:
        lines.append(
            f"{cut:,} captions are longer than {longest} words and will be cut; model.max_length= changes that"
        )
    if run.data.cached_augmentations:
        lines.append(f"{run.data.cached_augmentations} augmentations of each image")
    group = run.data.captions_per_image
    groups = run.data.repeats * round(sum(e.repeats * -(-len(e.captions) // group) for e in train))
    steps = run.xe.epochs * -(-groups // run.xe.batch_images)
    seconds = estimated_seconds(run, source, model)
    lines.append(
        f"{steps:,} steps of {run.xe.batch_images} images in {run.xe.epochs} epochs: about {_minutes(seconds)}"
    )
    return lines


def estimated_seconds(run: Run, source: Any, model: Any) -> float:
    """Roughly how long a run takes on this machine: encoding, training steps, and a constant.

    The encoder is timed on a batch. A step counts 6 operations for each weight that a word meets (2 forward, 4 back;
    Kaplan et al. 2020, section 2.1), at a quarter of this machine's rate for a large matrix product.
    """
    count = sum(len(source.dataset.examples(split)) for split in ("validation", *run.evaluation.tests))
    train = source.dataset.examples("train")
    count += len(train) * (1 + run.data.cached_augmentations)
    pixels = np.zeros((4, *model.image_size, 3), np.float32)
    model.encode(pixels)
    encoding = 0.0 if run.model.train_encoder else _timed(lambda: model.encode(pixels)) / 4 * count
    shown = sum(e.repeats * len(e.captions) for e in train) * run.xe.epochs * run.data.repeats
    per_caption = 1 + float(np.mean([len(words(caption)) for caption in source.training_captions[:1000]]))
    weights = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    side = 1024
    matrix = np.ones((side, side), np.float32)
    rate = 2 * side**3 / _timed(lambda: matrix @ matrix)
    return _START_SECONDS + encoding + 6 * weights * shown * per_caption / (rate * _EFFICIENCY)


def _timed(call: Any) -> float:
    """The least of three times of a call, in seconds."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _minutes(seconds: float) -> str:
    return f"{round(seconds / 60)} minutes" if seconds > 90 else "a minute"
