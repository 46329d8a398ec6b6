"""The files of a run folder: their names, and strict readers, as anybody may have written them."""

from __future__ import annotations

import csv
import io
import json
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from captioner import atomic, metadata
from captioner.errors import DataError
from training.config import Run, as_dict
from training.loop import old_names

CONFIG, METRICS, MODEL = "run.json", "metrics.json", "model"
HISTORY, GRADIENTS = "history.csv", "gradients.csv"  # tables, a row an epoch or more


def read_config(run: Path, *needed: str) -> dict[str, Any]:
    """The settings of a run from its `run.json`; specs in it are not to be trusted, see `table_specs_only`.

    Args:
        run: Path of the run's folder.
        *needed: names such as "model.encoder", default none. Settings that must be there.

    Returns:
        dict as of `training.config.as_dict`. Old names of settings are replaced. Other versions have more settings or
        fewer, but those that are there have the type of this version.

    Raises:
        DataError: if the file is missing or does not hold the settings of a run.
    """
    config = old_names.current_config(metadata.load(run / CONFIG, DataError))
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
    for name, field_type in typing.get_type_hints(kind).items():
        if name not in part:
            continue
        value = part[name]
        if is_dataclass(field_type):
            good = isinstance(value, dict)
        elif field_type is float:
            good = isinstance(value, int | float) and not isinstance(value, bool)
        elif field_type in (str, bool, int):
            good = type(value) is field_type
        else:  # names of splits
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not good:
            return f"{prefix}{name} is {_short(value)}"
        wrong = _misfit(value, field_type, f"{prefix}{name}.") if is_dataclass(field_type) else None
        if wrong:
            return wrong
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def read_metrics(run: Path) -> dict[str, Any]:
    """The metrics of a finished run, from its `metrics.json`.

    Args:
        run: Path of the run's folder.

    Returns:
        dict of split to dict of metric to number, or to None where it was undefined; of "epoch", "seconds" and
        "memory" to a number; and, but for runs of earlier versions, of "chosen_by" to what the epoch was chosen by and
        of "warnings" to a list of lines.

    Raises:
        DataError: if the file is missing or holds anything else.
    """
    metrics = metadata.load(run / METRICS, DataError)
    for name, value in metrics.items():
        texts = {"warnings": value, "chosen_by": [value]}.get(name)
        numbers = value.values() if isinstance(value, dict) else [value]
        if texts is not None:
            good = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        else:
            good = all(number is None or type(number) in (int, float) for number in numbers)
        if not good:
            raise DataError(f"expected metrics in {run / METRICS}, {name} is {_short(value)}")
    return metrics


def read_epochs(path: Path, *columns: str) -> list[dict[str, Any]]:
    """The rows of a table with the column epoch, such as `history.csv`.

    Args:
        path: Path.
        *columns: names, default none. Further columns that every row must have.

    Returns:
        list of dict of column to str, and of "epoch" to int. Old names of columns are replaced.

    Raises:
        DataError: if the file is missing or holds anything else.
    """
    columns = ("epoch", *columns)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = map(old_names.current_columns, csv.DictReader(file))
            rows = [{**row, "epoch": int(row["epoch"])} for row in table]
        if any(None in row or any(row[name] is None for name in columns) for row in rows):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise DataError(
            f"expected the metrics of a run's epochs in {path} (the columns {', '.join(columns)}), found none that can "
            f"be read; move it away"
        ) from None
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV file atomically; its columns are all names in the rows, in order of appearance.

    Raises:
        DataError: if the disk refuses.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())


def settings(run: Run) -> dict[str, Any]:
    """A run's settings as `read_config` returns them."""
    return json.loads(json.dumps(as_dict(run)))


def has_settings(config: Mapping[str, Any], run: Run) -> bool:
    """Whether a run folder's settings, as `read_config` returns them, are those of a run.

    Settings that the version which wrote them did not know count as equal.

    Example:
        >>> from training.config import Data, Model
        >>> run = Run("x", Data("folder(path='a', captions='b')"), Model("small_cnn", "lstm"))
        >>> has_settings({"name": "x", "xe": {"epochs": 15}}, run), has_settings({"xe": {"epochs": 9}}, run)
        (True, False)
    """
    return _completed(config, settings(run)) == settings(run)


def _completed(part: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    parts = {
        name: _completed(value, defaults[name])
        if isinstance(value, dict) and isinstance(defaults.get(name), dict)
        else value
        for name, value in part.items()
    }
    return {**defaults, **parts}


def finite(value: Any) -> Any:
    """Plain JSON with null for NaN and infinity, which JSON does not have.

    Example:
        >>> finite({"test": {"CIDEr-D": float("nan"), "BLEU-4": 1.0}})
        {'test': {'CIDEr-D': None, 'BLEU-4': 1.0}}
    """
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
