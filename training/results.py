"""Writes the table of measured models from the runs themselves, so that no figure is typed by hand.

    python training/results.py runs/flickr8k_lstm runs/flickr8k_topdown --write README.md

Figures are those of pycocoevalcap where the run has them. `--write` replaces what stands between the lines
`<!-- results -->` and `<!-- /results -->` of a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioner.errors import CaptionerError, DataError

_COLUMNS = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")
_OPEN, _CLOSE = "<!-- results -->", "<!-- /results -->"


def row(run: Path) -> str:
    """One row of the table, of a finished run's folder.

    Raises:
        DataError: if the folder holds no finished run.
    """
    try:
        config = json.loads((run / "run.json").read_text(encoding="utf-8"))
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        figures = metrics[config["evaluation"]["tests"][0]]
    except (OSError, ValueError, KeyError, IndexError):
        raise DataError(
            f"expected {run} to hold a finished run (run.json, metrics.json), it does not"
        ) from None
    cells = [f"`{config['name']}`", f"`{config['model']['decoder'].partition('(')[0]}`"]
    for name in _COLUMNS:
        value = figures.get(f"official {name}", figures.get(name))
        cells.append("-" if value is None else f"{value:.1f}")
    memory = metrics.get("memory")
    cells += [f"{figures['unique captions']:.0f} %", f"{metrics['seconds'] / 60:.0f}"]
    cells.append(f"{memory / 1000:.1f}" if memory else "-")
    cells.append(f"`python training/train.py {config['name']}`")
    return f"| {' | '.join(cells)} |"


def table(runs: Sequence[Path]) -> str:
    """The table, in Markdown, a row a run in the order given."""
    head = ["recipe", "decoder", *_COLUMNS, "unique", "minutes", "GB", "command"]
    rule = "|".join("---:" if name in (*_COLUMNS, "unique", "minutes", "GB") else "---" for name in head)
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(row(run) for run in runs)])


def write(file: Path, text: str) -> None:
    """Puts text between the two markers of a file.

    Raises:
        DataError: if the file or its markers are missing.
    """
    try:
        before, opened, rest = file.read_text(encoding="utf-8").partition(_OPEN)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    _, closed, after = rest.partition(_CLOSE)
    if not opened or not closed:
        raise DataError(f"expected the lines {_OPEN} and {_CLOSE} in {file}, found neither or one")
    file.write_text(f"{before}{_OPEN}\n{text}\n{_CLOSE}{after}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="results.py", description="Table of measured models, from their runs."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table in this file")
    given = parser.parse_args(arguments)
    try:
        text = table(given.runs)
        if given.write:
            write(given.write, text)
    except CaptionerError as error:
        print(f"results.py: {error}", file=sys.stderr)
        return error.exit_code
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
