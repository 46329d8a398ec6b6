"""The files of a run's folder: their names, and how they are read, strictly, as anybody may have written them."""

from __future__ import annotations

import csv
import io
import json
import math
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from captioner import atomic, format1, metadata
from captioner.errors import DataError, SpecError
from training.config import Run, as_dict

CONFIG, METRICS, MODEL = "run.json", "metrics.json", "model"
HISTORY, GRADIENTS = "history.csv", "gradients.csv"  # tables, a row an epoch or more


def read_config(run: Path, *needed: str) -> dict[str, Any]:
    """The settings of a run, as its `run.json` says; texts in them are a stranger's, see `table_specs_only`.

    Args:
        run: Path of the run's folder.
        *needed: names such as "model.encoder", default none. Settings that must be there.

    Returns:
        dict, such as `training.config.as_dict` makes. Other versions know more settings or fewer, but what is there is
        of the type that this version has.

    Raises:
        DataError: if the file is missing or none of ours.
    """
    config = metadata.load(run / CONFIG, DataError)
    if isinstance(config.get("model"), dict):
        with suppress(SpecError):  # whoever builds it says what is wrong with it
            config["model"] = format1.model_config(config["model"])
    wrong = _misfit(config, Run, "")
    for name in () if wrong else needed:
        part: Any = config
        for key in name.split("."):
            part = part.get(key) if isinstance(part, dict) else None
        if part is None:
            wrong = f"it lacks {name}"
    if wrong:
        raise DataError(f"expected the settings of a run in {run / CONFIG}, {wrong}")
    return config


def _misfit(part: dict[str, Any], kind: Any, prefix: str) -> str | None:
    """What is wrong with one part of a config, or None."""
    for name, wanted in typing.get_type_hints(kind).items():
        if name not in part:
            continue
        value = part[name]
        if is_dataclass(wanted):
            good = isinstance(value, dict)
        elif wanted is float:
            good = isinstance(value, int | float) and not isinstance(value, bool)
        elif wanted in (str, bool, int):
            good = type(value) is wanted
        else:  # names of splits
            good = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if not good:
            return f"{prefix}{name} is {_short(value)}"
        wrong = _misfit(value, wanted, f"{prefix}{name}.") if is_dataclass(wanted) else None
        if wrong:
            return wrong
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def read_metrics(run: Path) -> dict[str, Any]:
    """What a finished run scored, as its `metrics.json` says.

    Args:
        run: Path of the run's folder.

    Returns:
        dict of split to dict of figure to number, or None for a figure that was none; and of "epoch", "seconds" and
        "memory" to a number.

    Raises:
        DataError: if the file is missing or holds anything else.
    """
    metrics = metadata.load(run / METRICS, DataError)
    for name, value in metrics.items():
        numbers = value.values() if isinstance(value, dict) else [value]
        if not all(each is None or type(each) in (int, float) for each in numbers):
            raise DataError(f"expected figures in {run / METRICS}, {name} is {_short(value)}")
    return metrics


def read_epochs(path: Path, *columns: str) -> list[dict[str, Any]]:
    """The rows of a table with the column epoch, such as `history.csv`.

    Args:
        path: Path.
        *columns: names, default none. Further columns that every row must have.

    Returns:
        list of dict of column to str, and of "epoch" to int.

    Raises:
        DataError: if the file is missing or holds anything else.
    """
    columns = ("epoch", *columns)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{**row, "epoch": int(row["epoch"])} for row in csv.DictReader(file)]
        if any(None in row or any(row[name] is None for name in columns) for row in rows):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise DataError(
            f"expected the figures of a run's epochs in {path} (the columns {', '.join(columns)}), found none that can "
            f"be read; move it away"
        ) from None
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV file that is always whole; its columns are all names in the rows, in the order they come up.

    Raises:
        DataError: if the disk refuses.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())


def settings(run: Run) -> dict[str, Any]:
    """A run's settings as they come back from `run.json`, to compare them with."""
    return json.loads(json.dumps(as_dict(run)))


def finite(value: Any) -> Any:
    """Plain JSON with null for figures that are no number: JSON has no NaN.

    Example:
        >>> finite({"test": {"CIDEr-D": float("nan"), "BLEU-4": 1.0}})
        {'test': {'CIDEr-D': None, 'BLEU-4': 1.0}}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
