"""Trains a captioning model: `python training/train.py RECIPE --set key=value`."""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioner.cli.parser import Parser
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError, DataError, SpecError
from captioner.metrics.official import ptb_words
from captioner.programs import run_program
from captioner.registry import parse_spec
from training.config import Run, keys, with_changes
from training.loop import lock
from training.loop.run_folder import CONFIG, MODEL, read_config, settings
from training.recipes import RECIPES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    recipes = "\n".join(f"  {name:24} {line}" for name, line in RECIPES.describe().items())
    first = RECIPES.build(RECIPES.names()[0])
    settable = "\n".join(f"  {key}" for key in keys(first))
    build = Parser(
        prog="train.py",
        description="Trains a captioning model and writes it, its figures and its history into a folder.\n"
        "Run the same command again to go on after Ctrl-C or a crash.",
        epilog=f"recipes:\n{recipes}\n\nkeys of --set (see training/config.py):\n{settable}",
    )
    build.add_argument("recipe", help="one of the recipes below, or package.module:function")
    build.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                       help="change one key of the recipe; may be given several times")  # fmt: skip
    build.add_argument("--out", metavar="DIR", help="where the run goes (default runs/RECIPE)")
    build.add_argument("--overwrite", action="store_true", help="delete a run that is in the way")
    return build


def open_run(out: Path, run: Run, overwrite: bool) -> bool:
    """Looks at the run's folder; whether there is something to go on from.

    Raises:
        BundleError: if the folder holds a finished run, another run, or something else.
    """
    if out.exists() and not out.is_dir():
        raise BundleError(f"expected {out} to be a folder, it is a file; give another --out")
    if not out.exists() or all(path.name == lock.NAME for path in out.iterdir()):
        return False
    found = _config(out)
    if found is None:
        raise BundleError(f"expected {out} to be empty or one of our runs, it is neither; give another --out")
    if overwrite:
        return False
    if found != settings(run):
        raise BundleError(
            f"{out} holds a run with other settings (see {out / CONFIG}); give another --out, or --overwrite "
            "to delete it"
        )
    if (out / MODEL).exists():
        raise BundleError(
            f"{out} already holds the finished model of this run; give another --out or --overwrite"
        )
    return True


def _config(out: Path) -> dict | None:
    """What a folder's run.json says, or None where there is none of ours."""
    try:
        return read_config(out, *(each.name for each in fields(Run)))
    except DataError:
        return None


def build(run: Run, out: Path, resume: bool) -> Any:
    """Everything up to the first step: checks, vocabulary, model, features, and the run's folder.

    Args:
        run: Run.
        out: path of the run's folder.
        resume: bool, what `open_run` said. When False, a run that the folder holds is deleted, but not before
            everything that can be checked is.

    Returns:
        `Trainer`, at the beginning.
    """
    import_tensorflow("training")
    import keras

    from captioner.decoding import STRATEGIES, generate
    from captioner.models import DECODERS, ENCODERS, CaptionModel
    from training.data.source import Source
    from training.loop.trainer import Trainer, write_run

    if not run.xe.epochs and not (run.scst.epochs and run.model.start):
        raise SpecError(
            "expected xe.epochs to be 1 or more, got 0: without cross-entropy a run needs scst.epochs, and model.start "
            "to begin from"
        )
    if run.data.augment and not run.model.train_encoder:
        raise SpecError(
            "expected model.train_encoder=true with data.augment=true: kept features cannot change"
        )
    if run.data.views and run.model.train_encoder:
        raise SpecError("expected data.views=0 with model.train_encoder=true: set data.augment=true instead")
    STRATEGIES.build(run.evaluation.strategy)
    for table, spec in ((ENCODERS, run.model.encoder), (DECODERS, run.model.decoder)):
        table[parse_spec(spec).name]
    if run.evaluation.official:
        ptb_words(["a dog"])  # needs what it will need at the end
    if run.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(run.seed)
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if run.xe.mixed_precision else "float32")
    source = Source(run)
    model = CaptionModel(
        run.model.encoder,
        run.model.decoder,
        source.tokenizer,
        run.model.max_length,
        (run.model.image_size, run.model.image_size),
        run.model.train_encoder,
    )
    model.freeze_batch_norm = run.model.keep_statistics
    if run.model.start:
        _begin_with(model, run.model.start)
    if run.xe.teacher:
        from training.loop.distillation import open_teacher

        model.extra_loss = open_teacher(
            run.xe.teacher, model, run.xe.teacher_weight, run.xe.teacher_temperature, _trusted(run)
        )
    # Options that hold words, or do not go together, are told now and not after an epoch.
    blank = keras.ops.zeros((1, model.grid[0] * model.grid[1], model.encoder.channels))
    generate(model, blank, run.evaluation.strategy, model.max_length, model.tokenizer)
    if not resume and _config(out) is not None:
        _clear(out)
    write_run(out, run)
    source.prepare(model)
    return Trainer(run, out, source, model)


