"""Trains the recipe `tiny` on drawn images, prints its metrics, and captions new images: `make learn`.

    python training/demo.py [--retrain] [--seed N] [--images N]

A model that is trained already is used; training that was stopped is resumed. The new images and
`captions.png`, which shows them with their captions, go into `demo/`.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import captioner
from captioner import atomic, checks
from captioner.cli.parser import Parser
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError
from captioner.programs import program
from training.analysis.image_grid import image_grid
from training.config import Run
from training.data.datasets import drawing, scenes
from training.loop.run_folder import CONFIG, METRICS, MODEL, read_config, read_metrics, settings
from training.recipes import RECIPES
from training.recipes.changes import with_changes
from training.train import train_into

_KINDS = ("one", "several", "two")
_SPLITS = {"test": "combinations seen in training", "test_unseen": "combinations never seen"}
_SIDE = 256  # pixels; the model resizes its input


def trained(run: Run, out: Path, retrain: bool = False) -> dict[str, dict[str, float]]:
    """The metrics of a trained run, which is trained first unless it is there.

    Args:
        run: Run.
        out: path of the run's folder.
        retrain: bool, default False. Delete the run that is there and start over.

    Returns:
        The content of `metrics.json`.

    Raises:
        BundleError: if the folder holds something else.
    """
    config, metrics = out / CONFIG, out / METRICS
    if config.is_file() and not retrain:
        if read_config(out) != settings(run):
            raise BundleError(
                f"{out} was trained with another recipe or another version of it: give --retrain"
            )
        if metrics.is_file() and (out / MODEL).is_dir():
            print(f"{out} is trained already (--retrain starts over)")
            return read_metrics(out)
    return train_into(run, out, overwrite=retrain)


def new_scenes(count: int, seed: int) -> list[scenes.Scene]:
    """Scenes that no split of the dataset holds, of one kind after the other.

    Args:
        count: int.
        seed: int, 1 or more: 0 is the world that the recipe trains and tests on.

    Returns:
        The scenes.

    Example:
        >>> [scene.kind for scene in new_scenes(4, seed=1)]
        ['one', 'several', 'two', 'one']
    """
    new: list[scenes.Scene] = []
    index = 0
    while len(new) < count:
        scene = scenes.make_scene(seed, "test", index)
        if scene.kind == _KINDS[len(new) % len(_KINDS)]:
            new.append(scene)
        index += 1
    return new


def caption_new(model: captioner.Captioner, folder: Path, count: int, seed: int) -> Path:
    """Draws new images, captions them, and writes an image of all.

    Args:
        model: Captioner.
        folder: Path. Where the images go.
        count: int.
        seed: int, see `new_scenes`.

    Returns:
        Path of the image of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = new_scenes(count, seed)
    paths = [folder / f"{number}.png" for number in range(1, count + 1)]
    for path, scene in zip(paths, new, strict=True):
        Image.fromarray(drawing.draw(scene, _SIDE)).save(path)
    texts = []
    for path, scene, caption in zip(paths, new, model.caption_many(paths), strict=True):
        right = caption.caption in scenes.captions(scene)
        verdict = "right" if right else f"wrong; right would be: {scenes.captions(scene)[0]}"
        print(f"  {path}: {caption}  ({verdict})")
        texts.append(caption.text)
    path = folder / "captions.png"
    with atomic.replacing(path, suffix=".png") as aside:
        image_grid([Image.open(path) for path in paths], texts).save(aside, optimize=True)
    return path


def show(metrics: dict[str, dict[str, float]], splits: Sequence[str]) -> None:
    """Prints the metrics of the held-out splits."""
    print(f"\n{'held-out images':<44}{'CIDEr-D':>9}{'exact match':>13}")
    for split in splits:
        name = f"{split}: {_SPLITS.get(split, '')}"
        print(f"{name:<44}{metrics[split]['CIDEr-D']:>9.1f}{metrics[split]['exact match']:>11.1f} %")


def parser() -> Parser:
    """The command line."""
    build = Parser(prog="demo.py", description=(__doc__ or "").split("\n")[0])
    build.add_argument("--retrain", action="store_true", help="start over")
    build.add_argument("--seed", type=int, help="which new images (default: others each time)")
    build.add_argument("--images", type=int, default=3, metavar="N", help="how many (default: %(default)s)")
    build.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                       help="change a key of the recipe, as for train.py")  # fmt: skip
    build.add_argument("--out", type=Path, default=Path("runs/demo"), help="the run (default: %(default)s)")
    build.add_argument("--to", type=Path, default=Path("demo"), help="the images (default: %(default)s)")
    return build


def run(options: argparse.Namespace) -> None:
    """Trains if needed, prints the metrics and captions new images."""
    seed = random.SystemRandom().randrange(1, 10_000) if options.seed is None else options.seed
    checks.integer(seed, "--seed", 1)
    checks.integer(options.images, "--images", 1)
    import_tensorflow("the demo")
    config = with_changes(RECIPES.build("tiny"), options.changes)
    show(trained(config, options.out, options.retrain), config.evaluation.tests)
    print(f"\nnew images (--seed {seed} draws them again):")
    with captioner.load(options.out / MODEL) as model:
        path = caption_new(model, options.to, options.images, seed)
    print(f"\nlook at {path}; the model is {options.out / MODEL}")


main = program(parser, run, "stopped; run the same command again to resume")

if __name__ == "__main__":
    sys.exit(main())
