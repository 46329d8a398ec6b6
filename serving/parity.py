"""Compares the captions of several engines on the same images: `python serving/parity.py MODEL OTHER ...`."""

from __future__ import annotations

from captioner.programs import program  # first: it sets the import path

# isort: split
import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import captioner
from captioner import checks
from captioner.cli.image_files import image_files
from captioner.cli.parser import Parser
from captioner.errors import DataError
from captioner.types import Caption

ABOUT = """\
MODEL and OTHER are whatever captioner.load opens: model folders, exported versions, grpc://host:port/name,
http://host:port/name. Every image is captioned by each of them, and the others are compared with the first:
words, scores, and which images they reject. Exit code 1 if any caption differs."""

_MOST_SHOWN = 10  # captions that differ, of one model


@dataclass(frozen=True)
class Parity:
    """How closely a model reproduces the captions of the first one.

    Attributes:
        source: str.
        images: int.
        same: int. Images for which both gave the same words, or which both rejected.
        rejected: int. Images it gave no caption.
        score_difference: float. The largest absolute difference of scores where the words are the same.
        differing: tuple of (path, caption of the first, caption of this one).
    """

    source: str
    images: int
    same: int
    rejected: int
    score_difference: float
    differing: tuple[tuple[str, str, str], ...] = ()


def compare(
    source: str, paths: Sequence[str], reference: Sequence[Caption], captions: Sequence[Caption]
) -> Parity:
    """Compares captions of the same images.

    Args:
        source: str. The name of the model whose captions are compared.
        paths: N images.
        reference: N captions of the first model.
        captions: N captions.

    Returns:
        `Parity`.

    Raises:
        ValueError: if the lengths differ.

    Example:
        >>> dog, cat = Caption("a dog", -1.0), Caption("a cat", -1.5)
        >>> parity = compare("x", ["1.jpg", "2.jpg"], [dog, dog], [cat, Caption("a dog", -1.25)])
        >>> parity.same, parity.score_difference
        (1, 0.25)
    """
    rows = list(zip(paths, reference, captions, strict=True))
    # Engines word their errors differently; that both reject an image is what counts.
    same = [(a, b) for _, a, b in rows if a.ok == b.ok and a.text == b.text]
    return Parity(
        source,
        len(rows),
        len(same),
        sum(not caption.ok for caption in captions),
        max((abs(a.score - b.score) for a, b in same), default=0.0),
        tuple((path, str(a), str(b)) for path, a, b in rows if a.ok != b.ok or a.text != b.text),
    )


def table(rows: Sequence[Parity]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| model | images | same | rejected | largest difference of scores |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.source} | {r.images} | {r.same} | {r.rejected} | {r.score_difference:.1e} |" for r in rows
    ]
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> list[Parity]:
    """Captions all images with all models.

    Raises:
        CaptionerError: if a model cannot be opened or there is no image.
    """
    if options.limit is not None:
        checks.integer(options.limit, "--limit", 1)
    files = image_files(options.images)
    for line in files.notes():
        print(f"parity.py: {line}", file=sys.stderr)
    if files.errors:
        raise DataError(files.errors[0])
    if not files.paths:
        raise DataError(f"expected images in {', '.join(options.images)}, got none")
    paths = files.paths[: options.limit]
    captions = []
    for source in (options.model, *options.others):
        with captioner.load(source) as model:
            captions.append(list(model.caption_many(paths)))
        print(f"parity.py: {source}: {len(paths)} images", file=sys.stderr, flush=True)
    return [
        compare(source, paths, captions[0], others)
        for source, others in zip(options.others, captions[1:], strict=True)
    ]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="parity.py", description=ABOUT)
    build.add_argument("model", metavar="MODEL", help="the model to compare with")
    build.add_argument("others", metavar="OTHER", nargs="+", help="models that should give the same captions")
    build.add_argument("--images", nargs="+", required=True, metavar="PATH", help="files and folders")
    build.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    return build


def run(options: argparse.Namespace) -> int:
    """Prints the comparison; returns 1 if any caption differs."""
    rows = measure(options)
    print(table(rows))
    for row in rows:
        for path, expected, actual in row.differing[:_MOST_SHOWN]:
            print(f"{path}\n  {options.model}: {expected}\n  {row.source}: {actual}")
        if len(row.differing) > _MOST_SHOWN:
            print(f"and {len(row.differing) - _MOST_SHOWN} more of {row.source}")
    return int(any(row.differing for row in rows))


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
