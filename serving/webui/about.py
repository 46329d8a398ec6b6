"""Descriptions of models on the web page: purpose, size, and the metrics in their folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner import bundle, checks
from captioner.errors import SpecError

# The rows of `metrics.json` as `training/publish.py` names them; a `.tflite` file's is called after the file.
_KERAS, _SAVED_MODEL = "weights, run by Keras", "SavedModel"
_PURPOSES = {
    "saved_model": "For servers: the export that TensorFlow Serving runs.",
    "tflite": "For phones and small computers: needs no TensorFlow.",
    "keras": "For development: the trained weights, run by Keras.",
    "remote": "Runs on another server.",
}


@dataclass(frozen=True)
class About:
    """Properties of a model that are known without loading it.

    Attributes:
        engine: str. One of "saved_model", "tflite", "keras" and "remote".
        megabytes: float or None. Its size on disk, in 10^6 bytes.
        cider_d: float or None. CIDEr-D x100 on the test split.
        milliseconds: float or None. Median time for an image, as measured with the other variants of its folder.
        measured_with: Path or None. The folder of these metrics: only times from the same folder are compared.
    """

    engine: str
    megabytes: float | None = None
    cider_d: float | None = None
    milliseconds: float | None = None
    measured_with: Path | None = None


def about(source: str | Path, home: Path | None = None) -> About:
    """Reads size and metrics of a model from disk.

    Args:
        source: str or Path. What `captioner.load` takes.
        home: Path, default None. The model folder that a version folder belongs to.

    Returns:
        `About`; without metrics if the size of the file is not the one that was measured.

    Example:
        >>> about("grpc://localhost:8500/captioner").engine
        'remote'
    """
    if "://" in str(source):
        return About("remote")
    path = Path(source)
    if path.suffix == ".tflite":
        return _measured("tflite", _size(path), path.parent, path.name)
    if (path / bundle.MANIFEST).is_file():
        return _measured("keras", _size(path / bundle.WEIGHTS), path, _KERAS)
    return _measured("saved_model", _size(path), home, _SAVED_MODEL)


def good_for(models: Sequence[About]) -> list[str]:
    """A line of description for each model: purpose, advantage over the others, size and metrics.

    Args:
        models: sequence of `About`.

    Returns:
        list of str, as many.

    Example:
        >>> good_for([About("saved_model", 23.8), About("tflite", 6.74, 58.94, 9.5)])[1]
        'For phones and small computers: needs no TensorFlow. The smallest here. 6.7 MB; CIDEr-D 58.9 on test images; \
9.5 ms per image.'
    """
    lines = []
    for i, model in enumerate(models):
        others = [other for j, other in enumerate(models) if j != i]
        metrics = []
        if model.megabytes is not None:
            metrics.append(f"{model.megabytes:.1f} MB")
        if model.cider_d is not None:
            metrics.append(f"CIDEr-D {model.cider_d:.1f} on test images")
        if model.milliseconds is not None:
            metrics.append(f"{model.milliseconds:g} ms per image")
        best = " and ".join(_superlatives(model, others))
        parts = [_PURPOSES[model.engine], f"The {best} here." if best else "", "; ".join(metrics)]
        lines.append(" ".join(part for part in parts if part) + ("." if metrics else ""))
    return lines


def _superlatives(model: About, others: Sequence[About]) -> list[str]:
    """The superlatives of a model among the others, by values that all of them have."""
    best = []
    if _smallest([model.megabytes, *(other.megabytes for other in others)]):
        best.append("smallest")
    # Only times that were measured together; CIDEr-D is not compared, because small leads are noise.
    comparable = all(other.measured_with == model.measured_with for other in others)
    if comparable and _smallest([model.milliseconds, *(other.milliseconds for other in others)]):
        best.append("fastest")
    return best


def _smallest(values: Sequence[float | None]) -> bool:
    """Whether the first of several values is the smallest, and all are known."""
    known = [value for value in values if value is not None]
    return 1 < len(known) == len(values) and known[0] < min(known[1:])


def _measured(engine: str, size: float | None, folder: Path | None, row: str) -> About:
    metrics = _test_metrics(folder, row)
    measured = _number(metrics, "megabytes")
    # A file that was exported again is another one; a model folder is measured with more than its weights.
    if engine != "keras" and (size is None or measured is None or abs(size - measured) > 0.1):
        metrics = {}
    cider_d, milliseconds = _number(metrics, "CIDEr-D"), _number(metrics, "median")
    return About(engine, size, cider_d, milliseconds, folder if metrics else None)


def _test_metrics(folder: Path | None, row: str) -> Mapping[str, Any]:
    """A row of the test metrics of a model folder; empty where there is none."""
    if folder is None:
        return {}
    try:
        metrics = json.loads((folder / bundle.METRICS).read_text(encoding="utf-8"))["test"][row]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return metrics if isinstance(metrics, Mapping) else {}


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    try:
        return checks.number(metrics.get(name), name)
    except SpecError:
        return None


def _size(path: Path) -> float | None:
    """10^6 bytes of a file, or of all files in a folder."""
    try:
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        return sum(file.stat().st_size for file in files) / 1e6 if files else None
    except OSError:
        return None
