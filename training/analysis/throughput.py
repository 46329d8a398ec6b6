"""Measures how fast a training step is: captions per second, and the share of the machine's matrix-multiply rate.

    python training/analyze.py throughput flickr8k_lstm flickr8k_topdown
    python training/analyze.py throughput "top_down(cell='gru')" --set xe.batch_images=32 --json

Every name is a recipe, or a decoder put into `flickr8k_lstm`. The step measured is the trainer's own, on random
features of the encoder's shape and captions as long as Flickr8k's; `--set data.source=...` takes the captions of a
real dataset instead. No images and no weights are read.

The share counts useful operations only (`multiply_adds`): each image's features are projected once for all its
captions, and only real words count, so padding, wasted slots and everything that is no matrix product lower it. Steps
and large products alternate, so that other work of the machine slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from captioner import checks
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import SpecError
from training.config import Run, SelfCritical
from training.loop.run_folder import finite
from training.recipes import RECIPES
from training.recipes.changes import with_changes

WORDS, IMAGES, PRODUCT = 2538, 6000, 2048


def multiply_adds(model: Any, images: int, lengths: Sequence[int], decoder: Any = None) -> tuple[int, int]:
    """Useful multiply-adds of one forward pass over captions, from the sizes of the layers.

    A matrix W [m, n] costs m n each time something is multiplied by it. How often that is:

    - once a location of an image: the projection of features and what attention makes of them (keys, values);
    - once an image: the first states, and what the mean feature brings (`image`, with the layers that read it);
    - once a word: everything else, and attention itself: L (A + D) for the scores and the weighted sum, with L
      locations, A the width of the keys, D that of the values (a sentinel is one more key, and one more value);
    - T (T - 1) / 2 times a caption of T words: the backward half of the bidirectional cell, which re-reads.

    Args:
        model: CaptionModel.
        images: int. Images of the batch.
        lengths: ids of each caption, its end included.
        decoder: default None, which is the model's own.

    Returns:
        All of them, and those of products whose input needs no gradient: the projection of frozen features.
    """
    from captioner.models import attention
    from captioner.models.decoder import Tied
    from captioner.models.decoders import Adaptive, ShowAndTell
    from captioner.models.ensemble import Ensemble

    decoder = model.decoder if decoder is None else decoder
    if isinstance(decoder, Ensemble):
        counts = [multiply_adds(model, images, lengths, member) for member in decoder.members]
        return sum(total for total, _ in counts), sum(projected for _, projected in counts)
    locations, words = model.grid[0] * model.grid[1], int(sum(lengths))
    look = decoder.attention
    adaptive, alone = isinstance(decoder, Adaptive), isinstance(decoder, ShowAndTell)
    energy = [look.energy] if isinstance(look, attention.Additive) else []
    per_location, per_image, per_word, rereading = _layers(decoder, energy)
    total = _size(*per_location) * locations * images + _size(*per_image) * images + _size(*per_word) * words
    if isinstance(decoder.logits, Tied):
        total += int(np.prod(decoder.embedding.embeddings.shape)) * words
    total += _size(*rereading) * sum(t * (t + 1 if alone else t - 1) // 2 for t in lengths)
    if not alone:
        depth = decoder.value_dim or model.encoder.channels
        keys = look.units if isinstance(look, attention.ScaledDot | attention.MultiHead) else 0
        values = look.units if isinstance(look, attention.MultiHead) else depth
        total += words * locations * (keys + values)
        total += words * _size(*energy) * (locations + adaptive)
        total += words * _size(*per_location[1:]) * adaptive
    return total, _size(decoder.value_projection) * locations * images


def _size(*layers: Any) -> int:
    """Elements of the kernels of layers; None and layers that were not built count nothing."""
    return sum(int(np.prod(layer.kernel.shape)) for layer in layers if layer is not None and layer.built)


def _layers(decoder: Any, energy: list[Any]) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Layers applied once a location, once an image, once a word, and in the backward half of a bidirectional cell."""
    import keras

    from captioner.models import cells, decoders

    look, every_layer = decoder.attention, decoder._flatten_layers()
    every_dense = {id(layer): layer for layer in every_layer if isinstance(layer, keras.layers.Dense)}
    per_location = [decoder.value_projection, getattr(look, "key", None), getattr(look, "value", None)]
    per_image = [
        projection
        for layer in every_layer
        if hasattr(layer, "projections")
        for projection in layer.projections
    ]
    per_image.append(getattr(decoder, "image_projection", None))
    rereading = [
        cell.backward_recurrent_projection
        for cell in _cells(decoder)
        if isinstance(cell, cells.Bidirectional)
    ]
    counted = {id(layer) for layer in (*per_location, *per_image, *rereading, *energy)}
    per_word = [layer for key, layer in every_dense.items() if key not in counted]
    # What reads the mean feature, besides `image`.
    first: Any = getattr(decoder, "attention_cell", getattr(decoder, "cell", None))
    reads = list(first.input_projections()) if first is not None else []
    if isinstance(decoder, decoders.Adaptive):
        reads.append(decoder.gate_words)
    elif isinstance(decoder, decoders.ShowAndTell):
        reads += [first.recurrent_kernel, getattr(first, "recurrent_projection", None)]
    elif not isinstance(decoder, decoders.TopDown):
        reads = []
    return per_location, [*per_image, *reads], per_word, rereading


