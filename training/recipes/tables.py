"""The tables of keys and of recipes in training/README.md, generated from the code; `make docs` writes them there."""

from __future__ import annotations

import dataclasses
import re
import typing
from typing import Any

from captioner.registry import parse_spec
from training.config import Run
from training.recipes import RECIPES

_OPEN = "the initial model's"  # where a recipe leaves it open


def keys_table() -> str:
    """The keys of `--set` as a Markdown table: type, default and meaning, from the dataclasses of `training.config`."""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, kind, default, meaning in _keys(Run):
        shown = "" if default is dataclasses.MISSING or default in ("", ()) else f"`{_text(default)}`"
        lines.append(f"| `{key}` | {kind} | {shown} | {meaning} |")
    return "\n".join(lines)


def recipes_table() -> str:
    """The recipes as a Markdown table: what each is, its data, networks, image size and epochs."""
    lines = [
        "| recipe | what it is | data | encoder | decoder | pixels | epochs |",
        "|---|---|---|---|---|---:|---:|",
    ]
    for name, summary in RECIPES.describe().items():
        run = RECIPES.build(name)
        epochs = [str(part.epochs) for part in (run.xe, run.scst) if part.epochs]
        cells = [
            f"`{name}`",
            summary,
            f"`{parse_spec(run.data.source).name}`",
            _networks(run.model.encoder) + (", trained" if run.model.train_encoder else ""),
            _networks(run.model.decoder),
            str(run.model.image_size) if run.model.encoder else _OPEN,
            "by the data" if run.sized_by_data else " + ".join(epochs),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {"recipes": recipes_table, "keys": keys_table}


def _networks(spec: str) -> str:
    """Names of an encoder, of the encoders that are concatenated, or of a decoder."""
    if not spec:
        return _OPEN
    parts = parse_spec(spec).args.get("encoders", [spec])
    return ", ".join(f"`{parse_spec(text).name}`" for text in parts)


def _keys(kind: Any, prefix: str = "") -> list[tuple[str, str, Any, str]]:
    """(key, type, default, meaning) of every key of a dataclass and of those inside it."""
    types, meanings = typing.get_type_hints(kind), _attributes(kind.__doc__ or "")
    rows: list[tuple[str, str, Any, str]] = []
    for entry in dataclasses.fields(kind):
        name = prefix + entry.name
        if dataclasses.is_dataclass(types[entry.name]):
            rows += _keys(types[entry.name], f"{name}.")
        else:
            type_name = getattr(types[entry.name], "__name__", "str")
            meaning = re.sub(r"^(?:str|int|float|bool)\. ", "", meanings[entry.name])
            meaning = meaning[0].upper() + meaning[1:]
            rows.append((name, "names" if type_name == "tuple" else type_name, entry.default, meaning))
    return rows


def _attributes(docstring: str) -> dict[str, str]:
    """Name to description of the attributes that a docstring lists; several may share a description."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    meanings: dict[str, str] = {}
    for names, text in re.findall(r"^ {8}(\w[\w, ]*): ((?:.|\n {12})+)", section, re.M):
        for name in names.split(", "):
            meanings[name] = " ".join(text.split())
    return meanings


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return (
        ",".join(value)
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
