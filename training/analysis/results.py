"""Writes the table of measured models from the runs themselves, so that no figure is typed by hand.

    python training/analysis/results.py runs/flickr8k_lstm runs/flickr8k_topdown --write README.md

Figures are those of pycocoevalcap where the run has them. Runs that differ in their seed alone share a row: means, with
the standard deviation from seed to seed. `--write` brings the table between the lines `<!-- results -->` and
`<!-- /results -->` of a file up to date: a row with the same command is replaced, a new one goes to the end, and all
others stay, as the folders of their runs may be gone. `--keep` puts aside what a row is made of, a few kilobytes a run.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from captioner import atomic
from captioner.cli.parser import Parser
from captioner.errors import DataError
from captioner.programs import run_program
from captioner.registry import parse_spec
from training.config import as_dict
from training.loop.run_folder import CONFIG, HISTORY, METRICS, read_config, read_metrics
from training.recipes import RECIPES

_COLUMNS = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")
_OPEN, _CLOSE = "<!-- results -->", "<!-- /results -->"


# Where data lies, and what is measured, are no part of what a command trains.
_ASIDE = ("data.source", "data.features", "data.max_bad", "evaluation.tests", "evaluation.official", "seed")


def read(run: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings, metrics and the figures of the first test split of a finished run's folder.

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
        raise DataError(f"{wrong}: no figures of its test split")
    return config, metrics, metrics[tests[0]]


def command(config: dict[str, Any]) -> str:
    """What trains a run, but for its seed: the recipe and what was set otherwise."""
    recipe = as_dict(RECIPES.build(config["name"])) if config["name"] in RECIPES else {}
    parts = [f"python training/train.py {config['name']}"]
    for section, keys in config.items():
        for key, value in keys.items() if isinstance(keys, dict) else []:
            usual = recipe.get(section, {}).get(key, value)
            same = _compared(key, value) == _compared(key, usual)
            if not same and f"{section}.{key}" not in _ASIDE:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                quoted = f'"{text}"' if set(text) & set(" ()'") else text
                parts.append(f"--set {section}.{key}={quoted}")
    return " ".join(parts)


def _compared(key: str, value: Any) -> Any:
    """What of a setting two runs have in common that train the same: each seed begins with a model of its own."""
    from captioner.models.encoders import without_weights

    alike: dict[str, Callable[[Any], Any]] = {
        "encoder": without_weights,
        "decoder": parse_spec,
        "start": bool,
    }
    return alike[key](value) if key in alike else value


def row(runs: Sequence[Path]) -> str:
    """One row of the table, of the folders of finished runs that differ in their seed alone.

    Raises:
        DataError: if a folder holds no finished run.
    """
    found = [read(run) for run in runs]
    config = found[0][0]
    cells = [f"`{config['name']}`", f"`{config['model']['decoder'].partition('(')[0]}`", str(len(runs))]
    for name in _COLUMNS:
        values = [figures.get(f"official {name}", figures.get(name)) for _, _, figures in found]
        cells.append(_mean(values))
    unique: list[Any] = [figures.get("unique captions") for _, _, figures in found]
    cells.append("-" if None in unique else f"{statistics.mean(unique):.0f} %")
    seconds: list[Any] = [metrics.get("seconds") for _, metrics, _ in found]
    cells.append("-" if None in seconds else f"{statistics.mean(seconds) / 60:.0f}")
    known = [metrics["memory"] for _, metrics, _ in found if metrics.get("memory")]
    cells.append(f"{max(known) / 1000:.1f}" if len(known) == len(runs) else "-")
    cells.append(f"`{command(config)}`")
    return f"| {' | '.join(cells)} |"


def _mean(found: Sequence[float | None]) -> str:
    values = [value for value in found if value is not None]
    if len(values) < len(found):
        return "-"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def table(runs: Sequence[Path]) -> str:
    """The table, in Markdown, in the order in which each row's first run is given."""
    alike: dict[str, list[Path]] = {}
    for run in runs:
        alike.setdefault(command(read(run)[0]), []).append(run)
    head = ["recipe", "decoder", "seeds", *_COLUMNS, "unique", "minutes", "GB", "command"]
    words = ("recipe", "decoder", "command")
    rule = "|".join("---" if name in words else "---:" for name in head)
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(row(each) for each in alike.values())])


def merged(old: str, new: str) -> str:
    """The rows of one table brought up to date by those of another; the last cell of a row says which is which.

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
    """Brings the table between the two markers of a file up to date.

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


def keep(run: Path, folder: Path) -> None:
    """Copies a finished run's settings, figures and history into a folder in `folder`, to be read as a run again.

    Where the data and the encoder's weights lay is put back to what the recipe says.

    Raises:
        DataError: if `run` holds no finished run, or another one of this name was kept before.
    """
    config, metrics, _ = read(run)
    if config["name"] in RECIPES:
        recipe = as_dict(RECIPES.build(config["name"]))
        for section, key in (("data", "source"), ("data", "features"), ("model", "encoder")):
            usual = recipe[section][key]
            if f"{section}.{key}" in _ASIDE or _compared(key, config[section][key]) == _compared(key, usual):
                config[section][key] = usual
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


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = Parser(prog="results.py", description="Table of measured models, from their runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="bring the table in this file up to date")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="also copy settings and figures of the runs here"
    )

    def work() -> None:
        given = parser.parse_args(arguments)
        text = table(given.runs)
        for run in given.runs if given.keep else []:
            keep(run, given.keep)
        if given.write:
            write(given.write, text)
        print(text)

    return run_program("results.py", work)


if __name__ == "__main__":
    sys.exit(main())
