"""Lists the models here and the parts to build one from, each with its line of documentation."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from captioner import bundle
from captioner.engines import ENGINES, import_tensorflow
from captioner.errors import BundleError
from captioner.metrics import METRICS
from captioner.registry import Table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--folder", default="saved_models", help="where model folders are looked for (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the models and the tables."""
    found = bundle.find(options.folder)
    _print(f"models in {options.folder}", {str(path): _summary(path) for path in found} or {"none": ""})
    for heading, table in _tables().items():
        _print(heading, table.describe())
    return 0


def _tables() -> dict[str, Table]:
    import_tensorflow("listing the parts of models")
    from captioner.decoding import RULES, STRATEGIES
    from captioner.exporting import TARGETS
    from captioner.models import ATTENTIONS, CELLS, DECODERS, ENCODERS

    return {
        "encoders": ENCODERS,
        "decoders": DECODERS,
        "cells (option cell of decoders)": CELLS,
        "attentions (option attention of decoders)": ATTENTIONS,
        "strategies": STRATEGIES,
        "rules (options of every strategy)": RULES,
        "metrics": METRICS,
        "engines": ENGINES,
        "export targets": TARGETS,
    }


def _summary(folder: Path) -> str:
    try:
        found = bundle.read(folder)
    except BundleError as error:
        return f"cannot be used: {error}"
    scores = [f"{name} {value:.1f}" for name, value in found.metrics.items() if name in ("CIDEr-D", "BLEU-4")]
    return ", ".join([f"{found.config.get('encoder')} + {found.config.get('decoder')}", *scores])


def _print(heading: str, lines: Mapping[str, str]) -> None:
    width = max(map(len, lines))
    print(f"{heading}:")
    for name, line in lines.items():
        print(f"  {name:<{width}}  {line}".rstrip())
    print()
