"""Measures how far metrics agree with people: Kendall's tau-c between scores and ratings of image-caption pairs.

    python training/analyze.py human_agreement --captions dataset_flickr8k.json --ratings ExpertAnnotations.txt

Each row of the ratings names an image, a caption of Flickr8k (`file.jpg#number`), often another image's, and what
three experts thought of the pair, from 1 to 4 (Hodosh et al. 2013). The caption is scored against the five
captions of the image; pairs whose caption is one of these five are left out, and each rating counts by itself, as is
usual (Hessel et al. 2021, "CLIPScore", where CIDEr gets 43.9).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.caption_files import read_text
from captioner.errors import DataError
from captioner.metrics import METRICS
from captioner.text import words
from training.data.datasets.flickr import karpathy

# The score of each metric that is compared; of a single sentence, BLEU-4 is mostly 0.
SCORES = {"bleu": "BLEU-1", "rouge_l": "ROUGE-L", "cider_d": "CIDEr-D"}


def read_captions(path: Path) -> dict[str, list[str]]:
    """The captions of every image in a Karpathy JSON file, by its file name."""
    return {entry.name: entry.captions for entry in karpathy(path)}


def read_ratings(path: Path) -> list[tuple[str, str, int, list[int]]]:
    """Rows of a ratings file: image, the image a caption is from, its number there, and the ratings."""
    rows = []
    for number, line in enumerate(read_text(path, "ratings").split("\n"), 1):
        line = line.rstrip("\r")
        if not line:
            continue
        fields = line.split("\t")
        source, separator, index = fields[1].partition("#") if len(fields) > 2 else ("", "", "")
        if not separator or not all(field.isdecimal() for field in [index, *fields[2:]]):
            raise DataError(
                f"expected 'image.jpg<tab>other.jpg#number<tab>1<tab>2 ...' in line {number} of "
                f"{str(path)!r}, got {line[:80]!r}"
            )
        rows.append((fields[0], source, int(index), [int(field) for field in fields[2:]]))
    return rows


def pairs(
    captions: dict[str, list[str]], ratings: Sequence[tuple[str, str, int, list[int]]]
) -> tuple[list[list[str]], list[list[list[str]]], list[list[int]]]:
    """Candidates, their references and their ratings, as words; pairs that were not rated are left out.

    Raises:
        DataError: if no pair is left.
    """
    candidates, references, rated = [], [], []
    for image, source, index, scores in ratings:
        if image not in captions or index >= len(captions.get(source, ())):
            continue
        candidate = captions[source][index]
        if candidate in captions[image]:
            continue
        candidates.append(words(candidate))
        references.append([words(caption) for caption in captions[image]])
        rated.append(scores)
    if not candidates:
        raise DataError("none of the rated pairs has its image and its caption among these captions")
    return candidates, references, rated


def agreement(scores: Sequence[float], rated: Sequence[Sequence[int]]) -> float:
    """Kendall's tau-c (Stuart 1953), each rating by itself: 1 for the same order, 0 for none.

    Example:
        >>> round(agreement([0.1, 0.2, 0.3], [[1], [2], [3]]), 6)
        1.0
    """
    from scipy.stats import kendalltau

    flat = [(score, rating) for score, ratings in zip(scores, rated, strict=True) for rating in ratings]
    return float(kendalltau(*zip(*flat, strict=True), variant="c").statistic)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--captions", type=Path, required=True, help="Karpathy JSON, plain or .gz")
    parser.add_argument("--ratings", type=Path, required=True, help="ExpertAnnotations.txt, plain or .gz")


def run(options: argparse.Namespace) -> None:
    """Prints tau-c of each metric."""
    captions, ratings = read_captions(options.captions), read_ratings(options.ratings)
    candidates, references, rated = pairs(captions, ratings)
    count = sum(map(len, rated))
    print(f"{len(candidates):,} of {len(ratings):,} pairs, {count:,} ratings; tau-c x100")
    for metric, name in SCORES.items():
        scores: Any = METRICS.build(metric).score(candidates, references).per_image[name]
        print(f"{name:8} {100 * agreement(scores, rated):5.1f}", flush=True)