def _cells(decoder: Any) -> list[Any]:
    from captioner.models.cells import Cell

    return [layer for layer in decoder._flatten_layers() if isinstance(layer, Cell)]


def training_operations(model: Any, images: int, lengths: Sequence[int]) -> int:
    """Useful operations (a multiply-add is two) of a training step.

    Backwards, a product costs as much again for the gradient of its input and once more for that of its matrix;
    frozen features need none.
    """
    total, without = multiply_adds(model, images, lengths)
    return 2 * (3 * total - without)


def captions_like_flickr8k(images: int, group: int, words: int, seed: int = 0) -> list[list[list[int]]]:
    """Random captions of `images` images, as long as Flickr8k's: ids with mean 11.8, deviation 3.8, from 4 to 22."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.rint(rng.normal(11.8, 3.8, (images, group))), 4, 22).astype(int)
    return [[[*rng.integers(4, 4 + words, n - 1).tolist(), 2] for n in row] for row in lengths]


class CaptionSource:
    """Captions of a real dataset, or random ones, with the attributes of `Source` that a trainer needs.

    Args:
        run: Run.
        real: bool. Whether to read `run.data.source`.
    """

    def __init__(self, run: Run, real: bool):
        from captioner.text import Tokenizer
        from training.data.batches import CaptionGroup, caption_groups
        from training.data.datasets import DATASETS

        group, longest = run.data.captions_per_image, run.model.max_length
        if real:
            examples = DATASETS.build(run.data.source).examples("train")
            captions = [caption for example in examples for caption in example.captions]
            self.tokenizer = Tokenizer.fit(captions, run.data.min_count, run.data.max_vocabulary or None)
            self.caption_groups = caption_groups(examples, self.tokenizer, group, longest)
        else:
            self.tokenizer = Tokenizer([f"word{i}" for i in range(WORDS)])
            random_captions = captions_like_flickr8k(IMAGES, group, WORDS)
            self.caption_groups = [
                CaptionGroup(image, [caption[:longest] for caption in captions])
                for image, captions in enumerate(random_captions)
            ]


def measure(run: Run, real: bool, iterations: int) -> dict[str, Any]:
    """Trains for `iterations` steps, a large matrix product before each, and returns how fast both were."""
    import keras

    from captioner.models import CaptionModel
    from captioner.models.encoders import without_weights
    from training.loop.trainer import Trainer

    if not run.xe.epochs:
        raise SpecError(f"{run.name} has no epochs of cross-entropy to measure: --set xe.epochs=1")
    if run.model.train_encoder:
        raise SpecError(
            f"{run.name} trains its encoder, only decoders are measured: --set model.train_encoder=false"
        )
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if run.xe.mixed_precision else "float32")
    source: Any = CaptionSource(run, real)  # what a Trainer needs of a Source
    encoder = without_weights(run.model.encoder)
    side = (run.model.image_size, run.model.image_size)
    model = CaptionModel(encoder, run.model.decoder, source.tokenizer, run.model.max_length, side)
    with tempfile.TemporaryDirectory() as folder:
        cross_entropy = replace(run, xe=replace(run.xe, min_steps=0, text=""), scst=SelfCritical())
        batches: Any = Trainer(cross_entropy, Path(folder), source, model).stage.batches
    shape = (batches.batch, model.grid[0] * model.grid[1], model.encoder.channels)
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    plan, steps, products, captions, operations = batches.plan(0), [], [], [], []
    for number, batch in enumerate(batches.epoch(0, lambda index, seed: features, "features")):
        products.append(product_rates(PRODUCT))
        began = time.perf_counter()
        model.train_on_batch(batch.inputs, batch.targets, batch.weights)
        steps.append(time.perf_counter() - began)
        lengths = [
            len(caption) for group in plan[number] for caption in batches.caption_groups[group].captions
        ]
        operations.append(training_operations(model, len(plan[number]), lengths))
        captions.append(len(lengths))
        if number == iterations:
            break
    # The first step also builds the graph.
    measured = list(zip(steps, products, captions, operations, strict=True))[1:]
    rates = [operations / step for step, _, _, operations in measured]
    return {
        "name": run.name,
        "decoder": run.model.decoder,
        "batch": captions[-1],
        "fill": batches.fill,
        "steps": len(measured),
        "captions_per_second": statistics.median(count / step for step, _, count, _ in measured),
        "captions_per_second_best": max(count / step for step, _, count, _ in measured),
        "useful_gflops": statistics.median(rates) / 1e9,
        "product_gflops": statistics.median(rate for _, (rate, _), _, _ in measured) / 1e9,
        "product_gflops_best": max(best for _, best in products) / 1e9,
        "share": statistics.median(
            useful / rate for useful, (_, (rate, _), _, _) in zip(rates, measured, strict=True)
        ),
        "share_best": max(rates) / max(best for _, best in products),
    }


def product_rates(size: int, tries: int = 6) -> tuple[float, float]:
    """Operations a second of float32 matrix products of `size`: over all tries, and in the best of them."""
    import tensorflow as tf

    matrix = tf.random.stateless_normal((size, size), (1, 2))
    tf.linalg.matmul(matrix[:64], matrix).numpy()
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        tf.linalg.matmul(matrix, matrix)[0, 0].numpy()
        times.append(time.perf_counter() - began)
    # Not the best alone: a step takes too long to be free of other work, a single product does not.
    return 2 * size**3 * tries / sum(times), 2 * size**3 / min(times)


def is_recipe(name: str) -> bool:
    """Whether a name is a recipe's; else it is a decoder's.

    Raises:
        SpecError: if it is neither.
    """
    from captioner.models import DECODERS
    from captioner.registry import parse_spec, unknown

    bare = parse_spec(name).name
    if bare in RECIPES or bare in DECODERS or ":" in bare:
        return bare not in DECODERS
    raise SpecError(unknown("recipe or decoder", bare, [*RECIPES, *DECODERS]))


def table(measured: Sequence[dict[str, Any]]) -> str:
    """Measurements as text, a row for each name."""
    width = max(len(row["name"]) for row in measured)
    lines = [f"{'':{width}}  captions/s   (best)  useful GFLOP/s  product GFLOP/s   (best)  share   (best)"]
    for row in measured:
        lines.append(
            f"{row['name']:{width}}  {row['captions_per_second']:10.0f} {row['captions_per_second_best']:8.0f}  "
            f"{row['useful_gflops']:14.1f}  {row['product_gflops']:15.1f} {row['product_gflops_best']:8.1f}  "
            f"{row['share']:5.0%} {row['share_best']:8.0%}"
        )
    return "\n".join(lines)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="a recipe, or the spec of a decoder")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                        help="change one key of the recipe, as for train.py")  # fmt: skip
    parser.add_argument("--iterations", type=int, default=8, help="steps measured (default 8)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> None:
    """Measures each name and prints the results."""
    real = any(change.partition("=")[0].strip() == "data.source" for change in options.changes)
    checks.integer(options.iterations, "--iterations", 1)
    import_tensorflow("measuring throughput")
    measured = []
    for name in options.names:
        recipe = is_recipe(name)
        config = RECIPES.build(name) if recipe else RECIPES.build("flickr8k_lstm")
        changes = options.changes if recipe else [*options.changes, f"model.decoder={name}"]
        measured.append(measure(with_changes(config, changes), real, options.iterations) | {"name": name})
    print(json.dumps(finite(measured), indent=2, allow_nan=False) if options.json else table(measured))
