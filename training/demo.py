"""Trains the recipe `tiny` on drawn images, says how good it is, and captions new images: `make learn`.

    python training/demo.py [--retrain] [--seed N] [--images N]

A model that is trained already is used as it is; training that was stopped goes on. The new images and
`captions.png`, which shows them with their captions, go into `demo/`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

import captioner
from captioner import atomic, checks
from captioner.cli.parser import Parser
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError
from captioner.programs import run_program
from training.analysis.image_grid import sheet
from training.config import Run, with_changes
from training.data.datasets import drawing, scenes
from training.loop.run_folder import CONFIG, METRICS, MODEL, read_config, read_metrics, settings
from training.recipes import RECIPES
from training.train import train_into

_KINDS = ("one", "several", "two")
_SPLITS = {"test": "combinations seen in training", "test_unseen": "combinations never seen"}
_DRAWN = 256  # pixels; the model resizes what it is given


def trained(run: Run, out: Path, retrain: bool = False) -> dict[str, dict[str, float]]:
    """The figures of a trained run, which is trained first unless it is there.

    Args:
        run: Run.
        out: path of the run's folder.
        retrain: bool, default False. Delete what is there and start over.

    Returns:
        The figures of `metrics.json`.

    Raises:
        BundleError: if the folder holds something else.
    """
    config, figures = out / CONFIG, out / METRICS
    if config.is_file() and not retrain:
        if read_config(out) != settings(run):
            raise BundleError(
                f"{out} was trained with another recipe or another version of it: say --retrain"
            )
        if figures.is_file() and (out / MODEL).is_dir():
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
    found: list[scenes.Scene] = []
    index = 0
    while len(found) < count:
        scene = scenes.make_scene(seed, "test", index)
        if scene.kind == _KINDS[len(found) % len(_KINDS)]:
            found.append(scene)
        index += 1
    return found


def caption_new(model: captioner.Captioner, folder: Path, count: int, seed: int) -> Path:
    """Draws new images, captions them, and writes the sheet.

    Args:
        model: Captioner.
        folder: path. Where images and sheet go.
        count: int.
        seed: int, see `new_scenes`.

    Returns:
        Path of the sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = new_scenes(count, seed)
    paths = [folder / f"{number}.png" for number in range(1, count + 1)]
    for path, scene in zip(paths, drawn, strict=True):
        Image.fromarray(drawing.draw(scene, _DRAWN)).save(path)
    texts = []
    for path, scene, caption in zip(paths, drawn, model.caption_many(paths), strict=True):
        right = caption.text in scenes.captions(scene)
        verdict = "right" if right else f"wrong; right would be: {scenes.captions(scene)[0]}"
        print(f"  {path}: {caption}  ({verdict})")
        texts.append(caption.text)
    place = folder / "captions.png"
    with atomic.replacing(place, suffix=".png") as aside:
        sheet([Image.open(path) for path in paths], texts).save(aside, optimize=True)
    return place


def show(figures: dict[str, dict[str, float]], splits: Sequence[str]) -> None:
    """Prints the held-out figures."""
    print(f"\n{'held-out images':<44}{'CIDEr-D':>9}{'exact match':>13}")
    for split in splits:
        name = f"{split}: {_SPLITS.get(split, '')}"
        print(f"{name:<44}{figures[split]['CIDEr-D']:>9.1f}{figures[split]['exact match']:>11.1f} %")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = Parser(prog="demo.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--retrain", action="store_true", help="start over")
    parser.add_argument("--seed", type=int, help="which new images (default: others each time)")
    parser.add_argument("--images", type=int, default=3, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                        help="change a key of the recipe, as for train.py")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="the run (default: %(default)s)")
    parser.add_argument("--to", type=Path, default=Path("demo"), help="the images (default: %(default)s)")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1, 10_000) if given.seed is None else given.seed

    def work() -> None:
        checks.integer(seed, "--seed", 1)
        checks.integer(given.images, "--images", 1)
        import_tensorflow("the demo")
        run = with_changes(RECIPES.build("tiny"), given.changes)
        show(trained(run, given.out, given.retrain), run.evaluation.tests)
        print(f"\nnew images (--seed {seed} draws them again):")
        with captioner.load(given.out / MODEL) as model:
            place = caption_new(model, given.to, given.images, seed)
        print(f"\nlook at {place}; the model is {given.out / MODEL}")

    return run_program("demo.py", work, "stopped; run the same command again to go on from here")


if __name__ == "__main__":
    sys.exit(main())
