"""Describes pictures in sentences.

One picture gives a sentence; several give a line each, "path: sentence". A folder stands for the pictures in
it, by name. With --json each picture gives a JSON object on a line of its own: image, caption, score, logp,
words, word_logp, alternatives, error. These lines are what `captioner evaluate` takes as predictions. With
--attention each also has where the model looked, for the report of `captioner evaluate --html`: a number for each
word and place, or null for a model that does not attend.

With --alt-text sentences are made for the alt attribute of a web page: a capital, a full stop, no "a picture of", not
too long; "Perhaps: " stands before one that the model, if it was calibrated, is not sure of. The JSON objects then
also have alt_text, confidence (null if not calibrated) and flagged.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from captioner.alt_texts import LONGEST, AltText, alt_text
from captioner.api import DEFAULT_MODEL, Captioner, load
from captioner.errors import ImageError, SpecError
from captioner.heatmaps import heatmap
from captioner.inputs import SUFFIXES
from captioner.types import Caption

_MANY = 8  # from here on, progress is shown


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMG",
        help="a picture, a folder of pictures, or a pattern such as 'p/*.jpg'",
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
    parser.add_argument("--json", action="store_true", help="print a JSON object for each picture")
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
        help=f"with --alt-text: at most so many characters (default: {LONGEST})",
    )
    parser.add_argument(
        "--heatmap",
        metavar="OUT",
        help="draw where the model looked: a .png or .gif file, or for several pictures a folder for their .png files",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="pictures at a time (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Captions the pictures; 1 if some could not be read."""
    if options.attention and not options.json:
        raise SpecError("--attention is a part of what --json prints: pass both, or --heatmap for a picture")
    if options.max_chars is not None and not options.alt_text:
        raise SpecError("--max-chars is about alternative texts: pass --alt-text too")
    paths = [path for given in options.images for path in pictures(given)]
    with load(options.model) as model:
        if len(options.images) == 1 and paths == options.images:
            caption = model.caption(paths[0], options.strategy)
            _print(paths[0], caption, options, _alt_text(model, caption, options), alone=True)
            if options.heatmap:
                heatmap(paths[0], caption).save(options.heatmap)
            return 0
        failed = 0
        progress = Progress(len(paths), sys.stderr)
        for path, caption in zip(
            paths, model.caption_many(paths, options.strategy, options.batch_size), strict=True
        ):
            progress.clear()
            failed += not caption.ok
            _print(path, caption, options, _alt_text(model, caption, options))
            if options.heatmap and caption.ok:
                heatmap(path, caption).save(Path(options.heatmap, f"{Path(path).name}.png"))
            progress.step()
        progress.clear()
    return 1 if failed else 0


def pictures(given: str) -> list[str]:
    """The pictures that an argument stands for: itself, those of a folder, or those that a pattern matches.

    Args:
        given: str.

    Returns:
        list of str, by name; never empty.

    Raises:
        ImageError: if a folder holds no picture, or a pattern matches nothing.
    """
    path = Path(given)
    if path.is_dir():
        found = sorted(str(p) for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise ImageError(
                f"no picture in the folder {given}: expected files ending in {', '.join(SUFFIXES)}"
            )
        return found
    if not path.exists() and glob.has_magic(given):
        found = sorted(glob.glob(given, recursive=True))
        if not found:
            raise ImageError(f"no file matches {given}")
        return found
    return [given]


class Progress:
    """Says on a stream how far a long job is: in place on a terminal, else a line every ten seconds.

    Args:
        total: int. How many things there are.
        stream: text stream.
    """

    def __init__(self, total: int, stream: TextIO):
        self.total, self.stream = total, stream
        self.terminal = stream.isatty()
        self.done, self.start = 0, time.monotonic()
        self._shown, self._visible = self.start, False

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        now = time.monotonic()
        if self.total < _MANY or now - self._shown < (0.1 if self.terminal else 10.0):
            return
        rate = self.done / max(now - self.start, 1e-6)
        left = (self.total - self.done) / rate
        text = f"{self.done}/{self.total} pictures, {rate:.1f} a second, {left:.0f} s left"
        self.stream.write(text if self.terminal else text + "\n")
        self.stream.flush()
        self._shown, self._visible = now, self.terminal

    def clear(self) -> None:
        """Takes the line off the terminal, so that other output has it."""
        if self._visible:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._visible = False


def _alt_text(model: Captioner, caption: Caption, options: argparse.Namespace) -> AltText | None:
    if not options.alt_text or not caption.ok:
        return None
    return alt_text(
        caption, LONGEST if options.max_chars is None else options.max_chars, model.confidence(caption)
    )


def _print(
    path: str, caption: Caption, options: argparse.Namespace, alt: AltText | None, alone: bool = False
) -> None:
    if options.json:
        row = _row(path, caption, options.attention)
        if options.alt_text:
            row |= _of(alt or AltText(""))
        print(json.dumps(row, ensure_ascii=False))
    if not caption.ok:
        print(f"captioner: {caption.error}", file=sys.stderr)
    elif not options.json:
        text = caption.text if alt is None else alt.text
        print(text if alone else f"{path}: {text}")
        for other in () if alt else caption.alternatives:
            print(f"    {other.text}")


def _of(alt: AltText) -> dict[str, Any]:
    return {"alt_text": alt.text, "confidence": alt.confidence, "flagged": alt.flagged}


def _row(path: str, caption: Caption, attention: bool) -> dict[str, Any]:
    found = {
        "image": path,
        "caption": caption.text,
        "score": caption.score,
        "logp": caption.logp,
        "words": list(caption.words),
        "word_logp": list(caption.word_logp),
        "alternatives": [{"caption": c.text, "score": c.score, "logp": c.logp} for c in caption.alternatives],
        "error": caption.error,
    }
    if attention:
        maps = caption.attention
        # Four decimals say where a model looked, in a third of the space.
        found["attention"] = None if maps is None else np.round(np.asarray(maps, np.float64), 4).tolist()
    return found
