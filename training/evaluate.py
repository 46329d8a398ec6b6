"""Scores a model on a split of a dataset, the way training scores it.

    python training/evaluate.py runs/flickr8k_lstm/model "flickr(folder='...', captions='...')" --split validation \\
        --strategy greedy --strategy "beam(width=3)" --strategy "beam(width=5)"

prints a row of figures for each strategy. Features are taken from the cache that training made, where it holds
them; otherwise images are read. What was exported or is served (a version's folder, `model.tflite`,
`grpc://host:8500/name`, `http://host:8501/name`) is given the encoded images, and says what it says without a
--strategy, as its own is fixed; a `.tflite` file takes others too. Choose on the validation split, report the test
split once.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from captioner.api import Captioner, load
from captioner.atomic import write_text
from captioner.checks import integer
from captioner.cli.parser import Parser
from captioner.cli.progress import progress_bar
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import DataError, ImageError, SpecError
from captioner.metrics import rough, undefined
from captioner.metrics.official import ptb_words
from captioner.programs import run_program
from training.loop.run_folder import finite

_BATCH = 50  # images captioned together, as in training
_KEPT = 4e9  # bytes of features kept for the next strategy


class Encoded:
    """Features of images that no cache holds, encoded when first asked for.

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
        self._keep, self._kept = size <= _KEPT, dict[bytes, np.ndarray]()

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """float32 [B, L, C] of the images numbered `index`."""
        key = index.tobytes()
        found = self._kept.get(key)
        if found is None:
            found = self._encode(self._pixels[index]).numpy()
            if self._keep:
                self._kept[key] = found
        return found


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
        strategies: sequence of specs of `STRATEGIES`; default none, which is the engine's own: what was exported, or
            `captioner.engines.base.DEFAULT_STRATEGY`.
        official: bool, default False. Also score with pycocoevalcap (needs Java).
        limit: int, default 0. Only the first so many images; 0 for all.
        features: path, default "cache/features". The cache to look in; nothing is written there.

    Returns:
        Figures and captions: dicts of strategy to dict of figure name to float (NaN for CIDEr-D of a single image),
        and to dict of image id to caption.

    Raises:
        DataError: for a split that is not there or an image that cannot be read.
        SpecError: for an unknown strategy.
        EngineError: if the engine runs no other strategy than its own, or cannot run.
    """
    from training.data.datasets.synthetic_scenes import SyntheticScenes, exact_match
    from training.data.feature_cache import cached_split
    from training.loop.validation import Captioning, score

    engine = isinstance(model, Captioner)
    asked = _asked(model, strategies)
    examples = list(dataset.examples(split))
    found = None if engine else cached_split(model.encoder, dataset, split, features)
    examples = (examples if found is None else found.examples)[: limit or None]
    if not examples:
        raise DataError(f"expected images that can be read in {split!r}, found none")
    print(
        f"{len(examples):,} images, {'images read' if found is None else 'features cached'}",
        file=sys.stderr,
    )
    read: Callable[[np.ndarray], np.ndarray]
    if found is not None:
        read = lambda index: found[index].astype(np.float32)  # noqa: E731
    elif not engine:
        read = Encoded(model, examples)
    training: list[str] = []
    if "train" in dataset.splits:
        training = [caption for example in dataset.examples("train") for caption in example.captions]
    figures, captions = {}, {}
    for strategy, passed in asked.items():
        if engine:
            said = _through_engine(model, examples, passed)
        else:
            captioning = Captioning(model, strategy, min(_BATCH, len(examples)), "features")
            said = captioning(read, len(examples), strategy)
        figures[strategy] = score(said, examples, training, official, undefined=math.nan)
        if isinstance(dataset, SyntheticScenes):
            figures[strategy]["exact match"] = exact_match(said, examples)
        captions[strategy] = {example.id: text for example, text in zip(examples, said, strict=True)}
    return figures, captions


def _asked(model: Any, strategies: Sequence[str]) -> dict[str, str | None]:
    """What each strategy is called, and what the engine is asked for; a wrong one is told here."""
    from captioner.decoding import STRATEGIES

    if not isinstance(model, Captioner):
        for strategy in strategies:
            STRATEGIES.build(strategy)
        return {strategy: strategy for strategy in strategies or (DEFAULT_STRATEGY,)}
    for strategy in strategies:
        model.engine.predict([], strategy)
    return {strategy: strategy for strategy in strategies} or {model.engine.describe()["strategy"]: None}


def _through_engine(model: Captioner, examples: Sequence[Any], strategy: str | None) -> list[str]:
    """Captions of encoded images; one that cannot be read is an error, as scores would leave it out."""
    found = model.caption_many((_encoded(example) for example in examples), strategy, _BATCH)
    captions = []
    bar = progress_bar(found, len(examples), desc=strategy)
    for example, caption in zip(examples, bar, strict=True):
        if not caption.ok:
            raise DataError(f"image {example.id}: {caption.error}")
        captions.append(caption.text)
    return captions


def _encoded(example: Any) -> bytes:
    try:
        return example.read()
    except ImageError as error:
        raise DataError(f"image {example.id}: {error}") from None


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Figures as lines of text: a row a strategy, a column a figure.

    Args:
        figures: dict of strategy to dict of figure name to float; NaN is shown as a dash.

    Returns:
        str.

    Example:
        >>> print(table({"greedy": {"BLEU-4": 20.0}, "beam(width=3)": {"BLEU-4": 21.333}}))
        strategy       BLEU-4
        greedy          20.00
        beam(width=3)   21.33
    """
    first = max(len(name) for name in ["strategy", *figures])
    names = list(dict.fromkeys(name for row in figures.values() for name in row))
    lines = [f"{'strategy':<{first}}" + "".join(f"  {name:>6}" for name in names)]
    for strategy, row in figures.items():
        shown = ["-" if math.isnan(row[n]) else f"{row[n]:.2f}" for n in names]
        cells = zip(shown, names, strict=True)
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
                       help=f"may be given several times (default: what was exported, or {DEFAULT_STRATEGY} for a "
                       "model folder)")  # fmt: skip
    build.add_argument("--trust", action="append", default=[], metavar="PKG",
                       help="a package of your own that the model may name parts of; may be repeated")  # fmt: skip
    build.add_argument("--official", action="store_true", help="also score with pycocoevalcap (needs Java)")
    build.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N images")
    build.add_argument("--features", default="cache/features", metavar="DIR",
                       help="feature cache to look in (default: %(default)s)")  # fmt: skip
    build.add_argument("--predictions", metavar="FILE", help="write the captions there, as JSON")
    build.add_argument("--json", action="store_true", help="print one JSON object")
    return build


