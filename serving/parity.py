"""Whether several engines say the same of the same images: `python serving/parity.py MODEL OTHER ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import captioner
from captioner import checks
from captioner.cli.image_files import image_files
from captioner.cli.parser import Parser
from captioner.errors import DataError
from captioner.programs import run_program
from captioner.types import Caption

ABOUT = """\
MODEL and OTHER are whatever captioner.load opens: model folders, exported versions, grpc://host:port/name,
http://host:port/name. Every image is captioned by each of them, and the others are compared with the first:
words, scores, and which images they refuse. Exit code 1 if any caption differs."""


@dataclass(frozen=True)
class Agreement:
    """How far a model agrees with the first one.

    Attributes:
        source: str.
        images: int.
        same: int. Images that both gave the same words, or that both refused.
        refused: int. Images it gave no caption.
        score: float. The largest difference of scores where the words are the same.
        differing: tuple of (path, first caption, this caption).
    """

    source: str
    images: int
    same: int
    refused: int
    score: float
    differing: tuple[tuple[str, str, str], ...] = ()


def compare(
    source: str, paths: Sequence[str], first: Sequence[Caption], other: Sequence[Caption]
) -> Agreement:
    """Compares captions of the same images.

    Args:
        source: str. A name for the second ones.
        paths: N images.
        first: N captions.
        other: N captions.

    Returns:
        `Agreement`.

    Example:
        >>> dog, cat = Caption("a dog", -1.0), Caption("a cat", -1.5)
        >>> found = compare("x", ["1.jpg", "2.jpg"], [dog, dog], [cat, Caption("a dog", -1.25)])
        >>> found.same, found.score
        (1, 0.25)
    """
    pairs = list(zip(paths, first, other, strict=True))
    # Refusals are worded by whoever refuses; that both refuse is what counts.
    same = [(a, b) for _, a, b in pairs if a.ok == b.ok and a.text == b.text]
    return Agreement(
        source,
        len(pairs),
        len(same),
        sum(not caption.ok for caption in other),
        max((abs(a.score - b.score) for a, b in same), default=0.0),
        tuple((p, str(a), str(b)) for p, a, b in pairs if a.ok != b.ok or a.text != b.text),
    )


def table(found: Sequence[Agreement]) -> str:
    """The agreements as Markdown."""
    lines = [
        "| model | images | same | refused | largest difference of scores |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {f.source} | {f.images} | {f.same} | {f.refused} | {f.score:.1e} |" for f in found]
    return "\n".join(lines)


def run(given: argparse.Namespace) -> list[Agreement]:
    """Captions all images with all models.

    Raises:
        CaptionerError: if a model cannot be opened or there is no image.
    """
    if given.limit is not None:
        checks.integer(given.limit, "--limit", 1)
    files = image_files(given.images)
    for line in files.notes():
        print(f"agreement.py: {line}", file=sys.stderr)
    if files.errors:
        raise DataError(files.errors[0])
    if not files.paths:
        raise DataError(f"expected images in {', '.join(given.images)}, found none")
    paths = files.paths[: given.limit]
    captions = []
    for source in (given.model, *given.others):
        with captioner.load(source) as model:
            captions.append(list(model.caption_many(paths)))
        print(f"agreement.py: {source}: {len(paths)} images", file=sys.stderr, flush=True)
    return [
        compare(source, paths, captions[0], each)
        for source, each in zip(given.others, captions[1:], strict=True)
    ]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="agreement.py", description=ABOUT)
    build.add_argument("model", metavar="MODEL", help="the one to compare with")
    build.add_argument("others", metavar="OTHER", nargs="+", help="those that should say the same")
    build.add_argument("--images", nargs="+", required=True, metavar="PATH", help="files and folders")
    build.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    return build


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = parser().parse_args(arguments)
    return run_program("agreement.py", lambda: show(given.model, run(given)))


def show(model: str, found: Sequence[Agreement]) -> int:
    """Prints what was found; returns 1 if any caption differs."""
    print(table(found))
    for each in found:
        for path, one, other in each.differing[:10]:
            print(f"{path}\n  {model}: {one}\n  {each.source}: {other}")
        if len(each.differing) > 10:
            print(f"and {len(each.differing) - 10} more of {each.source}")
    return int(any(each.differing for each in found))


if __name__ == "__main__":
    sys.exit(main())
