"""Lists model folders, and the available parts of models, each with one line of documentation."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from captioner import bundle
from captioner.api import DEFAULT_MODEL, located
from captioner.cli.show import metric_columns
from captioner.engines import ENGINES, import_tensorflow
from captioner.errors import BundleError
from captioner.metrics import METRICS
from captioner.registry import Table

_FOLDER = str(Path(DEFAULT_MODEL).parent)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--folder",
        default=_FOLDER,
        help="folder of model folders (default: %(default)s here, and that of the default model)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the models and the tables."""
    folders = [Path(options.folder)]
    default_folder = Path(located(DEFAULT_MODEL)).parent
    if options.folder == _FOLDER and default_folder.resolve() != folders[0].resolve():
        folders.append(default_folder)
    for folder in folders:
        models = {str(path): _summary(path) for path in bundle.find(folder)}
        # Absolute paths, as a relative one depends on the working directory.
        reason = (
            f"{folder.absolute()} holds no model folder"
            if folder.is_dir()
            else f"no folder {folder.absolute()}"
        )
        _print(f"models in {folder}", models or {"none": f"{reason}; --folder DIR looks elsewhere"})
    for heading, table in _tables().items():
        _print(heading, table.describe())
    return 0


def _tables() -> dict[str, Table]:
    import_tensorflow("listing the parts of models")
    from captioner.decoding import RULES, STRATEGIES
    from captioner.exporting import TARGETS
    from captioner.models import ATTENTIONS, CELLS, DECODERS, ENCODERS
    from captioner.rerank import RERANKERS

    return {
        "encoders": ENCODERS,
        "decoders": DECODERS,
        "cells (option cell of decoders)": CELLS,
        "attentions (option attention of decoders)": ATTENTIONS,
        "strategies": STRATEGIES,
        "rules (options of every strategy)": RULES,
        "rerankers (option rerank of strategies)": RERANKERS,
        "metrics": METRICS,
        "engines": ENGINES,
        "export targets": TARGETS,
    }


def _summary(folder: Path) -> str:
    try:
        model = bundle.read(folder)
    except BundleError as error:
        return f"cannot be used: {error}"
    sets = metric_columns(model.metrics)
    # Scores on the test split, if there are any.
    name = next((name for name in sets if name.startswith("test")), next(iter(sets), ""))
    values = sets.get(name, {})
    scores = [
        f"{key} {values[key]:.2f}" for key in ("CIDEr-D", "BLEU-4") if isinstance(values.get(key), float)
    ]
    return ", ".join([f"{model.config.get('encoder')} + {model.config.get('decoder')}", *scores])


def _print(heading: str, lines: Mapping[str, str]) -> None:
    width = max(map(len, lines))
    print(f"{heading}:")
    for name, line in lines.items():
        print(f"  {name:<{width}}  {line}".rstrip())
    print()
