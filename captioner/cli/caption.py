"""Describes images in sentences.

One image gives a sentence; several give one line each, "path: sentence". A folder stands for the images in it, sorted
by name, with --recursive also for those in its sub-folders. An image that fails does not stop the batch; a last line
on standard error counts the failures.

With --json each image gives a line with a JSON object, in UTF-8: image, caption, score, logp, words, word_logp,
alternatives, error. `captioner evaluate` reads these lines as predictions. A model that knows which images are unlike
anything it was trained on (training/fit_ood.py) prints "Perhaps: " before what may well be wrong, and "no caption: ..."
instead of what is bound to be; its objects also have text (what to show; caption is the sentence in any case), outcome
(caption, hedged or declined) and ood_score. With --attention each object also has the
attention maps for the report of `captioner evaluate --html`: a number for each word and location, or null for a model
without attention.

With --alt-text the captions become texts for the alt attribute of a web page: a capital, a full stop, no "an image
of", a bounded length; those of low confidence, if the model was calibrated, begin with "Perhaps: " ("Vielleicht: " in
German, "(?) " in languages without rules). The JSON objects then also have alt_text, confidence (null if not
calibrated) and flagged.
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
from captioner.cli.messages import one_line, print_error, print_note
from captioner.cli.parser import add_trust
from captioner.cli.progress import progress_bar
from captioner.errors import CaptionerError, DataError, ImageError, SpecError
from captioner.outputs.alt_text import LONGEST, SHORTEST, AltText, alt_text
from captioner.outputs.heatmap import heatmap
from captioner.text.languages import LANGUAGES
from captioner.types import DECLINED, Caption

_MANY = 8  # images from which on progress is shown


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
        help="search strategy: greedy, 'beam(width=5, n_best=3)' ...; `captioner models` lists them all (default: the "
        "model's)",
    )
    parser.add_argument("--recursive", action="store_true", help="search sub-folders as well")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each image")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="with --json: add the attention maps, [words][rows][columns]",
    )
    parser.add_argument("--alt-text", action="store_true", help="turn the captions into alternative texts")
    parser.add_argument(
        "--max-chars",
        type=int,
        metavar="N",
        help=f"with --alt-text: largest number of characters, {SHORTEST} or more (default: {LONGEST})",
    )
    parser.add_argument(
        "--language",
        metavar="CODE",
        help=f"with --alt-text: language of the captions, {', '.join(LANGUAGES)} or another code such as fr (default: "
        "what the model records, English for a served model)",
    )
    parser.add_argument(
        "--heatmap",
        metavar="OUT",
        help="draw the attention: a .png or .gif file for one image, or a folder, which gets a .png for each image "
        "under the image's name and sub-folder",
    )
    parser.add_argument("--overwrite", action="store_true", help="with --heatmap: replace existing files")
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
        print_note(options, line)
    if not files.paths and len(files.errors) == 1:
        raise ImageError(files.errors[0])
    for error in files.errors:
        print_error(str(error))
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
                        bar.refresh()  # shown below the captions while the next batch is computed
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
        raise SpecError("--attention is part of the output of --json: pass both, or --heatmap for an image")
    if options.max_chars is not None and not options.alt_text:
        raise SpecError("--max-chars applies to alternative texts: pass --alt-text too")
    if options.language is not None:
        if not options.alt_text:
            raise SpecError("--language applies to alternative texts: pass --alt-text too")
        checks.language_code(options.language, "--language")
    if options.overwrite and options.heatmap is None:
        raise SpecError("--overwrite applies to heatmaps: pass --heatmap OUT too")
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
    """Prints the caption of one image and draws its heatmap; returns whether both succeeded."""
    alt = None
    if options.alt_text and caption.ok:
        confidence = model.confidence(caption)
        try:
            alt = alt_text(
                caption,
                options.max_chars or LONGEST,
                confidence,
                language=options.language or model.language,
            )
        except DataError as error:
            caption = replace(caption, error=f"{path}: {error}")
    _print(path, caption, options, alt, alone)
    if not caption.ok:
        return False
    if path in targets:
        try:
            heatmap(path, caption).save(targets[path], overwrite=True)
        except CaptionerError as error:
            print_error(f"{path}: no heatmap: {error}")
            return False
    return True


class _Outcome:
    """Counts of captioned, skipped and failed images."""

    def __init__(self, total: int, failed: int):
        self.total, self.done, self.failed = total, failed, failed

    def count(self, ok: bool) -> None:
        self.done += 1
        self.failed += not ok

    def close(self, stopped: bool = False) -> None:
        """Prints the counts if images failed or the program was stopped."""
        if self.total > 1 and (self.failed or stopped):
            print_error(f"{self.done - self.failed} of {self.total} images captioned, {self.failed} failed")


def _print(
    path: str, caption: Caption, options: argparse.Namespace, alt: AltText | None, alone: bool
) -> None:
    if options.json:
        row = _row(path, caption, options.attention)
        if options.alt_text:
            row |= _alt_text_fields(alt or AltText(""))
        print(json.dumps(row, ensure_ascii=False), flush=True)
    if not caption.ok:
        print_error(str(caption.error))
    elif not options.json:
        text = caption.text if alt is None else alt.text
        print(one_line(text if alone else f"{path}: {text}"), flush=True)
        for other in () if alt or caption.outcome == DECLINED else caption.alternatives:
            print(one_line(f"    {other.caption}"), flush=True)


def _alt_text_fields(alt: AltText) -> dict[str, Any]:
    return {"alt_text": alt.text, "confidence": alt.confidence, "flagged": alt.flagged}


def _row(path: str, caption: Caption, attention: bool) -> dict[str, Any]:
    row = {
        "image": path,
        "caption": caption.caption,
        "score": _finite(caption.score),
        "logp": _finite(caption.logp),
        "words": list(caption.words),
        "word_logp": [_finite(logp) for logp in caption.word_logp],
        "alternatives": [
            {"caption": other.caption, "score": _finite(other.score), "logp": _finite(other.logp)}
            for other in caption.alternatives
        ],
        "error": caption.error,
    }
    if caption.outcome is not None:
        row |= {"text": caption.text, "outcome": caption.outcome, "ood_score": caption.ood_score}
    if attention:
        maps = caption.attention
        # Four decimals suffice for heatmaps, in a third of the space.
        row["attention"] = None if maps is None else np.round(np.asarray(maps, np.float64), 4).tolist()
    return row


def _finite(value: float) -> float | None:
    """The number, or None for NaN and infinity, which JSON cannot hold."""
    return value if math.isfinite(value) else None
