"""Scores a model on a split of a dataset, as training does.

    python training/evaluate.py runs/flickr8k_lstm/model "flickr(folder='...', captions='...')" --split validation \\
        --strategy greedy --strategy "beam(width=3)" --strategy "beam(width=5)"

prints a row of metrics for each strategy. Features come from the cache of training if it has them; otherwise images are
read. Exported and served models (a version's folder, `model.tflite`, `grpc://host:8500/name`, `http://host:8501/name`)
get the encoded images, and need no --strategy, as theirs is fixed; a `.tflite` file takes others too. Choose on the
validation split, report the test split once.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.api import Captioner, load
from captioner.atomic import write_text
from captioner.checks import integer
from captioner.cli.parser import Parser
from captioner.cli.progress import progress_bar
from captioner.engines.base import default_strategy
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import DataError, ImageError, SpecError
from captioner.metrics import rough, undefined
from captioner.metrics.official import ptb_words
from captioner.programs import program
from training.loop.run_folder import finite

_BATCH = 50  # images captioned together, as in training
_CACHE_BYTES = 4e9  # of features, for the next strategy


class LazyFeatures:
    """Features of images that are not in the cache on disk, encoded when first asked for.

    Args:
        model: CaptionModel.
        examples: the images.
    """

    def __init__(self, model: Any, examples: Sequence[Any]):
        import tensorflow as tf

        from training.data.source import Pixels

        self._pixels = Pixels(examples, model.image_size, keep_bytes=0)
        self._encode = tf.function(model.encode, autograph=False)
        size = len(examples) * model.grid[0] * model.grid[1] * model.encoder.channels * 4
        self._use_cache, self._cached = size <= _CACHE_BYTES, dict[bytes, np.ndarray]()

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """float32 [B, L, C] of the images numbered `index`."""
        key = index.tobytes()
        features = self._cached.get(key)
        if features is None:
            features = self._encode(self._pixels[index]).numpy()
            if self._use_cache:
                self._cached[key] = features
        return features


def evaluate(
    model: Any,
    dataset: Any,
    split: str = "test",
    strategies: Sequence[str] = (),
    official: bool = False,
    limit: int = 0,
    features: str | Path = "cache/features",
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
    """Captions a split with each strategy and scores the captions.

    Args:
        model: CaptionModel, or a Captioner of any engine.
        dataset: Dataset.
        split: str, default "test".
        strategies: sequence of specs of `STRATEGIES`; default none, which is that of the model or export.
        official: bool, default False. Also score with pycocoevalcap (needs Java).
        limit: int, default 0. Only the first so many images; 0 for all.
        features: path, default "cache/features". The cache to read; nothing is written there.

    Returns:
        Metrics and captions: dicts of strategy to dict of metric to float (NaN for CIDEr-D of a single image), and to
        dict of image id to caption.

    Raises:
        DataError: for an unknown split or an image that cannot be read.
        SpecError: for an unknown strategy.
        EngineError: if the engine cannot run, or runs its exported strategy alone.
    """
    from training.data.datasets.synthetic_scenes import SyntheticScenes, exact_match
    from training.data.feature_cache import cached_split
    from training.loop.validation import Captioning, score

    engine, requested = isinstance(model, Captioner), _requested(model, strategies)
    examples = list(dataset.examples(split))
    cached = None if engine else cached_split(model.encoder, dataset, split, features)
    examples = (examples if cached is None else cached.examples)[: limit or None]
    if not examples:
        raise DataError(f"expected images that can be read in {split!r}, got none")
    origin = "images read" if cached is None else "features cached"
    print(f"{len(examples):,} images, {origin}", file=sys.stderr)
    read: Callable[[np.ndarray], np.ndarray]
    if cached is not None:
        read = lambda index: cached[index].astype(np.float32)  # noqa: E731
    elif not engine:
        read = LazyFeatures(model, examples)
    training = training_captions(dataset) or ()
    options: Any = {"official": official, "language": model.language}
    metrics, captions = {}, {}
    for strategy, passed in requested.items():
        if engine:
            texts = _through_engine(model, examples, passed)
        else:
            captioning = Captioning(model, strategy, min(_BATCH, len(examples)), "features")
            texts = captioning(read, len(examples), strategy)
        metrics[strategy] = score(texts, examples, training, **options)
        if isinstance(dataset, SyntheticScenes):
            metrics[strategy]["exact match"] = exact_match(texts, examples)
        captions[strategy] = {example.id: text for example, text in zip(examples, texts, strict=True)}
    return metrics, captions


def training_captions(dataset: Any) -> list[str] | None:
    """All captions of the split "train", or None if the dataset has none."""
    if "train" not in dataset.splits:
        return None
    return [caption for example in dataset.examples("train") for caption in example.captions]


def _requested(model: Any, strategies: Sequence[str]) -> dict[str, str | None]:
    """Names of the strategies, and the spec that the engine gets for each; raises an error for a wrong one."""
    from captioner.decoding import STRATEGIES

    if not isinstance(model, Captioner):
        for strategy in strategies:
            STRATEGIES.build(strategy)
        return {strategy: strategy for strategy in strategies or (default_strategy(model),)}
    for strategy in strategies:
        model.engine.predict([], strategy)
    return {strategy: strategy for strategy in strategies} or {model.engine.describe()["strategy"]: None}


def _through_engine(model: Captioner, examples: Sequence[Any], strategy: str | None) -> list[str]:
    """Captions of encoded images; an unreadable image is an error, as it would be missing in the metrics."""
    results = model.caption_many((_encoded(example) for example in examples), strategy, _BATCH)
    captions = []
    bar = progress_bar(results, len(examples), desc=strategy)
    for example, caption in zip(examples, bar, strict=True):
        if not caption.ok:
            raise DataError(f"image {example.id}: {caption.error}")
        captions.append(caption.caption)
    return captions


def _encoded(example: Any) -> bytes:
    try:
        return example.read()
    except ImageError as error:
        raise DataError(f"image {example.id}: {error}") from None


def table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Metrics as lines of text: a row for each strategy, a column for each metric.

    Args:
        metrics: dict of strategy to dict of metric to float; NaN is shown as a dash.

    Returns:
        str.

    Example:
        >>> print(table({"greedy": {"BLEU-4": 20.0}, "beam(width=3)": {"BLEU-4": 21.333}}))
        strategy       BLEU-4
        greedy          20.00
        beam(width=3)   21.33
    """
    first = max(len(name) for name in ["strategy", *metrics])
    names = list(dict.fromkeys(name for row in metrics.values() for name in row))
    lines = [f"{'strategy':<{first}}" + "".join(f"  {name:>6}" for name in names)]
    for strategy, row in metrics.items():
        values = ["-" if math.isnan(row[n]) else f"{row[n]:.2f}" for n in names]
        cells = zip(values, names, strict=True)
        lines.append(f"{strategy:<{first}}" + "".join(f"  {cell:>{max(6, len(n))}}" for cell, n in cells))
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="evaluate.py", description=(__doc__ or "").split("\n")[0])
    build.add_argument("model", metavar="MODEL",
                       help="a model folder, an exported version, a .tflite file, or an address")  # fmt: skip
    build.add_argument(
        "dataset", metavar="DATASET", help='such as "synthetic_scenes()", see training/data/datasets'
    )
    build.add_argument("--split", default="test", help="(default: %(default)s)")
    build.add_argument("--strategy", action="append", metavar="SPEC",
                       help="may be given several times (default: the model's, or what was exported)")  # fmt: skip
    build.add_argument("--trust", action="append", default=[], metavar="PKG",
                       help="a package of your own that the model may name parts of; may be repeated")  # fmt: skip
    build.add_argument("--official", action="store_true", help="also score with pycocoevalcap (needs Java)")
    build.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N images")
    build.add_argument("--features", default="cache/features", metavar="DIR",
                       help="feature cache to read (default: %(default)s)")  # fmt: skip
    build.add_argument("--predictions", metavar="FILE", help="write the captions there, as JSON")
    build.add_argument("--json", action="store_true", help="print one JSON object")
    return build


