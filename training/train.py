"""Trains a captioning model: `python training/train.py RECIPE --set key=value`."""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from captioner.cli.parser import Parser
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError, DataError, SpecError
from captioner.metrics.official import ptb_words
from captioner.programs import program
from captioner.registry import parse_spec
from training.config import Run
from training.loop import lock
from training.loop.run_folder import CONFIG, MODEL, has_settings, read_config
from training.loop.selection.choosing import metric_text
from training.loop.setup.plan import settled
from training.recipes import RECIPES
from training.recipes.changes import keys

# What the first version of a run.json holds.
_FIRST_SETTINGS = ("name", "data", "model", "xe", "scst", "evaluation", "seed")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    recipes = "\n".join(f"  {name:24} {line}" for name, line in RECIPES.describe().items())
    first = RECIPES.build(RECIPES.names()[0])
    key_lines = "\n".join(f"  {key}" for key in keys(first))
    build = Parser(
        prog="train.py",
        description="Trains a captioning model and writes it, its metrics and its history into a folder.\n"
        "Run the same command again to resume after Ctrl-C or a crash.",
        epilog=f"recipes:\n{recipes}\n\nkeys of --set (see training/README.md):\n{key_lines}",
    )
    build.add_argument("recipe", help="one of the recipes below, or package.module:function")
    build.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                       help="change one key of the recipe; may be given several times")  # fmt: skip
    build.add_argument("--out", metavar="DIR", help="folder of the run (default runs/RECIPE)")
    build.add_argument("--overwrite", action="store_true", help="delete a run that is in the folder")
    return build


def open_run(out: Path, run: Run, overwrite: bool) -> bool:
    """Checks the run's folder; returns whether there is a run to resume.

    Raises:
        BundleError: if the folder holds a finished run, another run, or something else.
    """
    if out.exists() and not out.is_dir():
        raise BundleError(f"expected {out} to be a folder, got a file; give another --out")
    if not out.exists() or all(path.name == lock.NAME for path in out.iterdir()):
        return False
    config = _config(out)
    if config is None:
        raise BundleError(f"expected {out} to be empty or one of our runs, it is neither; give another --out")
    if overwrite:
        return False
    if not has_settings(config, run):
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
    """The settings in a folder's run.json, or None if it has none."""
    try:
        return read_config(out, *_FIRST_SETTINGS)
    except DataError:
        return None


def build(run: Run, out: Path, resume: bool, dataset: Any = None) -> Any:
    """Does everything before the first step: checks, vocabulary, model, features, and the run's folder.

    Args:
        run: Run.
        out: path of the run's folder.
        resume: bool, what `open_run` returned. If False, a run in the folder is deleted, after all checks.
        dataset: Dataset, default None, which is that of `data.source`.

    Returns:
        `Trainer` before its first step.
    """
    import_tensorflow("training")
    import keras

    from captioner.decoding import generate
    from captioner.models import CaptionModel
    from training.data.source import Source
    from training.loop.setup.plan import check_distinct, describe
    from training.loop.setup.warm_start import load_initial_weights
    from training.loop.trainer import Trainer, write_run

    _check(run)
    if run.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(run.seed)
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if run.xe.mixed_precision else "float32")
    source = Source(run, dataset)
    model = CaptionModel(
        run.model.encoder,
        run.model.decoder,
        source.tokenizer,
        run.model.max_length,
        (run.model.image_size, run.model.image_size),
        run.model.train_encoder,
    )
    model.language = source.language
    model.freeze_batch_norm = run.model.freeze_batch_norm
    if run.model.init_from:
        part, new_words = run.model.init_parts, run.model.new_words
        load_initial_weights(model, run.model.init_from, part, new_words, _trusted(run))
    if run.xe.distillation_teacher:
        from training.loop.distillation import open_teacher

        settings = run.xe.distillation_weight, run.xe.distillation_temperature
        model.extra_loss = open_teacher(run.xe.distillation_teacher, model, *settings, _trusted(run))
    # Finds now, not after an epoch, options with unknown words or that do not go together.
    blank = keras.ops.zeros((1, model.grid[0] * model.grid[1], model.encoder.channels))
    generate(model, blank, run.evaluation.strategy, model.max_length, model.tokenizer)
    if run.sized_by_data:
        print("\n".join(describe(run, source, model)), flush=True)
    source.prepare(model)
    if run.sized_by_data and source.key == "features":
        check_distinct(source)
    if not resume and _config(out) is not None:
        _clear(out)
    write_run(out, run)
    return Trainer(run, out, source, model)


