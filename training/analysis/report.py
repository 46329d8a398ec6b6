"""Writes a page of curves, settings and the captions of a few images, epoch by epoch, of one run or of several.

    python training/analyze.py report runs/flickr8k_lstm
    python training/analyze.py report runs/flickr8k_lstm runs/flickr8k_gru --out both.html

The page is made of what a run's folder holds and opens from disk without a network; all its values are in the JSON
beside it. Training itself writes `report.html` into the run's folder after every validation.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner.bundle import version
from captioner.errors import DataError
from captioner.reports import charts, page
from training.analysis.gradients import curves_of
from training.analysis.sample_images import sample_images
from training.loop.run_folder import (
    CONFIG,
    GRADIENTS,
    HISTORY,
    METRICS,
    read_config,
    read_epochs,
    read_metrics,
)
from training.loop.selection.choosing import CIDER, LOSS, best_of, phrase

KIND = "captioner training"
# The settings that are shown at once; the others are folded away.
_MAIN = (
    "name", "data.source", "model.encoder", "model.decoder", "xe.epochs", "xe.batch_images", "xe.learning_rate",
    "scst.epochs", "evaluation.strategy", "seed",
)  # fmt: skip
_SPLIT_LOSS = "self-critical loss"  # of another scale than cross-entropy
_CURVES = {
    "loss": "Loss",
    _SPLIT_LOSS: "Loss of self-critical training",
    "reward": "Reward of sampled captions",
    LOSS: "Loss of the references on validation",
    "CIDEr-D": "CIDEr-D on validation",
    "BLEU-4": "BLEU-4 on validation",
    "learning rate": "Learning rate at the end of an epoch",
}
# Formats of an epoch's metrics, where one decimal is not right.
_FORMATS = {
    "loss": ".3f", LOSS: ".3f", _SPLIT_LOSS: ".3f", "reward": ".3f", "learning rate": ".2g", "mean length": ".2f",
    "seconds": ",.0f", "vocabulary": ",.0f", "sample_seconds": ".2g", "reward_seconds": ".2g",
}  # fmt: skip


def write(runs: Sequence[Path], out: Path | None = None, overwrite: bool = False) -> Path:
    """Writes the page of one run, or of several side by side.

    Args:
        runs: folders that `train.py` has written.
        out: path ending in .html, default `report.html` in the folder of a single run, which is the run's own and is
            replaced.
        overwrite: bool, default False. Whether a report at `out` may be replaced.

    Returns:
        Path of the page; its values lie beside it as JSON.

    Raises:
        DataError: if a folder holds no run with an epoch, or a file is in the way.
        MissingDependency: if Jinja2 or matplotlib is not installed.
    """
    page.require()
    if out is None and len(runs) != 1:
        raise DataError(f"expected --out FILE.html for a page of {len(runs)} runs")
    paths = page.files(out or runs[0] / "report.html", KIND, overwrite or out is None)
    data = page_data(runs)
    images = sample_images(_config(runs[0]), [sample["image"] for sample in data["samples"]])
    columns = dict.fromkeys(
        name for run in data["runs"] for row in run["history"] for name in row if name != "epoch"
    )
    more = {
        "charts": _charts(data),
        "images": images,
        "columns": list(columns),
        "forms": _FORMATS,
        "hues": charts.HUES,
    }
    return page.write(paths, "report.html.j2", data, Path(__file__).parent, **more)


def page_data(runs: Sequence[Path]) -> dict[str, Any]:
    """Everything that the page shows, as plain JSON.

    Raises:
        DataError: if a folder holds no run with an epoch.
    """
    names = [run.resolve().name for run in runs]
    names = names if len(set(names)) == len(names) else [str(run) for run in runs]
    flat = [_flat(_config(run)) for run in runs]
    settings = []
    for key in dict.fromkeys(key for config in flat for key in config):
        values = [config.get(key) for config in flat]
        differs = any(value != values[0] for value in values)
        settings.append({"key": key, "values": values, "differs": differs, "main": key in _MAIN or differs})
    return {
        "kind": KIND,
        "captioner": version(),
        "names": names,
        "settings": settings,
        "runs": [_run(run) for run in runs],
        "tests": _tests([_metrics(run) for run in runs]),
        "samples": _samples([run / "samples.txt" for run in runs]),
    }


def _config(run: Path) -> dict[str, Any]:
    return _read(run, CONFIG, read_config)


def _read(run: Path, name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read(run)
    except DataError as error:
        raise DataError(
            f"expected the folder of a run, whose {name} can be read, got {run}: {error}"
        ) from None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"xe": {"epochs": 1}} -> {"xe.epochs": 1}; lists become text."""
    flat: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(part, dict):
            flat |= _flat(part, f"{prefix}{key}.")
        else:
            flat[prefix + key] = ", ".join(map(str, part)) if isinstance(part, list) else part
    return flat


