"""Measures how far our metrics are from pycocoevalcap, and what tokenisation changes, on captions that people wrote.

    python training/analyze.py metric_agreement --captions dataset_flickr8k.json.gz

Every caption of the split is scored once as the candidate against the other captions of its image (for the
test split of Flickr8k: 5,000 captions, four references each). Three tables in one:

- on our words: our metrics, and the unchanged scorers of pycocoevalcap on the same words;
- on Penn Treebank tokens of both sides, which is what coco-caption reports: the same two;
- "as written": pycocoevalcap on Penn Treebank tokens when the candidate was first put into our words, as the
  sentences of a model are ("t shirt" against a reference's "t-shirt").

METEOR has no second implementation here: ours is theirs. Needs the extra `official` and Java; takes minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.cli.progress import progress_bar
from captioner.errors import DataError
from captioner.metrics import METRICS
from captioner.metrics.base import Candidates, References
from captioner.metrics.official import official_scores, ptb_words
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
    captions = [entry.captions for entry in entries if entry.split == split]
    if not captions:
        known = ", ".join(sorted({entry.split for entry in entries}))
        raise DataError(f"no image of split {split!r} in {str(path)!r}; it holds: {known}")
    alone = sum(len(texts) < 2 for texts in captions)
    if alone:
        raise DataError(f"expected two captions or more an image, but {alone} images of {split!r} have fewer")
    return captions


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


def official_metrics(candidates: Candidates, references: References) -> dict[str, float]:
    """The metrics of pycocoevalcap on these words."""
    official = official_scores(candidates, references)
    return {name: value for row in COMPARED for name, value in official[row].corpus.items()}


def our_metrics(candidates: Candidates, references: References) -> dict[str, float]:
    """Our metrics on these words, those of which we have an implementation."""
    values: dict[str, float] = {}
    for name in COMPARED:
        if name != "meteor":
            values |= METRICS.build(name).score(candidates, references).corpus
    return values


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
    """Prints the table; `ours` may lack metrics that only pycocoevalcap has."""
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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--captions", type=Path, required=True, help="Karpathy JSON, plain or .gz")
    parser.add_argument("--split", default="test", help="which split (default: test)")


def run(options: argparse.Namespace) -> None:
    """Prints the table."""
    texts = read_captions(options.captions, options.split)
    # The tokeniser first: without Java the program stops here, before any long work.
    by_ptb = ptb_images(texts)
    ours = [[words(caption) for caption in captions] for captions in texts]
    written = ptb_images([[" ".join(caption) for caption in captions] for captions in ours])
    tables = []
    with progress_bar(total=5, desc="score", unit="table") as bar:
        for images in (ours, by_ptb):
            candidates, references = leave_one_out(images)
            for metrics in (our_metrics, official_metrics):
                tables.append(metrics(candidates, references))
                bar.update()
        tables.append(official_metrics(leave_one_out(written)[0], leave_one_out(by_ptb)[1]))
    count = sum(map(len, texts))
    print(f"{count} captions of {len(texts)} images ({options.split}), each against the others\n")
    show(*tables)
