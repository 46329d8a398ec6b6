"""Describes images in sentences.

One image gives a sentence; several give a line each, "path: sentence". A folder stands for the images in it, by
name, with --recursive for those in its sub-folders too. What fails costs that image alone: the rest go on, and a last
line on standard error counts.

With --json each image gives a JSON object on a line of its own, in UTF-8: image, caption, score, logp, words,
word_logp, alternatives, error. These lines are what `captioner evaluate` takes as predictions. With --attention each
also has where the model looked, for the report of `captioner evaluate --html`: a number for each word and place, or
null for a model that does not attend.

With --alt-text sentences are made for the alt attribute of a web page: a capital, a full stop, no "an image of", not
too long; "Perhaps: " stands before one that the model, if it was calibrated, is not sure of. The JSON objects then
also have alt_text, confidence (null if not calibrated) and flagged.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from captioner import checks
from captioner.api import DEFAULT_MODEL, Captioner, load
from captioner.cli.heatmap_files import heatmap_files
from captioner.cli.image_files import image_files
from captioner.cli.messages import note, one_line, tell
from captioner.cli.parser import add_trust
from captioner.cli.progress import progress_bar
from captioner.errors import CaptionerError, DataError, ImageError, SpecError
from captioner.outputs.alt_text import LONGEST, SHORTEST, AltText, alt_text
from captioner.outputs.heatmap import heatmap
from captioner.types import Caption

_MANY = 8  # from here on, progress is shown


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMG",
        help="an image, a folder of images, or a pattern such as 'p/*.jpg' or 'p/**/*.jpg'",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="model folder, .tflite file, or a served model: grpc://host:port/name, http://host:port/name "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--strategy",
        help="how words are chosen: greedy, 'beam(width=5, n_best=3)' ...; `captioner models` lists them all",
    )
    parser.add_argument("--recursive", action="store_true", help="search the sub-folders of folders, too")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each image")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="with --json: add where the model looked, [words][rows][columns]",
    )
    parser.add_argument("--alt-text", action="store_true", help="make alternative texts of the captions")
    parser.add_argument(
        "--max-chars",
        type=int,
        metavar="N",
        help=f"with --alt-text: at most so many characters, {SHORTEST} or more (default: {LONGEST})",
    )
    parser.add_argument(
        "--heatmap",
        metavar="OUT",
        help="draw where the model looked: a .png or .gif file for one image, or a folder, which gets a .png for each "
        "image under that image's own name and sub-folder",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="with --heatmap: replace files that are there"
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="images at a time (default: %(default)s)"
    )
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Captions the images; 1 if some of several failed."""
    _check(options)
    files = image_files(options.images, options.recursive)
    alone = files.paths == options.images and len(files.paths) == 1
    for line in files.notes():
        note(options, line)
    if not files.paths and len(files.errors) == 1:
        raise ImageError(files.errors[0])
    for error in files.errors:
        tell(str(error))
    if not files.paths:
        raise ImageError("nothing to caption; see above")
    targets = (
        heatmap_files(files.paths, options.heatmap, alone, options.overwrite)
        if options.heatmap is not None
        else {}
    )
    with load(options.model, **({"trust": options.trust} if options.trust else {})) as model:
        outcome = _Outcome(len(files.paths) + len(files.errors), failed=len(files.errors))
        captions = model.caption_many(files.paths, options.strategy, options.batch_size)
        terminal = sys.stderr.isatty()
        try:
            with progress_bar(
                total=len(files.paths), disable=options.quiet or len(files.paths) < _MANY
            ) as bar:
                for path, caption in zip(files.paths, captions, strict=True):
                    if terminal:
                        bar.clear()
                    outcome.count(_one(model, path, caption, options, alone, targets))
                    if not bar.update() and terminal:
                        bar.refresh()  # it stands below the captions while the next batch is computed
        except (KeyboardInterrupt, CaptionerError):
            outcome.close(stopped=True)
            raise
    outcome.close()
    if alone and outcome.failed:
        return CaptionerError.exit_code
    return 1 if outcome.failed else 0


def _check(options: argparse.Namespace) -> None:
    """Checks the options before a model is loaded."""
    if options.attention and not options.json:
        raise SpecError("--attention is a part of what --json prints: pass both, or --heatmap for an image")
    if options.max_chars is not None and not options.alt_text:
        raise SpecError("--max-chars is about alternative texts: pass --alt-text too")
    if options.overwrite and options.heatmap is None:
        raise SpecError("--overwrite is about heatmaps: pass --heatmap OUT too")
    if options.max_chars is not None:
        checks.integer(options.max_chars, "--max-chars", SHORTEST, unit="characters")
    checks.integer(options.batch_size, "--batch-size", 1)


def _one(
    model: Captioner,
    path: str,
    caption: Caption,
    options: argparse.Namespace,
    alone: bool,
    targets: Mapping[str, Path],
) -> bool:
    """Prints the caption of one image and draws its heatmap; returns whether all of it worked."""
    alt = None
    if options.alt_text and caption.ok:
        confidence = model.confidence(caption)
        try:
            alt = alt_text(caption, options.max_chars or LONGEST, confidence)
        except DataError as error:
            caption = replace(caption, error=f"{path}: {error}")
    _print(path, caption, options, alt, alone)
    if not caption.ok:
        return False
    if path in targets:
        try:
            heatmap(path, caption).save(targets[path], overwrite=True)
        except CaptionerError as error:
            tell(f"{path}: no heatmap: {error}")
            return False
    return True


class _Outcome:
    """Counts of captioned, skipped and failed images."""

    def __init__(self, total: int, failed: int):
        self.total, self.done, self.failed = total, failed, failed

    def count(self, good: bool) -> None:
        self.done += 1
        self.failed += not good

    def close(self, stopped: bool = False) -> None:
        """The last line, where there is something to say."""
        if self.total > 1 and (self.failed or stopped):
            tell(f"{self.done - self.failed} of {self.total} images captioned, {self.failed} failed")


def _print(
    path: str, caption: Caption, options: argparse.Namespace, alt: AltText | None, alone: bool
) -> None:
    if options.json:
        row = _row(path, caption, options.attention)
        if options.alt_text:
            row |= _of(alt or AltText(""))
        print(json.dumps(row, ensure_ascii=False), flush=True)
    if not caption.ok:
        tell(str(caption.error))
    elif not options.json:
        text = caption.text if alt is None else alt.text
        print(one_line(text if alone else f"{path}: {text}"), flush=True)
        for other in () if alt else caption.alternatives:
            print(one_line(f"    {other.text}"), flush=True)


def _of(alt: AltText) -> dict[str, Any]:
    return {"alt_text": alt.text, "confidence": alt.confidence, "flagged": alt.flagged}


def _row(path: str, caption: Caption, attention: bool) -> dict[str, Any]:
    row = {
        "image": path,
        "caption": caption.text,
        "score": _finite(caption.score),
        "logp": _finite(caption.logp),
        "words": list(caption.words),
        "word_logp": [_finite(logp) for logp in caption.word_logp],
        "alternatives": [
            {"caption": other.text, "score": _finite(other.score), "logp": _finite(other.logp)}
            for other in caption.alternatives
        ],
        "error": caption.error,
    }
    if attention:
        maps = caption.attention
        # Four decimals say where a model looked, in a third of the space.
        row["attention"] = None if maps is None else np.round(np.asarray(maps, np.float64), 4).tolist()
    return row


def _finite(value: float) -> float | None:
    """The number, or None where JSON has none (NaN, infinity)."""
    return value if math.isfinite(value) else None
