"""Scores captions against references, both read from JSON, JSONL, CSV or TSV files in UTF-8.

Predictions hold one caption for each picture, references one or more. Accepted are:
  rows       {"image": "1.jpg", "caption": "a dog"}, in a JSON list, as JSONL, or as CSV or TSV with a header;
             a picture with several references has several rows, or one row with a list "captions";
             image may also be called image_id or id, and caption text
  an object  {"1.jpg": "a dog"} for predictions, {"1.jpg": ["A dog .", "A brown dog ."]} for references
  COCO       {"annotations": [{"image_id": 1, "caption": "A dog ."}]}
What `captioner caption --json` prints can be given as predictions. Figures are x100 unless they are counts.
"""

from __future__ import annotations

import argparse
import json
import sys

from captioner.cli.caption_files import read_predictions, read_references
from captioner.metrics import DEFAULT_METRICS, METRICS, evaluate


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


def run(options: argparse.Namespace) -> int:
    """Prints the figures."""
    predictions = read_predictions(options.predictions)
    references = read_references(options.references)
    figures = evaluate(
        predictions, references, official=options.official, metrics=options.metric or DEFAULT_METRICS
    )
    if options.json:
        print(json.dumps(figures, ensure_ascii=False))
        return 0
    print(f"{len(predictions)} pictures", file=sys.stderr)
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:8.2f}")
    return 0
