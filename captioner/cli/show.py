"""Shows the parameters, config, vocabulary, default strategy, scores and card of a model.

The integrity of its files is checked first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from captioner import bundle
from captioner.api import DEFAULT_MODEL, located
from captioner.engines import engine_for
from captioner.engines.base import default_strategy
from captioner.errors import EngineError
from captioner.types import SPECIALS

_LABEL = 12  # width of the labels, in characters


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help="model folder (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints the description of the model."""
    if engine_for(options.model) != "keras":
        raise EngineError(f"expected a model folder to show, got {options.model}")
    model = bundle.read(located(options.model))
    if options.json:
        print(json.dumps(_json_fields(model), ensure_ascii=False))
        return 0
    size = model.weights.stat().st_size / 1e6
    parts = ", ".join(f"{part} {count:,}" for part, count in model.parameters.items())
    words = model.tokenizer.vocabulary[len(SPECIALS) :]
    print(f"{model.folder}  (written by captioner {model.captioner})")
    _line("weights", f"{size:.1f} MB; parameters: {parts or 'not recorded'}")
    for key, value in model.config.items():
        _line(key, _readable(value))
    _line("vocabulary", f"{len(words)} words and {len(SPECIALS)} special tokens: {', '.join(words[:8])} ...")
    _line("strategy", default_strategy(model))
    for line in metric_table(model.metrics):
        print(line)
    if model.card:
        print(f"\n{model.card.strip()}")
    return 0


def _json_fields(model: bundle.Bundle) -> dict[str, Any]:
    return {
        "folder": str(model.folder),
        "captioner": model.captioner,
        "parameters": model.parameters,
        "model": model.config,
        "vocabulary": {"size": len(model.tokenizer), "fingerprint": model.tokenizer.fingerprint},
        "strategy": default_strategy(model),
        "metrics": model.metrics,
        "card": model.card,
    }


def _line(label: str, text: str) -> None:
    print(f"{label:<{_LABEL}} {text}")


def _readable(value: Any) -> str:
    """A config value as a spec string."""
    if isinstance(value, list) and value and all(isinstance(side, int) for side in value):
        return " x ".join(map(str, value))
    if isinstance(value, Mapping) and isinstance(value.get("keras"), str):
        return _network(value["keras"])
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_readable(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _network(config: str) -> str:
    """A short description of a user's network, whose config is JSON of Keras with thousands of characters."""
    try:
        network = json.loads(config)
        layers = [layer["class_name"] for layer in network["config"]["layers"]]
        return f"a Keras {network['class_name']} of {len(layers)} layers: {', '.join(layers)}"
    except (ValueError, KeyError, TypeError):
        return "a Keras network"


def metric_columns(metrics: Mapping[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Flattens nested metrics into columns of a table: by split, by engine.

    Args:
        metrics: mapping of names to scores, or to such mappings.
        path: str, default "". Prefix of the names of the columns.

    Returns:
        dict of a column's name, "" for scores at the top level, to its scores.

    Example:
        >>> metric_columns({"test": {"keras": {"CIDEr-D": 58.8}, "tflite": {"CIDEr-D": 58.9}}})
        {'test, keras': {'CIDEr-D': 58.8}, 'test, tflite': {'CIDEr-D': 58.9}}
    """
    scores = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
    columns = {path: scores} if scores else {}
    for name, inner in metrics.items():
        if isinstance(inner, Mapping):
            columns |= metric_columns(inner, f"{path}, {name}" if path else name)
    return columns


def metric_table(metrics: Mapping[str, Any]) -> list[str]:
    """Lines of a table of metrics: a row for each metric, a column for each set of scores.

    Example:
        >>> print("\\n".join(metric_table({"validation": {"CIDEr-D": 55.1}, "test": {"CIDEr-D": 58.83, "n": 5}})))
        scores       validation   test
        CIDEr-D           55.10  58.83
        n                     -      5
    """
    columns = metric_columns(metrics)
    if not columns:
        return []
    names = list(dict.fromkeys(name for scores in columns.values() for name in scores))
    label = max(_LABEL, *map(len, names))
    parts = {column.partition(", ")[0] for column in columns}
    shared = parts.pop() if len(parts) == 1 and len(columns) > 1 else ""
    heading = [shared or "scores", *(column.removeprefix(f"{shared}, ") for column in columns)]
    cells = [heading, *([n, *(_formatted(f.get(n)) for f in columns.values())] for n in names)]
    if list(columns) == [""]:
        del cells[0]
    widths = [max(len(row[i]) for row in cells) for i in range(1, len(columns) + 1)]
    return [
        f"{row[0]:<{label}} " + "  ".join(f"{cell:>{w}}" for cell, w in zip(row[1:], widths, strict=True))
        for row in cells
    ]


def _formatted(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
