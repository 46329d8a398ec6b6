"""Draws the quality of a captioner against the number of images it learned from, and what more images are worth.

    python training/learning_curve.py photos

The images that are kept for the test are the same for all. Each run is `training/train.py own`, which begins with a
trained model, or `scratch`, which begins with its encoder alone, on so many of the images. Run the same command again
to go on after Ctrl-C: finished runs are kept. Writes curve.csv, curve.png and curve.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from captioner import atomic, checks
from captioner.api import DEFAULT_MODEL
from captioner.cli.parser import Parser
from captioner.cli.progress import progress_bar
from captioner.errors import DataError
from captioner.metrics import evaluate
from captioner.programs import program
from captioner.registry import Spec
from training.analysis import curves
from training.analysis.constant_caption import best_constant
from training.data.datasets import DATASETS, Dataset
from training.data.transforms import Subset
from training.loop.run_folder import METRICS, MODEL, read_metrics, write_table
from training.recipes.sizing import hold_out

_SIZES = (50, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
_STARTS = {"adapted": "own", "scratch": "scratch"}  # to the name of the recipe
_TRAIN = Path(__file__).resolve().with_name("train.py")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="learning_curve.py", description=__doc__)
    build.add_argument(
        "data", metavar="PHOTOS", help='folder of images and captions, or a spec such as "flickr(folder=...)"'
    )
    build.add_argument(
        "--sizes", metavar="N,N,...", help="numbers of images (default: 50, 100, 300, 1000 ... and all)"
    )
    build.add_argument("--seeds", type=int, default=1, help="runs a size, each with other images (default 1)")
    build.add_argument("--model", default=DEFAULT_MODEL, metavar="FOLDER",
                       help="model folder to begin with (default: the default model)")  # fmt: skip
    build.add_argument("--begin", dest="starts", default="adapted,scratch", metavar="NAMES",
                       help="adapted, scratch, or both (default)")  # fmt: skip
    build.add_argument("--test", type=float, default=0.2, metavar="SHARE",
                       help="share of the images for the test, where there is no test split (default 0.2)")  # fmt: skip
    build.add_argument("--out", type=Path, default=Path("runs/learning_curve"), metavar="DIR",
                       help="folder of the runs and of the curve (default runs/learning_curve)")  # fmt: skip
    build.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                       help="change one setting of all runs, see `training/train.py --help`")  # fmt: skip
    return build


def run(options: argparse.Namespace) -> int:
    """Trains what is missing, and writes the curve; returns 1 if a run failed."""
    checks.integer(options.seeds, "--seeds", 1)
    checks.number(options.test, "--test", 0, 1)
    starts = options.starts.split(",")
    if unknown := [name for name in starts if name not in _STARTS]:
        raise DataError(f"expected --begin of {', '.join(_STARTS)}, got {unknown[0]!r}")
    source = options.data
    if Path(source).exists():
        source = str(Spec("auto", {"path": source, "validation": 0, "test": options.test}))
    elif not {"(", ":"} & set(source) and source not in DATASETS:
        raise DataError(f"expected a folder of images and captions, got {source!r}, which does not exist")
    dataset = DATASETS.build(source)
    train = dataset.examples("train")
    dataset.examples("test")  # raises an error now, not after the runs, if there is no test split
    sizes = _sizes(options.sizes, len(train))
    jobs = [(n, start, seed) for n in sizes for start in starts for seed in range(1, options.seeds + 1)]
    changes = [f"data.source={source}", f"model.init_from={options.model}", *options.changes]
    failures = 0
    bar = progress_bar(jobs, len(jobs), desc="runs", unit="run")
    for size, start, seed in bar:
        folder = options.out / f"{start}_{size}_{seed}"
        if (folder / MODEL).is_dir():
            continue
        drawn = [f"data.images={size}", f"data.hold_out={hold_out(size)}", f"seed={seed}"]
        code = _train(_STARTS[start], folder, [*changes, *drawn])
        if code < 0 or code in (129, 130, 143):
            raise KeyboardInterrupt
        if code:
            failures += 1
            print(f"{folder}: failed, see {folder}.log", file=sys.stderr)
    points = [
        curves.Point(size, start, seed, read_metrics(options.out / f"{start}_{size}_{seed}")["test"])
        for size, start, seed in jobs
        if (options.out / f"{start}_{size}_{seed}" / METRICS).is_file()
    ]
    if not points:
        raise DataError(
            f"expected runs that finish, all {len(jobs)} failed: see the .log files in {options.out}"
        )
    drawings = dict.fromkeys((point.images, point.seed) for point in points)
    points += [_constant(dataset, images, number) for images, number in drawings]
    per_image = sum(len(example.captions) for example in train) / len(train)
    text = curves.summary(points, per_image)
    write_table(options.out / "curve.csv", [curves.row(point) for point in points])
    atomic.write_text(options.out / "curve.md", text)
    curves.draw(points, options.out / "curve.png")
    print(f"{text}\nimage: {options.out / 'curve.png'}")
    return 1 if failures else 0


def _constant(dataset: Dataset, images: int, seed: int) -> curves.Point:
    """What the caption scores that fits the images of a run best, if it is said of every test image."""
    drawn = Subset(dataset, images, 0, seed).examples("train")
    caption, _ = best_constant(
        [caption for example in drawn for caption in example.captions],
        [example.captions for example in drawn],
    )
    references = {example.id: list(example.captions) for example in dataset.examples("test")}
    return curves.Point(
        images, curves.CONSTANT, seed, evaluate(dict.fromkeys(references, caption), references)
    )


def _sizes(wanted: str | None, images: int) -> list[int]:
    """Numbers of images to train on, ascending; all of them are the last."""
    if wanted is None:
        return [*(n for n in _SIZES if n < images), images]
    try:
        sizes = sorted({images if text.strip() == "all" else int(text) for text in wanted.split(",")})
    except ValueError:
        raise DataError(
            f"expected --sizes as numbers with commas between them, or all, got {wanted!r}"
        ) from None
    if sizes[0] < 1 or sizes[-1] > images:
        raise DataError(f"expected --sizes from 1 to {images:,}, the training images there are, got {wanted}")
    return sizes


def _train(recipe: str, folder: Path, changes: Sequence[str]) -> int:
    """Runs `training/train.py` into a folder, or resumes it there; returns its exit code."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(_TRAIN), recipe, "--out", str(folder)]
    for change in changes:
        command += ["--set", change]
    with Path(f"{folder}.log").open("ab") as log:
        return subprocess.run(command, stdout=log, stderr=log, check=False).returncode


main = program(parser, run, "stopped; run the same command again to go on")

if __name__ == "__main__":
    sys.exit(main())