def _trusted(run: Run) -> list[str]:
    """Packages whose code the run's own specs name: a model folder that it names may name parts of them too."""
    names = [parse_spec(spec).name for spec in (run.model.encoder, run.model.decoder)]
    return [name.partition(":")[0].partition(".")[0] for name in names if ":" in name]


def _clear(out: Path) -> None:
    """Deletes a run, all but its `run.json`, which is replaced later: half deleted, it is still known as a run."""
    for path in out.iterdir():
        if path.name in (CONFIG, lock.NAME):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _begin_with(model: Any, start: str) -> None:
    """Puts the weights of a model folder into a model.

    Raises:
        BundleError: if it is no whole model folder.
        DataError: if its vocabulary is another one.
        ModelError: if it is another network.
    """
    from captioner.engines.keras import load_weights
    from training.loop.distillation import read_of_vocabulary

    load_weights(model, read_of_vocabulary(start, "model.start=", model.tokenizer))


def train(run: Run, out: Path, resume: bool) -> dict:
    """Runs a recipe to its end, from where it was if it is to be resumed.

    Args:
        run, out, resume: see `build`.

    Returns:
        The figures of `metrics.json`.
    """
    trainer = build(run, out, resume)
    print(_about(trainer), flush=True)
    if resume and trainer.restore():
        state = trainer.state
        print(f"going on at epoch {state['epoch'] + 1}, step {state['step']}", flush=True)
    try:
        return trainer.fit()
    except (KeyboardInterrupt, BrokenPipeError) as stop:
        # Asked twice in the middle of a step, it is half done: then the last checkpoint counts.
        if not getattr(stop, "at_once", False):
            trainer.save()
        raise


def train_into(run: Run, out: Path, overwrite: bool = False) -> dict:
    """Trains into a folder, or goes on there; no other training can write to it meanwhile.

    Args:
        run: Run.
        out: path of the run's folder.
        overwrite: bool, default False. Delete a run that is there and start over.

    Returns:
        The figures of `metrics.json`.

    Raises:
        BundleError: see `open_run`.
        DataError: if another training is writing to the folder.
    """
    open_run(out, run, overwrite)  # refuses before anything is touched
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {out}: {error.strerror or error}") from None
    try:
        with lock.alone(out, "another training", "give another --out"):
            return train(run, out, open_run(out, run, overwrite))
    finally:
        with suppress(OSError):  # a run that could not start leaves no folder
            for folder in made:
                folder.rmdir()


def _about(trainer: Any) -> str:
    source, model = trainer.source, trainer.model
    batches = trainer.phase.batches
    full = f", batches {batches.fill:.0%} full" if hasattr(batches, "fill") else ""
    weights = sum(v.shape.num_elements() for v in model.trainable_variables)
    return (
        f"{trainer.run.name}: {len(source.training_captions):,} captions of {len(source.examples('train')):,} "
        f"images, vocabulary {len(source.tokenizer):,}, {weights:,} weights to train{full}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_program(
        "train.py", lambda: _main(arguments), "stopped; run the same command again to go on from here"
    )


def _main(arguments: list[str] | None) -> None:
    given = parser().parse_args(arguments)
    recipe = RECIPES.build(given.recipe)
    if not isinstance(recipe, Run):
        raise SpecError(f"expected a recipe that returns a Run, {given.recipe} gives {type(recipe).__name__}")
    run = with_changes(recipe, given.changes)
    out = Path(given.out or Path("runs") / run.name)
    metrics = train_into(run, out, given.overwrite)
    for split in run.evaluation.tests:
        figures = ", ".join(f"{name} {value:.1f}" for name, value in metrics[split].items())
        print(f"{split}: {figures}")
    print(f"model: {out / 'model'}")


if __name__ == "__main__":
    sys.exit(main())
