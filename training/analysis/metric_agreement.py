"""How far our metrics are from pycocoevalcap, and what tokenisation changes: people's captions as candidates.

    python training/analysis/metric_agreement.py --captions dataset_flickr8k.json.gz

Every caption of the split is scored once as the candidate against the other captions of its image (for the
test split of Flickr8k: 5,000 captions, four references each). Three tables in one:

- on our words: our metrics, and the unchanged scorers of pycocoevalcap on the same words;
- on Penn Treebank tokens of both sides, which is what coco-caption reports: the same two;
- "as written": pycocoevalcap on Penn Treebank tokens when the candidate was first put into our words, as the
  sentences of a model are ("t shirt" against a reference's "t-shirt").

METEOR has no second implementation here: ours is theirs. Needs the extra `official` and Java; takes minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from captioner.cli.parser import Parser
from captioner.cli.progress import progress_bar
from captioner.errors import DataError
from captioner.metrics import METRICS
from captioner.metrics.base import Candidates, References
from captioner.metrics.official import official_scores, ptb_words
from captioner.programs import run_program
from captioner.text import words
from training.data.datasets.flickr import karpathy

COMPARED = ("bleu", "rouge_l", "cider_d", "meteor")


def read_captions(path: Path, split: str) -> list[list[str]]:
    """Reads the raw captions of a split from a Karpathy JSON file, plain or gzipped.

    Args:
        path: Path.
        split: str, such as "test".

    Returns:
        The captions of each image.

    Raises:
        DataError: if the file or the split is missing, or the file is of another kind.
    """
    entries = list(karpathy(path))
    found = [entry.captions for entry in entries if entry.split == split]
    if not found:
        known = ", ".join(sorted({entry.split for entry in entries}))
        raise DataError(f"no image of split {split!r} in {str(path)!r}; it holds: {known}")
    lonely = sum(len(captions) < 2 for captions in found)
    if lonely:
        raise DataError(
            f"expected two captions or more an image, but {lonely} images of {split!r} have fewer"
        )
    return found


def leave_one_out(images: Sequence[Sequence[Any]]) -> tuple[list[Any], list[list[Any]]]:
    """Each caption as a candidate, and the other captions of its image as its references.

    Example:
        >>> leave_one_out([["a", "b", "c"]])
        (['a', 'b', 'c'], [['b', 'c'], ['a', 'c'], ['a', 'b']])
    """
    candidates, references = [], []
    for captions in images:
        for i, caption in enumerate(captions):
            candidates.append(caption)
            references.append([*captions[:i], *captions[i + 1 :]])
    return candidates, references


def official_figures(candidates: Candidates, references: References) -> dict[str, float]:
    """The figures of pycocoevalcap for some words."""
    official = official_scores(candidates, references)
    return {name: value for row in COMPARED for name, value in official[row].corpus.items()}


def our_figures(candidates: Candidates, references: References) -> dict[str, float]:
    """Our figures for some words, of the metrics of which we have an implementation."""
    found: dict[str, float] = {}
    for name in COMPARED:
        if name != "meteor":
            found |= METRICS.build(name).score(candidates, references).corpus
    return found


def ptb_images(images: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """Penn Treebank tokens of every caption, in the same shape."""
    tokens = iter(ptb_words([caption for captions in images for caption in captions]))
    return [[next(tokens) for _ in captions] for captions in images]


def show(
    ours: dict[str, float],
    theirs: dict[str, float],
    ours_ptb: dict[str, float],
    theirs_ptb: dict[str, float],
    written: dict[str, float],
) -> None:
    """Prints the table; `ours` may lack figures that only pycocoevalcap has."""
    block = f"{'ours':>7s} {'pycoco':>7s} {'difference':>10s}"
    print(f"{'x100':8s} | {'our words':^26s} | {'Penn Treebank tokens':^33s} | {'as written':^14s}")
    print(f"{'':8s} | {block} | {block} {'effect':>6s} | {'pycoco':>7s} {'effect':>6s}")
    for name, value in theirs.items():
        row = f"{name:8s} |"
        for mine, official in ((ours, theirs), (ours_ptb, theirs_ptb)):
            if name in mine:
                row += f" {mine[name]:7.2f} {official[name]:7.2f} {mine[name] - official[name]:10.0e}"
            else:
                row += f" {'-':>7s} {official[name]:7.2f} {'-':>10s}"
            row += f" {official[name] - value:+6.2f} |" if official is theirs_ptb else " |"
        print(f"{row} {written[name]:7.2f} {written[name] - value:+6.2f}")
    worst = max(abs(a[n] - b[n]) for a, b in ((ours, theirs), (ours_ptb, theirs_ptb)) for n in a)
    print(f"\nlargest difference on the same tokens: {worst:.0e} points; effect: against pycoco on our words")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--captions", type=Path, required=True, help="Karpathy JSON, plain or .gz")
    parser.add_argument("--split", default="test", help="which split (default: test)")

    def work() -> None:
        given = parser.parse_args(arguments)
        texts = read_captions(given.captions, given.split)
        # The tokeniser first: without Java the program stops here, before any long work.
        by_ptb = ptb_images(texts)
        ours = [[words(caption) for caption in captions] for captions in texts]
        written = ptb_images([[" ".join(caption) for caption in captions] for captions in ours])
        tables = []
        with progress_bar(total=5, desc="score", unit="table") as bar:
            for images in (ours, by_ptb):
                candidates, references = leave_one_out(images)
                for figures in (our_figures, official_figures):
                    tables.append(figures(candidates, references))
                    bar.update()
            tables.append(official_figures(leave_one_out(written)[0], leave_one_out(by_ptb)[1]))
        print(
            f"{sum(map(len, texts))} captions of {len(texts)} images ({given.split}), each against the others\n"
        )
        show(*tables)

    return run_program("metric_agreement", work)


if __name__ == "__main__":
    sys.exit(main())