def run(given: argparse.Namespace) -> None:
    """Does what the command line says."""
    strategies = given.strategy or []
    integer(given.limit, "--limit", 0)
    if given.predictions is not None and len(set(strategies)) > 1:
        raise SpecError("--predictions takes the captions of one --strategy, got several")
    import_tensorflow("scoring a model")
    from training.data.datasets import DATASETS

    if given.official:
        ptb_words(["a dog"])  # so that missing Java is told now
    dataset = DATASETS.build(given.dataset)
    dataset.examples(given.split)
    model = load(given.model, **({"trust": tuple(given.trust)} if given.trust else {}))
    # The program says it in a line of its own.
    warnings.filterwarnings("ignore", "no CIDEr-D")
    figures, captions = evaluate(
        model if model.engine.model is None else model.engine.model,
        dataset,
        given.split,
        strategies,
        given.official,
        given.limit,
        given.features,
    )
    first = next(iter(captions.values()))
    if any(math.isnan(value) for row in figures.values() for value in row.values()):
        print(f"evaluate.py: {undefined(len(first))}", file=sys.stderr)
    elif rough(len(first)):
        print(f"evaluate.py: {rough(len(first))}", file=sys.stderr)
    if given.predictions is not None:
        text = json.dumps(first, ensure_ascii=False, indent=0)
        write_text(given.predictions, text + "\n")
    if given.json:
        count = len(first)
        content = {"split": given.split, "images": count, "figures": finite(figures)}
        print(json.dumps(content, ensure_ascii=False, allow_nan=False))
    else:
        print(table(figures))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_program("evaluate.py", lambda: run(parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
