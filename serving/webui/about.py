"""Descriptions of models on the web page: purpose, size, and the metrics in their folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner import bundle, checks, metadata
from captioner.engines import ENGINES, engine_for
from captioner.errors import BundleError, SpecError
from serving.runtime.versions import is_version


@dataclass(frozen=True)
class About:
    """Properties of a model that are known without loading it.

    Attributes:
        engine: str. A row of `captioner.engines.ENGINES`.
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
        'grpc'
    """
    path = Path(source)
    # The server also runs graphs in text form, and those of others.
    engine = "saved_model" if is_version(path) else engine_for(str(source))
    label = ENGINES[engine].label(path)
    if (path / bundle.MANIFEST).is_file():
        # A model folder is measured with more than its weights.
        return _measured(About(engine, _size(path / bundle.WEIGHTS)), path, label, any_size=True)
    if path.is_file():
        home = path.parent
    return _measured(About(engine, _size(path)), home, label)


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
        parts = [ENGINES[model.engine].purpose, f"The {best} here." if best else "", "; ".join(metrics)]
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


def _measured(model: About, folder: Path | None, label: str, any_size: bool = False) -> About:
    """Adds the metrics of a folder, if they are those of a file of this size: one exported again is another."""
    metrics = _test_metrics(folder, label)
    measured = _number(metrics, "megabytes")
    if not any_size and (
        model.megabytes is None or measured is None or abs(model.megabytes - measured) > 0.1
    ):
        metrics = {}
    cider_d, milliseconds = _number(metrics, "CIDEr-D"), _number(metrics, "median")
    return About(model.engine, model.megabytes, cider_d, milliseconds, folder if metrics else None)


def _test_metrics(folder: Path | None, label: str) -> Mapping[str, Any]:
    """The test metrics of a model folder under a label; empty where there are none."""
    if folder is None:
        return {}
    try:
        metrics = metadata.load(folder / bundle.METRICS)["test"][label]
    except (BundleError, KeyError, TypeError):
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
