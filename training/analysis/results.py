"""Writes the table of measured models from their run folders, so that no number is typed by hand.

    python training/analyze.py results runs/flickr8k_lstm runs/flickr8k_topdown --write README.md

Metrics are those of pycocoevalcap where the run has them. Runs that differ in their seed alone share a row: means, with
the standard deviation over seeds. `--write` updates the table between the lines `<!-- results -->` and
`<!-- /results -->` of a file: a row with the same command is replaced, a new one goes to the end, and all others stay,
as the folders of their runs may be gone. `--archive-dir` copies what a row is made of, a few kilobytes a run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import DataError
from captioner.registry import parse_spec
from training.config import as_dict
from training.loop.run_folder import CONFIG, HISTORY, METRICS, read_config, read_metrics
from training.recipes import RECIPES

_COLUMNS = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")
_OPEN, _CLOSE = "<!-- results -->", "<!-- /results -->"

# Where data lies, and what is measured, is not part of what a command trains.
_NOT_IN_COMMAND = (
    "data.source",
    "data.features",
    "data.max_bad",
    "evaluation.tests",
    "evaluation.official",
    "seed",
)


def read(run: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings, all metrics, and the metrics of the first test split of a finished run.

    Raises:
        DataError: if the folder holds no finished run.
    """
    wrong = f"expected {run} to hold a finished run ({CONFIG}, {METRICS}), it does not"
    try:
        config, metrics = read_config(run, "name", "model.decoder", "evaluation.tests"), read_metrics(run)
    except DataError as error:
        raise DataError(f"{wrong}: {error}") from None
    tests = config["evaluation"]["tests"]
    if not tests or not isinstance(metrics.get(tests[0]), dict):
        raise DataError(f"{wrong}: no metrics of its test split")
    return config, metrics, metrics[tests[0]]


def command(config: dict[str, Any]) -> str:
    """The command that trains a run, without its seed: the recipe and the changes to it."""
    recipe = as_dict(RECIPES.build(config["name"])) if config["name"] in RECIPES else {}
    parts = [f"python training/train.py {config['name']}"]
    for section, keys in config.items():
        for key, value in keys.items() if isinstance(keys, dict) else []:
            default = recipe.get(section, {}).get(key, value)
            if _comparable(key, value) == _comparable(key, default):
                continue
            if f"{section}.{key}" not in _NOT_IN_COMMAND:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                quoted = f'"{text}"' if set(text) & set(" ()'") else text
                parts.append(f"--set {section}.{key}={quoted}")
    return " ".join(parts)


def _comparable(key: str, value: Any) -> Any:
    """A setting in a normal form, equal for runs that train the same: each seed has initial weights of its own."""
    from captioner.models.encoders import without_weights

    normal_form: dict[str, Callable[[Any], Any]] = {
        "encoder": without_weights,
        "decoder": parse_spec,
        "init_from": bool,
    }
    return normal_form[key](value) if key in normal_form else value


def row(runs: Sequence[Path]) -> str:
    """One row of the table, of the folders of finished runs that differ in their seed alone.

    Raises:
        DataError: if a folder holds no finished run.
    """
    contents = [read(run) for run in runs]
    config = contents[0][0]
    cells = [f"`{config['name']}`", f"`{config['model']['decoder'].partition('(')[0]}`", str(len(runs))]
    for name in _COLUMNS:
        values = [test.get(f"official {name}", test.get(name)) for _, _, test in contents]
        cells.append(_mean(values))
    unique: list[Any] = [test.get("unique captions") for _, _, test in contents]
    cells.append("-" if None in unique else f"{statistics.mean(unique):.0f} %")
    seconds: list[Any] = [metrics.get("seconds") for _, metrics, _ in contents]
    cells.append("-" if None in seconds else f"{statistics.mean(seconds) / 60:.0f}")
    memory = [metrics["memory"] for _, metrics, _ in contents if metrics.get("memory")]
    cells.append(f"{max(memory) / 1000:.1f}" if len(memory) == len(runs) else "-")
    cells.append(f"`{command(config)}`")
    return f"| {' | '.join(cells)} |"


