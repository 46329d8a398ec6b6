"""Blocks of the documents that are generated from the code: `make docs` rewrites them.

A block stands between `<!-- NAME -->` and `<!-- /NAME -->`; `BLOCKS` says what belongs there. A new table of parts is
one line in `PARTS`. `tests/project/test_generated.py` fails while a block is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from captioner.decoding import RULES, STRATEGIES
from captioner.engines import ENGINES
from captioner.exporting import TARGETS
from captioner.metrics import METRICS
from captioner.models import ATTENTIONS, CELLS, DECODERS, ENCODERS
from captioner.registry import Table
from captioner.rerank import RERANKERS
from training.data.datasets import DATASETS
from training.recipes import RECIPES, tables

ROOT = Path(__file__).parents[2]
README, PARTS_PAGE, TRAINING = "README.md", "docs/parts.md", "training/README.md"

PARTS: dict[str, Table] = {
    "encoders": ENCODERS,
    "decoders": DECODERS,
    "cells": CELLS,
    "attentions": ATTENTIONS,
    "strategies": STRATEGIES,
    "rules": RULES,
    "rerankers": RERANKERS,
    "metrics": METRICS,
    "datasets": DATASETS,
    "recipes": RECIPES,
    "export targets": TARGETS,
    "engines": ENGINES,
}


def part_names() -> str:
    """The table of the README: a row for each family with the names of its parts. Recipes are in its guide."""
    listed = {family: table for family, table in PARTS.items() if table is not RECIPES}
    rows = [f"| {family} | {', '.join(_ranges(table))} |" for family, table in listed.items()]
    return "\n".join(["| part | names |", "|---|---|", *rows])


def _ranges(names: Iterable[str]) -> Iterator[str]:
    """Names as Markdown; three or more that count up (`vgg0`, `vgg1`, `vgg2`) are written as a range."""
    numbered = [re.fullmatch(r"(.*?)(\d)?", name) for name in names]
    splits = [(match[1], int(match[2]) if match[2] else None) for match in numbered if match]
    for _, run in groupby(
        enumerate(splits), lambda item: (item[1][0], None if item[1][1] is None else item[1][1] - item[0])
    ):
        spans = [f"`{stem}{'' if number is None else number}`" for _, (stem, number) in run]
        yield from spans if len(spans) < 3 else [f"{spans[0]} to {spans[-1]}"]


def part_lines() -> str:
    """The tables of docs/parts.md: each part with the first line of its documentation."""
    lines: list[str] = []
    for family, table in PARTS.items():
        lines += [f"## {family[0].upper()}{family[1:]}", "", f"| {table.kind} | |", "|---|---|"]
        lines += [
            f"| `{name}` | {line.replace('|', chr(92) + '|')} |" for name, line in table.describe().items()
        ]
        lines.append("")
    return "\n".join(lines).strip()


# (document, name of the block) to what gives its text, without the markers.
BLOCKS: dict[tuple[str, str], Callable[[], str]] = {
    (README, "parts"): part_names,
    (PARTS_PAGE, "parts"): part_lines,
}
BLOCKS |= {(TRAINING, name): table for name, table in tables.TABLES.items()}


def pattern(name: str) -> re.Pattern[str]:
    """A block with its two markers; the first group is its text."""
    return re.compile(f"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", re.S)


def rewrite(root: Path = ROOT) -> list[tuple[str, str]]:
    """Rewrites every block that is out of date.

    Args:
        root: Path. Where the documents are.

    Returns:
        list of (document, name of the block) that were rewritten.

    Raises:
        ValueError: if a document does not hold the markers of its block exactly once.
    """
    rewritten = []
    for (document, name), text in BLOCKS.items():
        path = root / document
        before = path.read_text(encoding="utf-8")
        count = len(pattern(name).findall(before))
        if count != 1:
            raise ValueError(f"expected <!-- {name} --> and <!-- /{name} --> once in {document}, got {count}")
        block = f"<!-- {name} -->\n{text()}\n<!-- /{name} -->"
        after = pattern(name).sub(lambda _, block=block: block, before)  # type: ignore[misc]
        if after != before:
            path.write_text(after, encoding="utf-8")
            rewritten.append((document, name))
    return rewritten


if __name__ == "__main__":
    for document, name in rewrite():
        print(f"{document}: block {name} rewritten")
    sys.exit(0)