def run(options: argparse.Namespace) -> None:
    """Prints the metrics, and writes the captions if asked to."""
    strategies = options.strategy or []
    integer(options.limit, "--limit", 0)
    if options.predictions is not None and len(set(strategies)) > 1:
        raise SpecError("--predictions takes the captions of one --strategy, got several")
    import_tensorflow("scoring a model")
    from training.data.datasets import DATASETS

    if options.official:
        ptb_words(["a dog"])  # raises an error now if there is no Java
    dataset = DATASETS.build(options.dataset)
    dataset.examples(options.split)
    model = load(options.model, **({"trust": tuple(options.trust)} if options.trust else {}))
    metrics, captions = evaluate(
        model if model.engine.model is None else model.engine.model,
        dataset,
        options.split,
        strategies,
        options.official,
        options.limit,
        options.features,
    )
    first = next(iter(captions.values()))
    if any(math.isnan(value) for row in metrics.values() for value in row.values()):
        print(f"evaluate.py: {undefined(len(first))}", file=sys.stderr)
    elif rough(len(first)):
        print(f"evaluate.py: {rough(len(first))}", file=sys.stderr)
    if options.predictions is not None:
        text = json.dumps(first, ensure_ascii=False, indent=0)
        write_text(options.predictions, text + "\n")
    if options.json:
        content = {"split": options.split, "images": len(first), "metrics": finite(metrics)}
        print(json.dumps(content, ensure_ascii=False, allow_nan=False))
    else:
        print(table(metrics))


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