def _mean(measured: Sequence[float | None]) -> str:
    values = [value for value in measured if value is not None]
    if len(values) < len(measured):
        return "-"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def table(runs: Sequence[Path]) -> str:
    """The table, in Markdown, in the order in which each row's first run is given."""
    seeds_of: dict[str, list[Path]] = {}
    for run in runs:
        seeds_of.setdefault(command(read(run)[0]), []).append(run)
    head = ["recipe", "decoder", "seeds", *_COLUMNS, "unique", "minutes", "GB", "command"]
    words = ("recipe", "decoder", "command")
    rule = "|".join("---" if name in words else "---:" for name in head)
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *map(row, seeds_of.values())])


def merged(old: str, new: str) -> str:
    """A table with the rows of another in place of its own; rows are the same if their last cell is.

    Raises:
        DataError: if the tables have other columns.
    """
    before, after = old.strip().splitlines(), new.splitlines()
    if before and before[:2] != after[:2]:
        raise DataError(
            f"expected a table with the columns {after[0]}, found {before[0]}; delete that one to have it written anew"
        )
    rows = {line.rpartition(" | ")[2]: line for line in [*before[2:], *after[2:]]}
    return "\n".join([*after[:2], *rows.values()])


def write(file: Path, text: str) -> None:
    """Updates the table between the two markers of a file.

    Raises:
        DataError: if the file or its markers are missing, or the table there has other columns.
    """
    try:
        with file.open(encoding="utf-8", newline="") as handle:  # line ends stay as they are
            before, opened, rest = handle.read().partition(_OPEN)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:
        raise DataError(f"expected {file} to be UTF-8 text") from None
    old, closed, after = rest.partition(_CLOSE)
    if not opened or not closed:
        raise DataError(f"expected the lines {_OPEN} and {_CLOSE} in {file}, found neither or one")
    line = "\r\n" if "\r\n" in before else "\n"
    lines = [_OPEN, *merged(old, text).splitlines(), _CLOSE]
    atomic.write_text(file, f"{before}{line.join(lines)}{after}")


def archive(run: Path, folder: Path) -> None:
    """Copies a finished run's settings, metrics and history into a folder in `folder`, which can be read as a run.

    Paths of the data and of the encoder's weights are put back to those of the recipe.

    Raises:
        DataError: if `run` holds no finished run, or another one of this name was archived before.
    """
    config, metrics, _ = read(run)
    if config["name"] in RECIPES:
        recipe = as_dict(RECIPES.build(config["name"]))
        for section, key in (("data", "source"), ("data", "features"), ("model", "encoder")):
            default = recipe[section][key]
            if f"{section}.{key}" in _NOT_IN_COMMAND or _comparable(key, config[section][key]) == _comparable(
                key, default
            ):
                config[section][key] = default
    try:
        history = (run / HISTORY).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from None
    except ValueError:
        raise DataError(f"expected {run / HISTORY} to be UTF-8 text") from None
    texts = {
        CONFIG: json.dumps(config, indent=2) + "\n",
        METRICS: json.dumps(metrics, indent=2) + "\n",
        HISTORY: history,
    }
    place = folder / run.name
    for name, text in texts.items():
        if (place / name).exists() and (place / name).read_text(encoding="utf-8") != text:
            raise DataError(
                f"expected {place} to be free or this run, found another one; move it or rename {run}"
            )
    for name, text in texts.items():
        atomic.write_text(place / name, text)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the table in this file")
    parser.add_argument(
        "--archive-dir", type=Path, metavar="DIR", help="also copy settings and metrics of the runs there"
    )


def run(options: argparse.Namespace) -> None:
    """Prints the table, and writes what is asked for."""
    import_tensorflow("comparing encoders")
    text = table(options.runs)
    if options.archive_dir:
        for folder in options.runs:
            archive(folder, options.archive_dir)
    if options.write:
        write(options.write, text)
    print(text)
