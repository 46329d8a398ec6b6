"""Counts what a model confuses and presumes: recall and precision of a few English words against the references.

    python training/analyze.py biases runs/flickr8k_lstm/predictions_test.json runs/flickr8k_lstm/references_test.json

The first table is of recall: images on which people agree (three references or more name the thing, and for people none
names the other sex), and what the model names there. The second is of precision: how often a word of the captions
(numbers, colours, a dog) is in any reference. References do not name everything, so it is a lower bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from captioner.caption_files import read_predictions, read_references
from captioner.errors import DataError
from captioner.text import words

_WOMEN = frozenset({"woman", "women", "girl", "girls", "lady", "ladies", "female", "females"})
_MEN = frozenset({"man", "men", "boy", "boys", "guy", "guys", "male", "males"})
_DOGS = frozenset({"dog", "dogs", "puppy", "puppies"})
_THINGS = {
    "dogs": _DOGS,
    "cats": frozenset({"cat", "cats", "kitten", "kittens"}),
    "horses": frozenset({"horse", "horses"}),
    "birds": frozenset({"bird", "birds"}),
    "bicycles": frozenset({"bike", "bikes", "bicycle", "bicycles", "biker", "bikers", "cyclist", "cyclists"}),
    "cars": frozenset({"car", "cars"}),
}
_COLOURS = ("red", "blue", "black", "white", "yellow", "green", "brown", "pink", "orange", "purple")
# Words that claim the same stand together.
_CLAIMS = {
    "a dog or dogs": [_DOGS],
    '"two"': [frozenset({"two"})],
    '"three"': [frozenset({"three"})],
    "a colour": [frozenset({colour}) for colour in _COLOURS],
}
_MIN_REFERENCES = 3


@dataclass(frozen=True)
class RecallRow:
    """What captions name of the images that people agree on.

    Attributes:
        what: str. The concept, such as "dogs".
        images: int. Images on which people agree.
        named: int. Captions of these images that name it.
        instead: str. The concept that it is confused with.
        mistaken: int. Captions of these images that name that one, and not `what`.
        in_training: int or None. Training captions that name it.
    """

    what: str
    images: int
    named: int
    instead: str
    mistaken: int
    in_training: int | None = None


@dataclass(frozen=True)
class PrecisionRow:
    """How often references confirm what captions name.

    Attributes:
        what: str. The concept, such as "a colour".
        captions: int. How often captions name it.
        confirmed: int. How often a reference of the same image names it too.
    """

    what: str
    captions: int
    confirmed: int


def biases(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    training: Iterable[str] | None = None,
) -> tuple[list[RecallRow], list[PrecisionRow]]:
    """Counts both tables.

    Args:
        captions: mapping of image id to the caption of the model.
        references: mapping of image id to the references; images that have no caption are left out.
        training: captions that the model was trained on, default None.

    Returns:
        Rows of recall and rows of precision.

    Raises:
        DataError: if an image has no references.

    Example:
        >>> recall, precision = biases({"1": "a red dog"}, {"1": ["a cat", "the cat sits", "a red cat"]})
        >>> [(row.what, row.mistaken) for row in recall if row.images], precision[-1].confirmed
        ([('cats', 1)], 1)
    """
    missing = sorted(set(captions) - set(references))
    if missing:
        raise DataError(f"expected references of every image, image {missing[0]!r} has none")
    caption_words = {key: frozenset(words(text)) for key, text in captions.items()}
    reference_words = {key: [frozenset(words(text)) for text in references[key]] for key in captions}
    training_words = None if training is None else [frozenset(words(text)) for text in training]

    counts = partial(_recall_row, caption_words, reference_words, training_words)
    recall = [
        counts("women or girls alone", _WOMEN, "men or boys", _MEN, never=_MEN),
        counts("men or boys alone", _MEN, "women or girls", _WOMEN, never=_WOMEN),
    ]
    for what, names in _THINGS.items():
        instead, other = ("people", _MEN | _WOMEN) if names is _DOGS else ("dogs", _DOGS)
        recall.append(counts(what, names, instead, other))
    precision = []
    for what, claims in _CLAIMS.items():
        claimed = [(key, claim) for claim in claims for key, text in caption_words.items() if text & claim]
        confirmed = sum(any(text & claim for text in reference_words[key]) for key, claim in claimed)
        precision.append(PrecisionRow(what, len(claimed), confirmed))
    return recall, precision


def _recall_row(
    captions: Mapping[str, frozenset[str]],
    references: Mapping[str, Sequence[frozenset[str]]],
    training: Sequence[frozenset[str]] | None,
    what: str,
    names: frozenset[str],
    instead: str,
    other: frozenset[str],
    never: frozenset[str] = frozenset(),
) -> RecallRow:
    """Counts over the images that enough references agree on, and of which none names what is in `never`."""
    agreed = [
        captions[key]
        for key, texts in references.items()
        if sum(bool(text & names) for text in texts) >= _MIN_REFERENCES
        and not any(text & never for text in texts)
    ]
    return RecallRow(
        what,
        len(agreed),
        sum(bool(text & names) for text in agreed),
        instead,
        sum(bool(text & other) and not text & names for text in agreed),
        None if training is None else sum(bool(text & names) for text in training),
    )


def table(recall: Sequence[RecallRow], precision: Sequence[PrecisionRow]) -> list[str]:
    """Both tables as lines of Markdown, without rows that count nothing; empty if no row is left."""
    recall = [row for row in recall if row.images]
    precision = [row for row in precision if row.captions]
    if not recall and not precision:
        return []

    def percent(part: int, total: int) -> str:
        return f"{part} ({100 * part / total:.0f} %)" if total else "-"

    trained = any(row.in_training is not None for row in recall)
    lines = [
        f"| {_MIN_REFERENCES} or more people see | images | it names them | other |"
        + (" training captions |" if trained else ""),
        "|---|---:|---:|---|" + "---:|" * trained,
    ]
    for row in recall:
        lines.append(
            f"| {row.what} | {row.images} | {percent(row.named, row.images)} | "
            f"{row.instead} instead: {percent(row.mistaken, row.images)} |"
            + (f" {row.in_training:,} |" if trained else "")
        )
    lines += ["", "| it says | times | so does one of them |", "|---|---:|---:|"]
    return lines + [
        f"| {row.what} | {row.captions} | {percent(row.confirmed, row.captions)} |" for row in precision
    ]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("predictions", type=Path, help="captions, as `captioner evaluate` takes them")
    parser.add_argument("references", type=Path, help="references, as `captioner evaluate` takes them")


def run(options: argparse.Namespace) -> None:
    """Prints both tables."""
    captions, references = read_predictions(options.predictions), read_references(options.references)
    lines = table(*biases({key: caption.caption for key, caption in captions.items()}, references))
    print("\n".join(lines or ["nothing to count: are these captions English?"]))