def _run(run: Path) -> dict[str, Any]:
    epochs = _history(run / HISTORY)
    choose_by = _config(run).get("evaluation", {}).get("choose_by", "auto")
    metrics, (best, measure) = _metrics(run), best_of(epochs, choose_by)
    best = metrics.get("epoch", best)
    measure = metrics.get("chosen_by", measure)
    at_best: dict[str, Any] = next((row for row in epochs if row["epoch"] == best), {})
    gradients = curves_of(run) if (run / GRADIENTS).is_file() else {}
    return {
        "finished": bool(metrics),
        "epochs": len(epochs),
        "minutes": epochs[-1]["seconds"] / 60 if epochs[-1].get("seconds") is not None else None,
        "best": {
            "epoch": best,
            CIDER: at_best.get(CIDER),
            LOSS: at_best.get(LOSS),
            "chosen": "" if best is None else phrase(measure, best),
        },
        "warnings": metrics.get("warnings", []),
        "history": epochs,
        "gradients": [{"epoch": epoch, "norms": norms.tolist()} for epoch, norms in gradients.items()],
    }


def _number(text: str | None) -> float | None:
    """A number, or None for an empty cell and for NaN, which JSON does not have."""
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _metrics(run: Path) -> dict[str, Any]:
    """The metrics of a finished run; empty before it is finished."""
    return _read(run, METRICS, read_metrics) if (run / METRICS).is_file() else {}


def _tests(metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics of the splits that were scored at the end, run by run."""
    tests = []
    splits = [split for run in metrics for split, values in run.items() if isinstance(values, dict)]
    for split in dict.fromkeys(splits):
        columns = [run.get(split, {}) for run in metrics]
        names = dict.fromkeys(name for column in columns for name in column)
        rows = [{"name": name, "values": [column.get(name) for column in columns]} for name in names]
        tests.append({"split": split, "metrics": rows})
    return tests


def _history(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [
            {name: _number(text) for name, text in row.items() if name != "epoch"} | {"epoch": row["epoch"]}
            for row in read_epochs(path)
        ]
    except ValueError as error:
        raise DataError(f"expected numbers in {path}, got something else ({error})") from None
    if not rows:
        raise DataError(f"expected an epoch or more in {path}, found none")
    for row in rows:
        if row.get("reward") is not None:
            row[_SPLIT_LOSS] = row.pop("loss")
    return rows


def _samples(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Captions of each sampled image, run by run and epoch by epoch, as `RunLogger.samples` wrote them."""
    samples: dict[str, dict[str, Any]] = {}
    for i, path in enumerate(paths):
        for epoch, name, caption, reference in _sampled(path):
            new = {"image": name, "reference": reference, "runs": [[] for _ in paths]}
            captions = samples.setdefault(name, new)["runs"][i]
            same = bool(captions) and captions[-1]["caption"] == caption
            captions.append({"epoch": epoch, "caption": caption, "same": same})
    return list(samples.values())


def _sampled(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Epoch, image, caption and reference of each line of a `samples.txt`; none where there is no such file."""
    epoch = 0
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        left, bar, reference = line.partition("  |  ")
        # A caption holds words only; a name may hold anything.
        name, colon, caption = left.strip(" ").rpartition(":")
        if line.startswith("epoch ") and line[6:].isdigit():
            epoch = int(line[6:])
        elif line.startswith("  ") and bar and colon:
            yield epoch, name, caption.strip(), reference


def _charts(data: dict[str, Any]) -> list[tuple[str, charts.Chart]]:
    """(title, chart) of every curve that a run has."""
    runs, several = data["runs"], len(data["runs"]) > 1
    titled = []
    for column, title in _CURVES.items():
        lines = []
        for i, run in enumerate(runs):
            sources = [] if several else _sources(run["history"], column)
            for number, name in enumerate([column, *(f"{column}/{source}" for source in sources)]):
                rows = [row for row in run["history"] if row.get(name) is not None]
                if rows:
                    x, y = [row["epoch"] for row in rows], [row[name] for row in rows]
                    label = data["names"][i] if several else ["all" if sources else "", *sources][number]
                    lines.append(charts.Line(label, x, y, mark=run["best"]["epoch"], colour=i + number))
        if lines:
            titled.append((title, charts.lines(lines, "epoch", "")))
    lines = []
    for i, run in enumerate(runs):
        for number, curve in enumerate(run["gradients"]):
            first = number == 0 and len(run["gradients"]) > 1
            label = f"epoch {curve['epoch']}"
            if several:
                label = "" if first else f"{data['names'][i]}, {label}"
            back = list(range(len(curve["norms"]), 0, -1))
            norms = [max(norm, 1e-30) for norm in curve["norms"]]
            lines.append(charts.Line(label, back, norms, dashed=first, colour=i))
    if lines:
        titled.append(
            ("Gradient norm per time step", charts.lines(lines, "words before the last", "", log=True))
        )
    return titled


def _sources(history: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """The sources of a mixture that a metric was also computed for."""
    columns = dict.fromkeys(name for row in history for name in row)
    return [name.partition("/")[2] for name in columns if name.startswith(f"{metric}/")]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders that train.py has written")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the page, ending in .html (default: report.html of a single run)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is there")


def run(options: argparse.Namespace) -> None:
    """Writes the page."""
    print(f"report: {write(options.runs, options.out, options.overwrite)}")
