"""Scores captions against references, both read from JSON, JSONL, CSV or TSV files in UTF-8.

Predictions hold one caption for each image, references one or more. Accepted are:
  rows       {"image": "1.jpg", "caption": "a dog"}, in a JSON list, as JSONL, or as CSV or TSV with a header;
             an image with several references has several rows, or one row with a list "captions";
             image may also be called image_id, file_name, filename or id, and caption text
  an object  {"1.jpg": "a dog"} for predictions, {"1.jpg": ["A dog .", "A brown dog ."]} for references
  COCO       {"annotations": [{"image_id": 1, "caption": "A dog ."}]}, with or without its images[].file_name
The output of `captioner caption --json` can be used as predictions, and the captions.csv of a training set as
references: paths in it are relative to that file. Images that the two files spell differently are matched by path,
number or base name where that is unambiguous, and the rule is printed. Scores are x100 unless they are counts.

With --html the scores are also written as a page that opens in any browser, without a network, and as a JSON file of
the same name: confidence intervals, the best and worst images, confused words, lengths and vocabulary; with --baseline
a comparison of two models. Attention is shown for predictions of `captioner caption --json --attention`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner import checks
from captioner.caption_files import References, aligned, read_predictions, read_references
from captioner.cli.messages import print_note
from captioner.errors import SpecError
from captioner.metrics import DEFAULT_METRICS, METRICS, evaluate, rough, undefined
from captioner.reports import report
from captioner.text.languages import ENGLISH, LANGUAGES, rules
from captioner.types import Caption


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("predictions", metavar="PREDICTIONS", help="file of predicted captions")
    parser.add_argument("references", metavar="REFERENCES", help="file of reference captions")
    parser.add_argument(
        "--split", metavar="NAME", help="use the references of this split only, by their column split"
    )
    parser.add_argument(
        "--metric",
        action="append",
        metavar="METRIC",
        help=f"may be repeated; one of: {', '.join(METRICS.names())} (default: {', '.join(DEFAULT_METRICS)})",
    )
    parser.add_argument(
        "--official", action="store_true", help="add the scores of pycocoevalcap (needs Java)"
    )
    parser.add_argument(
        "--language",
        default=ENGLISH,
        metavar="CODE",
        help="of the captions, for bad endings and word confusions: "
        f"{', '.join(LANGUAGES)} or another code such as fr (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--html", metavar="OUT", help="write a report: OUT, ending in .html, and the JSON of its scores"
    )
    parser.add_argument("--baseline", metavar="FILE", help="with --html: predictions of a second model")
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="with --html: the folder of the images, if predictions have no paths",
    )
    parser.add_argument("--overwrite", action="store_true", help="with --html: replace an existing report")


def run(options: argparse.Namespace) -> int:
    """Prints the scores."""
    for name in ("baseline", "images", "overwrite"):
        if getattr(options, name) not in (None, False) and options.html is None:
            raise SpecError(f"--{name} applies to the report: pass --html OUT.html too")
    checks.language_code(options.language, "--language")
    predictions = read_predictions(options.predictions)
    references = read_references(options.references)
    matched = aligned(predictions, references, options.split)
    for line in matched.notes:
        print_note(options, line)
    metrics = options.metric or DEFAULT_METRICS
    if "bad_endings" in metrics and not rules(options.language).function_words:
        print_note(options, f"no bad endings: the function words of {options.language!r} are not known")
    scores: Mapping[str, float | None]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no CIDEr-D")  # printed below, in one line
        if options.html is not None:
            scores = _report(options, predictions, references, metrics)
        else:
            scores = evaluate(
                predictions,
                matched.references,
                official=options.official,
                metrics=metrics,
                language=options.language,
            )
    _print_cider_notes(options, scores, len(predictions))
    if options.json:
        content = {name: None if _is_nan(value) else value for name, value in scores.items()}
        print(json.dumps(content, ensure_ascii=False, allow_nan=False))
        return 0
    if not options.quiet:
        print(f"{len(predictions):,} image{'s' * (len(predictions) != 1)}", file=sys.stderr)
    width = max((len(name) for name in scores), default=0)
    for name, value in scores.items():
        if not _is_nan(value):
            print(f"{name:<{width}}  {value:8.2f}")
    return 0


def _print_cider_notes(options: argparse.Namespace, scores: Mapping[str, float | None], images: int) -> None:
    ciders = [value for name, value in scores.items() if name.endswith("CIDEr-D")]
    if any(map(_is_nan, ciders)):
        print_note(options, undefined(images))
    elif ciders and rough(images):
        print_note(options, rough(images))


def _is_nan(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _report(
    options: argparse.Namespace,
    predictions: dict[str, Caption],
    references: References,
    metrics: Sequence[str],
) -> dict[str, float | None]:
    """Writes the report; returns the scores of the first model in it."""
    files = [options.predictions] + ([options.baseline] if options.baseline is not None else [])
    matched = aligned(predictions, references, options.split)
    baseline = None
    if options.baseline is not None:
        # The captions of the second model by the image ids of the first.
        other = read_predictions(options.baseline)
        first = {reference: name for name, reference in matched.names.items()}
        theirs = aligned(other, references, options.split)
        baseline = {first.get(theirs.names[name], name): caption for name, caption in other.items()}
    page = report(
        predictions,
        matched.references,
        options.html,
        baseline=baseline,
        images=options.images,
        names=_names(files),
        overwrite=options.overwrite,
        metrics=metrics,
        official=options.official,
        language=options.language,
    )
    json_file = page.with_suffix(".json")
    data = json.loads(json_file.read_text(encoding="utf-8"))
    if data["not_shown"]:
        missing = f"{data['not_shown']} of its {data['wanted']} images cannot be read (the page says why)"
        print_note(options, f"{missing}; --images DIR says where they are")
    if not options.quiet:
        print(f"report: {page}, scores: {json_file}", file=sys.stderr)
    return {row["name"]: row["models"][0]["value"] for row in data["scores"]}


def _names(files: Sequence[str]) -> list[str]:
    """Names of the models: of their files, or of their folders if those are the same."""
    stems = [Path(file).stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    folders = [Path(file).resolve().parent.name for file in files]
    return folders if len(set(folders)) == len(folders) else list(files)
