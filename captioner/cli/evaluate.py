"""Scores captions against references, both read from JSON, JSONL, CSV or TSV files in UTF-8.

Predictions hold one caption for each picture, references one or more. Accepted are:
  rows       {"image": "1.jpg", "caption": "a dog"}, in a JSON list, as JSONL, or as CSV or TSV with a header;
             a picture with several references has several rows, or one row with a list "captions";
             image may also be called image_id or id, and caption text
  an object  {"1.jpg": "a dog"} for predictions, {"1.jpg": ["A dog .", "A brown dog ."]} for references
  COCO       {"annotations": [{"image_id": 1, "caption": "A dog ."}]}
What `captioner caption --json` prints can be given as predictions. Figures are x100 unless they are counts.

With --html the figures also go into a page that opens in any browser, without a network, and into a JSON file beside
it: how far they would move with other pictures, the best and worst pictures, confused words, lengths and vocabulary;
with --against two models side by side. Where the model looked is shown for predictions made with
`captioner caption --json --attention`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from captioner.cli.caption_files import read_predictions, read_references
from captioner.errors import SpecError
from captioner.metrics import DEFAULT_METRICS, METRICS, evaluate
from captioner.reports import report
from captioner.types import Caption


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("predictions", metavar="PREDICTIONS", help="file of predicted captions")
    parser.add_argument("references", metavar="REFERENCES", help="file of reference captions")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="METRIC",
        help=f"may be repeated; one of: {', '.join(METRICS.names())} (default: {', '.join(DEFAULT_METRICS)})",
    )
    parser.add_argument(
        "--official", action="store_true", help="add the figures of pycocoevalcap beside ours (needs Java)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--html", metavar="OUT", help="write a report: OUT, ending in .html, and the JSON of its figures"
    )
    parser.add_argument("--against", metavar="FILE", help="with --html: predictions of a second model")
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="with --html: the folder of the pictures, where predictions name no paths",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="with --html: replace a report that is there"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the figures."""
    for name in ("against", "images", "overwrite"):
        if getattr(options, name) and not options.html:
            raise SpecError(f"--{name} is about the report: pass --html OUT.html too")
    predictions = read_predictions(options.predictions)
    references = read_references(options.references)
    metrics = options.metric or DEFAULT_METRICS
    if options.html:
        figures = _report(options, predictions, references, metrics)
    else:
        figures = evaluate(predictions, references, official=options.official, metrics=metrics)
    if options.json:
        print(json.dumps(figures, ensure_ascii=False))
        return 0
    print(f"{len(predictions)} pictures", file=sys.stderr)
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:8.2f}")
    return 0


def _report(
    options: argparse.Namespace,
    predictions: dict[str, Caption],
    references: dict[str, list[str]],
    metrics: Sequence[str],
) -> dict[str, float]:
    """Writes the report; the figures of the first model, which it holds."""
    files = [options.predictions] + ([options.against] if options.against else [])
    page = report(
        predictions,
        references,
        options.html,
        against=read_predictions(options.against) if options.against else None,
        images=options.images,
        names=_names(files),
        overwrite=options.overwrite,
        metrics=metrics,
        official=options.official,
    )
    beside = page.with_suffix(".json")
    data = json.loads(beside.read_text(encoding="utf-8"))
    if data["not_shown"]:
        missing = f"{data['not_shown']} of its {data['wanted']} pictures cannot be read (the page says why)"
        print(f"captioner: {missing}; --images DIR says where they are", file=sys.stderr)
    print(f"report: {page}, figures: {beside}", file=sys.stderr)
    return {row["name"]: row["models"][0]["value"] for row in data["scores"]}


def _names(files: Sequence[str]) -> list[str]:
    """What to call the models: their files' names, or if they are the same, their folders' too."""
    stems = [Path(file).stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    folders = [Path(file).resolve().parent.name for file in files]
    return folders if len(set(folders)) == len(folders) else list(files)
