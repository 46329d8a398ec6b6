"""What a model confuses, overlooks and presumes: English captions held against what people said of the same images.

    python training/analysis/biases.py runs/flickr8k_lstm/predictions_test.json runs/flickr8k_lstm/references_test.json

Two tables. The first asks what the model says of images on which people agree: three references or more name the
thing, and for people none names the other sex. The second asks how often what it says (numbers, colours, a dog) is in
any reference at all. People do not name everything, so that the second tells of doubt rather than of error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from captioner.caption_files import read_predictions, read_references
from captioner.cli.parser import Parser
from captioner.errors import DataError
from captioner.programs import run_program
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
_AGREE = 3


@dataclass(frozen=True)
class Shown:
    """What is said of the images that people agree on.

    Attributes:
        what: str.
        images: int. How many people agree on.
        named: int. Captions that name it.
        instead: str. What else they may name.
        mistaken: int. Captions that name that, and not `what`.
        learnt: int or None. Training captions that name it.
    """

    what: str
    images: int
    named: int
    instead: str
    mistaken: int
    learnt: int | None = None


@dataclass(frozen=True)
class Said:
    """How often people said what the model says.

    Attributes:
        what: str.
        captions: int. How often it is said.
        confirmed: int. How often a reference of the same image says it.
    """

    what: str
    captions: int
    confirmed: int


def biases(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    training: Iterable[str] | None = None,
) -> tuple[list[Shown], list[Said]]:
    """Counts both tables.

    Args:
        captions: mapping of the image's id to what the model says.
        references: mapping of the image's id to what people say; others than those of `captions` are left out.
        training: captions that the model learnt from, default None.

    Returns:
        Rows of what is shown and of what is said.

    Raises:
        DataError: if an image has no references.

    Example:
        >>> shown, said = biases({"1": "a red dog"}, {"1": ["a cat", "the cat sits", "a red cat"]})
        >>> [(row.what, row.mistaken) for row in shown if row.images], said[-1].confirmed
        ([('cats', 1)], 1)
    """
    missing = sorted(set(captions) - set(references))
    if missing:
        raise DataError(f"expected references of every image, image {missing[0]!r} has none")
    model = {key: frozenset(words(text)) for key, text in captions.items()}
    people = {key: [frozenset(words(text)) for text in references[key]] for key in captions}
    learnt = None if training is None else [frozenset(words(text)) for text in training]

    def row(
        what: str, named: frozenset[str], instead: str, other: frozenset[str], agreed: list[str]
    ) -> Shown:
        return Shown(
            what,
            len(agreed),
            sum(bool(model[key] & named) for key in agreed),
            instead,
            sum(bool(model[key] & other) and not model[key] & named for key in agreed),
            None if learnt is None else sum(bool(each & named) for each in learnt),
        )

    def agreed(named: frozenset[str], never: frozenset[str] = frozenset()) -> list[str]:
        return [
            key
            for key, said in people.items()
            if sum(bool(each & named) for each in said) >= _AGREE and not any(each & never for each in said)
        ]

    shown = [
        row("women or girls alone", _WOMEN, "men or boys", _MEN, agreed(_WOMEN, _MEN)),
        row("men or boys alone", _MEN, "women or girls", _WOMEN, agreed(_MEN, _WOMEN)),
    ]
    for what, named in _THINGS.items():
        instead, other = ("people", _MEN | _WOMEN) if named is _DOGS else ("dogs", _DOGS)
        shown.append(row(what, named, instead, other, agreed(named)))
    said = []
    for what, claims in _CLAIMS.items():
        made = [(key, claim) for claim in claims for key, each in model.items() if each & claim]
        confirmed = sum(any(each & claim for each in people[key]) for key, claim in made)
        said.append(Said(what, len(made), confirmed))
    return shown, said


def table(shown: Sequence[Shown], said: Sequence[Said]) -> list[str]:
    """Both tables as lines of Markdown, without what nobody shows or says; nothing if that is all."""
    shown = [row for row in shown if row.images]
    said = [row for row in said if row.captions]
    if not shown and not said:
        return []

    def share(part: int, whole: int) -> str:
        return f"{part} ({100 * part / whole:.0f} %)" if whole else "-"

    learnt = any(row.learnt is not None for row in shown)
    lines = [
        f"| {_AGREE} or more people see | images | it names them | other |"
        + (" training captions |" if learnt else ""),
        "|---|---:|---:|---|" + "---:|" * learnt,
    ]
    for row in shown:
        lines.append(
            f"| {row.what} | {row.images} | {share(row.named, row.images)} | "
            f"{row.instead} instead: {share(row.mistaken, row.images)} |"
            + (f" {row.learnt:,} |" if learnt else "")
        )
    lines += ["", "| it says | times | so does one of them |", "|---|---:|---:|"]
    return lines + [f"| {row.what} | {row.captions} | {share(row.confirmed, row.captions)} |" for row in said]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = Parser(prog="biases.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("predictions", type=Path, help="captions, as `captioner evaluate` takes them")
    parser.add_argument("references", type=Path, help="references, as `captioner evaluate` takes them")

    def work() -> None:
        given = parser.parse_args(arguments)
        captions, references = read_predictions(given.predictions), read_references(given.references)
        texts = {key: caption.text for key, caption in captions.items()}
        print(
            "\n".join(table(*biases(texts, references)) or ["nothing to count: are these captions English?"])
        )

    return run_program("biases.py", work)


if __name__ == "__main__":
    sys.exit(main())
