"""Trains a captioning model: `python training/train.py RECIPE --set key=value`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from captioner.errors import BundleError, CaptionerError
from training.config import Run, as_dict, keys, with_changes
from training.recipes import RECIPES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    recipes = "\n".join(f"  {name:24} {line}" for name, line in RECIPES.describe().items())
    first = RECIPES.build(RECIPES.names()[0])
    settable = "\n".join(f"  {key}" for key in keys(first))
    build = argparse.ArgumentParser(
        prog="train.py",
        description="Trains a captioning model and writes it, its figures and its history into a folder.\n"
        "Run the same command again to go on after Ctrl-C or a crash.",
        epilog=f"recipes:\n{recipes}\n\nkeys of --set (see training/config.py):\n{settable}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    build.add_argument("recipe", help="one of the recipes below, or package.module:function")
    build.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                       help="change one key of the recipe; may be given several times")  # fmt: skip
    build.add_argument("--out", metavar="DIR", help="where the run goes (default runs/RECIPE)")
    build.add_argument("--overwrite", action="store_true", help="delete a run that is in the way")
    return build


def open_run(out: Path, run: Run, overwrite: bool) -> bool:
    """Makes or finds the run's folder; whether there is something to go on from.

    Raises:
        BundleError: if the folder holds a finished run, another run, or something else.
    """
    config = out / "run.json"
    if out.exists() and overwrite and config.is_file():
        shutil.rmtree(out)
    if not out.exists() or not any(out.iterdir()):
        return False
    if not config.is_file():
        raise BundleError(f"expected {out} to be empty or one of our runs, it is neither; give another --out")
    same = json.loads(config.read_text()) == json.loads(json.dumps(as_dict(run)))
    if (out / "model").exists() and same:
        raise BundleError(
            f"{out} already holds the finished model of this run; give another --out or --overwrite"
        )
    if not same:
        raise BundleError(
            f"{out} holds a run with other settings (see {config}); give another --out, or --overwrite to delete it"
        )
    return True


def train(run: Run, out: Path, resume: bool) -> dict:
    """Runs a recipe to its end and returns its figures."""
    import keras

    from captioner.models import CaptionModel
    from training.sources import Source
    from training.trainer import Trainer, write_run

    if run.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(run.seed)
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if run.xe.mixed_precision else "float32")
    source = Source(run)
    size = (run.model.image_size, run.model.image_size)
    model = CaptionModel(
        run.model.encoder,
        run.model.decoder,
        source.tokenizer,
        run.model.max_length,
        size,
        run.model.train_encoder,
    )
    write_run(out, run)
    source.prepare(model)
    trainer = Trainer(run, out, source, model)
    batches = trainer.batches
    print(
        f"{run.name}: {len(source.training_captions):,} captions of {len(source.examples('train')):,} pictures, "
        f"vocabulary {len(source.tokenizer):,}, {sum(v.shape.num_elements() for v in model.trainable_variables):,} "
        f"weights to train, batches {batches.fill:.0%} full",
        flush=True,
    )
    if resume and trainer.restore():
        state = trainer.state
        print(f"going on at epoch {state['epoch'] + 1}, step {state['step']}", flush=True)
    try:
        return trainer.fit()
    except KeyboardInterrupt:
        trainer.save()
        raise


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        run = with_changes(RECIPES.build(given.recipe), given.changes)
        out = Path(given.out or Path("runs") / run.name)
        metrics = train(run, out, open_run(out, run, given.overwrite))
    except CaptionerError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ntrain.py: stopped; run the same command again to go on from here", file=sys.stderr)
        return 130
    for split in run.evaluation.tests:
        figures = ", ".join(f"{name} {value:.1f}" for name, value in metrics[split].items())
        print(f"{split}: {figures}")
    print(f"model: {out / 'model'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
