"""Adapts a model to images and captions of one's own, from a folder to a finished model folder: `captioner adapt`.

    captioner adapt photos

The folder holds images and their captions, in any format that is recognised (`auto` in training/README.md), such as
captions.csv with the columns image and caption. Training begins with the default model: its encoder stays as it is,
its decoder learns the new captions, and its vocabulary grows by their words. Batches, epochs, augmentations and the
images to validate on follow from the number of images and captions; the plan is printed first. Run the same command
again to resume after Ctrl-C or a crash.
"""

from __future__ import annotations

import argparse
import glob
import shlex
import sys
from pathlib import Path

from captioner.api import DEFAULT_MODEL
from captioner.cli.parser import Parser
from captioner.errors import DataError
from captioner.programs import program
from captioner.registry import Spec
from training.config import Run, as_dict
from training.loop.run_folder import MODEL
from training.loop.selection.choosing import metric_text
from training.loop.setup.plan import settled
from training.recipes import RECIPES
from training.train import train_into

# Settings that follow from the data, the recipe and the initial model.
_OPEN = ("data.hold_out", "data.min_count", "data.cached_augmentations", "data.repeats", "model.decoder",
         "model.max_length", "xe.batch_images", "xe.epochs", "xe.learning_rate")  # fmt: skip


def parser() -> Parser:
    """The command line."""
    build = Parser(prog="adapt.py", description=__doc__)
    arguments(build)
    return build


def arguments(build: argparse.ArgumentParser) -> None:
    """Declares the options, for this program and for `captioner adapt`."""
    build.add_argument(
        "photos", metavar="PHOTOS", help="folder of images and captions, or a captions file in it"
    )
    build.add_argument(
        "--captions", metavar="FILE", help="file of captions (default: recognised from the folder)"
    )
    build.add_argument("--model", default=DEFAULT_MODEL, metavar="FOLDER",
                       help="model folder to begin with (default: the default model)")  # fmt: skip
    build.add_argument(
        "--scratch", action="store_true", help="begin with its encoder alone, and a fresh decoder"
    )
    build.add_argument(
        "--out", metavar="DIR", help="folder of the run; the model is in DIR/model (default runs/NAME)"
    )
    build.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                       help="change one setting, see `training/train.py --help`; may be repeated")  # fmt: skip
    build.add_argument(
        "--plan", action="store_true", help="print the settings that follow from the data, and stop"
    )
    build.add_argument("--overwrite", action="store_true", help="delete a run that is in the folder")


def run(options: argparse.Namespace) -> None:
    """Adapts the model and prints what it scores and where it is."""
    photos = Path(options.photos).expanduser()
    if not photos.exists() and not glob.has_magic(str(photos)):
        raise DataError(f"expected a folder of images and captions, there is no {photos}")
    source = Spec("auto", {"path": str(photos), **({"captions": options.captions} if options.captions else {}),
                           "validation": 0, "test": 0})  # fmt: skip
    changes = [f"data.source={source}", f"model.init_from={options.model}", *options.changes]
    config, dataset = settled(RECIPES.build("scratch" if options.scratch else "own"), changes)
    if options.plan:
        print("\n".join(settings_of(config)))
        return
    folder = photos if photos.is_dir() else photos.parent
    name = folder.resolve().name or "photos"
    out = Path(options.out or Path("runs") / f"{name}{'-scratch' if options.scratch else ''}")
    metrics = train_into(config, out, options.overwrite, dataset)
    for split in ("validation", *config.evaluation.tests):
        values = ", ".join(metric_text(metric, value) for metric, value in metrics[split].items())
        print(f"{split}: {values}")
    command = shlex.join(["captioner", "caption", str(folder), "--model", str(out / MODEL)])
    print(f"model: {out / MODEL}; try it: {command}")


def settings_of(config: Run) -> list[str]:
    """The settings that follow from the data, one a line, as `--set` takes them."""
    values = as_dict(config)
    return [f"{part}.{name}={values[part][name]}" for part, name in (key.split(".") for key in _OPEN)]


main = program(parser, run, "stopped; run the same command again to resume")

if __name__ == "__main__":
    sys.exit(main())