def _check(run: Run) -> None:
    """Raises an error for settings that cannot be trained, before any work."""
    from captioner.decoding import STRATEGIES
    from captioner.models import DECODERS, ENCODERS

    if not run.xe.epochs and not (run.scst.epochs and run.model.init_from):
        raise SpecError(
            "expected xe.epochs to be 1 or more, got 0: without cross-entropy a run needs scst.epochs, and "
            "model.init_from to begin from"
        )
    if run.xe.text and not run.xe.epochs:
        raise SpecError(
            "expected xe.epochs to be 1 or more with xe.text, got 0: a decoder that has only seen text knows no image"
        )
    if run.data.augment and not run.model.train_encoder:
        raise SpecError(
            "expected model.train_encoder=true with data.augment=true: cached features cannot change"
        )
    if run.data.cached_augmentations and run.model.train_encoder:
        raise SpecError(
            "expected data.cached_augmentations=0 with model.train_encoder=true: set data.augment=true instead"
        )
    for strategy in filter(None, (run.evaluation.strategy, run.evaluation.final_strategy)):
        reranker = STRATEGIES.build(strategy).reranker
        if run.model.train_encoder and getattr(reranker, "parameters", None):
            raise SpecError(
                f"expected model.train_encoder=false with {strategy}: its parameters are fitted on cached features"
            )
    for table, spec in ((ENCODERS, run.model.encoder), (DECODERS, run.model.decoder)):
        table[parse_spec(spec).name]
    if run.evaluation.official:
        ptb_words(["a dog"])  # needs Java, as the end of the run will


def _trusted(run: Run) -> list[str]:
    """Packages that the run's own specs name: model folders that it loads may use them too."""
    names = [parse_spec(spec).name for spec in (run.model.encoder, run.model.decoder)]
    return [name.partition(":")[0].partition(".")[0] for name in names if ":" in name]


def _clear(out: Path) -> None:
    """Deletes a run but for its `run.json`, which is replaced later: a folder that is half deleted is still a run."""
    for path in out.iterdir():
        if path.name in (CONFIG, lock.NAME):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def train(run: Run, out: Path, resume: bool, dataset: Any = None) -> dict:
    """Trains a run to its end, resumed or from the beginning.

    Args:
        run, out, resume, dataset: see `build`.

    Returns:
        The content of `metrics.json`.
    """
    trainer = build(run, out, resume, dataset)
    print(_summary(trainer), flush=True)
    if resume and trainer.restore():
        state = trainer.state
        print(f"resuming at epoch {state['epoch'] + 1}, step {state['step']}", flush=True)
    try:
        return trainer.fit()
    except (KeyboardInterrupt, BrokenPipeError) as stop:
        # After a second signal the step may be half done: then the last checkpoint counts.
        if not getattr(stop, "at_once", False):
            trainer.save()
        raise


def train_into(run: Run, out: Path, overwrite: bool = False, dataset: Any = None) -> dict:
    """Trains into a folder or resumes the run there; no other training can write to it meanwhile.

    Args:
        run: Run.
        out: path of the run's folder.
        overwrite: bool, default False. Delete the run that is there and start over.
        dataset: see `build`.

    Returns:
        The content of `metrics.json`.

    Raises:
        BundleError: see `open_run`.
        DataError: if another training is writing to the folder.
    """
    open_run(out, run, overwrite)  # raises before anything is changed
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {out}: {error.strerror or error}") from None
    try:
        with lock.exclusive(out, "another training", "give another --out"):
            return train(run, out, open_run(out, run, overwrite), dataset)
    finally:
        with suppress(OSError):  # a run that could not start leaves no folder
            for folder in created:
                folder.rmdir()


def _summary(trainer: Any) -> str:
    source, model = trainer.source, trainer.model
    batches = trainer.stage.batches
    full = f", batches {batches.fill:.0%} full" if hasattr(batches, "fill") else ""
    weights = sum(v.shape.num_elements() for v in model.trainable_variables)
    return (
        f"{trainer.run.name}: {len(source.training_captions):,} captions ({source.language}) of "
        f"{len(source.examples('train')):,} images, vocabulary {len(source.tokenizer):,}, "
        f"{weights:,} weights to train{full}"
    )


def run(options: argparse.Namespace) -> None:
    """Trains the recipe and prints the metrics of the test splits."""
    recipe = RECIPES.build(options.recipe)
    if not isinstance(recipe, Run):
        raise SpecError(
            f"expected a recipe that returns a Run, {options.recipe} gives {type(recipe).__name__}"
        )
    config, dataset = settled(recipe, options.changes)
    out = Path(options.out or Path("runs") / config.name)
    metrics = train_into(config, out, options.overwrite, dataset)
    for split in config.evaluation.tests:
        values = ", ".join(metric_text(name, value) for name, value in metrics[split].items())
        print(f"{split}: {values}")
    print(f"model: {out / 'model'}")


main = program(parser, run, "stopped; run the same command again to resume")

if __name__ == "__main__":
    sys.exit(main())
