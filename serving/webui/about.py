"""What the web page says of each model: what it is good for, its size, and figures that its folder holds."""

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
    """What is known of a model without loading it.

    Attributes:
        engine: str. A row of `captioner.engines.ENGINES`.
        megabytes: float or None. Its size on disk, in 10^6 bytes.
        cider_d: float or None. CIDEr-D x100 on the test split.
        milliseconds: float or None. Median time for an image, as measured with the other variants of its folder.
        measured_with: Path or None. The folder that the figures come from: times are compared within it alone.
    """

    engine: str
    megabytes: float | None = None
    cider_d: float | None = None
    milliseconds: float | None = None
    measured_with: Path | None = None


def about(source: str | Path, home: Path | None = None) -> About:
    """Looks at a model on disk.

    Args:
        source: str or Path. What `captioner.load` takes.
        home: Path, default None. The model folder that a version folder belongs to.

    Returns:
        `About`; figures of a file whose size is not the one that was measured are left out.

    Example:
        >>> about("grpc://localhost:8500/captioner").engine
        'grpc'
    """
    path = Path(source)
    # The server also runs graphs in text form, and those of others.
    engine = "saved_model" if is_version(path) else engine_for(str(source))
    label = ENGINES[engine].label(path)
    if (path / bundle.MANIFEST).is_file():
        # A model folder counts more than its weights.
        return _measured(About(engine, _size(path / bundle.WEIGHTS)), path, label, any_size=True)
    if path.is_file():
        home = path.parent
    return _measured(About(engine, _size(path)), home, label)


def good_for(models: Sequence[About]) -> list[str]:
    """A line for each model: what tells it from the others, its size and its figures.

    Args:
        models: sequence of `About`.

    Returns:
        list of str, as many.

    Example:
        >>> good_for([About("saved_model", 23.8), About("lite", 6.74, 58.94, 9.5)])[1]
        'For phones and small computers: needs no TensorFlow. The smallest here. 6.7 MB; CIDEr-D 58.9 on test images; \
9.5 ms per image.'
    """
    lines = []
    for i, model in enumerate(models):
        others = [other for j, other in enumerate(models) if j != i]
        figures = []
        if model.megabytes is not None:
            figures.append(f"{model.megabytes:.1f} MB")
        if model.cider_d is not None:
            figures.append(f"CIDEr-D {model.cider_d:.1f} on test images")
        if model.milliseconds is not None:
            figures.append(f"{model.milliseconds:g} ms per image")
        best = " and ".join(_superlatives(model, others))
        parts = [ENGINES[model.engine].purpose, f"The {best} here." if best else "", "; ".join(figures)]
        lines.append(" ".join(part for part in parts if part) + ("." if figures else ""))
    return lines


def _superlatives(model: About, others: Sequence[About]) -> list[str]:
    """What a model is more than each of the others, by figures that all of them have."""
    best = []
    if _least([model.megabytes, *(other.megabytes for other in others)]):
        best.append("smallest")
    # Times that were measured together; CIDEr-D is only shown, for leads within its error are none.
    together = all(other.measured_with == model.measured_with for other in others)
    if together and _least([model.milliseconds, *(other.milliseconds for other in others)]):
        best.append("fastest")
    return best


def _least(values: Sequence[float | None]) -> bool:
    """Whether the first of several values is the smallest, all being known."""
    known = [value for value in values if value is not None]
    return 1 < len(known) == len(values) and known[0] < min(known[1:])


def _measured(model: About, folder: Path | None, label: str, any_size: bool = False) -> About:
    """The same with the figures of a folder, if they are those of a file of this size: one exported anew is another."""
    figures = _figures(folder, label)
    measured = _number(figures, "megabytes")
    if not any_size and (
        model.megabytes is None or measured is None or abs(model.megabytes - measured) > 0.1
    ):
        figures = {}
    cider_d, milliseconds = _number(figures, "CIDEr-D"), _number(figures, "median")
    return About(model.engine, model.megabytes, cider_d, milliseconds, folder if figures else None)


def _figures(folder: Path | None, label: str) -> Mapping[str, Any]:
    """A model folder's test figures under a label; empty where there are none."""
    if folder is None:
        return {}
    try:
        figures = metadata.load(folder / bundle.METRICS)["test"][label]
    except (BundleError, KeyError, TypeError):
        return {}
    return figures if isinstance(figures, Mapping) else {}


def _number(figures: Mapping[str, Any], name: str) -> float | None:
    try:
        return checks.number(figures.get(name), name)
    except SpecError:
        return None


def _size(path: Path) -> float | None:
    """10^6 bytes of a file, or of all files in a folder."""
    try:
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        return sum(file.stat().st_size for file in files) / 1e6 if files else None
    except OSError:
        return None
