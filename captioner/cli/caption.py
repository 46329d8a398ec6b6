"""Describes pictures in sentences.

One picture gives a sentence; several give a line each, "path: sentence". A folder stands for the pictures in
it, by name. With --json each picture gives a JSON object on a line of its own: image, caption, score, logp,
words, word_logp, alternatives, error. These lines are what `captioner evaluate` takes as predictions.
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from captioner.api import DEFAULT_MODEL, load
from captioner.errors import ImageError
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
        "--heatmap",
        metavar="OUT",
        help="draw where the model looked: a .png or .gif file, or for several pictures a folder for their .png files",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="pictures at a time (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Captions the pictures; 1 if some could not be read."""
    paths = [path for given in options.images for path in pictures(given)]
    with load(options.model) as model:
        if len(options.images) == 1 and paths == options.images:
            caption = model.caption(paths[0], options.strategy)
            _print(paths[0], caption, options.json, alone=True)
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
            _print(path, caption, options.json)
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


def _print(path: str, caption: Caption, as_json: bool, alone: bool = False) -> None:
    if as_json:
        print(json.dumps(_row(path, caption), ensure_ascii=False))
    if not caption.ok:
        print(f"captioner: {caption.error}", file=sys.stderr)
    elif not as_json:
        print(caption.text if alone else f"{path}: {caption.text}")
        for other in caption.alternatives:
            print(f"    {other.text}")


def _row(path: str, caption: Caption) -> dict[str, Any]:
    return {
        "image": path,
        "caption": caption.text,
        "score": caption.score,
        "logp": caption.logp,
        "words": list(caption.words),
        "word_logp": list(caption.word_logp),
        "alternatives": [{"caption": c.text, "score": c.score, "logp": c.logp} for c in caption.alternatives],
        "error": caption.error,
    }
