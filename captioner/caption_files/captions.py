"""Predictions and references for evaluation, matched by image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.caption_files.columns import split_name
from captioner.caption_files.image_ids import Match, alike, composed, match, shown
from captioner.caption_files.reading import short
from captioner.caption_files.row import Row, Rows
from captioner.caption_files.rows import read_rows
from captioner.errors import DataError
from captioner.types import Caption


class References(dict[str, list[str]]):
    """Reference captions of each image, with their splits.

    Attributes:
        path: str. The file.
        splits: dict of image to split, "validation" for val and dev; empty where the file has none.
        numbers: dict of image to its number, where a COCO file gives both.
        columns: tuple of str. What the file calls image and caption.
    """

    def __init__(self, path: str | os.PathLike[str], rows: Rows):
        super().__init__()
        self.path, self.columns, self.numbers = os.fspath(path), rows.columns, rows.numbers
        self.splits: dict[str, str] = {}
        spelling: dict[str, str] = {}  # "./a.jpg" and "a.jpg" are one image, as in training
        for row in rows.rows:
            if row.fault:
                raise DataError(f"{row.where}: {row.fault}")
            image = spelling.setdefault(composed(row.image) or row.image, row.image)
            self.setdefault(image, []).extend(row.captions)
            split = _split(row.split or "")
            if split and self.splits.setdefault(image, split) != split:
                raise DataError(
                    f"{row.where}: image {shown(image)} is in the split {self.splits[image]!r} already, "
                    f"got {row.split!r}"
                )


def read_predictions(path: str | os.PathLike[str]) -> dict[str, Caption]:
    """Reads one caption for each image.

    Args:
        path: str or PathLike. A file that `read_rows` takes.

    Returns:
        dict of image to `Caption`; that of a failed image has `error`, and that of a row with `attention` has
        `attention`, `words` and `word_logp`.

    Raises:
        DataError: as for `read_rows`; also if a row cannot be used, an image comes twice, or an attention does not
            have one map for each word.
    """
    predictions: dict[str, Caption] = {}
    for row in read_rows(os.fspath(path)).rows:
        error = row.fields.get("error")
        failed = bool(error) and bool(row.image)
        if row.fault and not failed:
            raise DataError(f"{row.where}: {row.fault}")
        if row.image in predictions or len(row.captions) > 1:
            raise DataError(
                f"{row.where}: expected one prediction for each image, got a second one for {shown(row.image)}"
            )
        predictions[row.image] = Caption("", error=str(error)) if failed else _caption(row)
    return predictions


def read_references(path: str | os.PathLike[str]) -> References:
    """Reads the reference captions of each image.

    Args:
        path: str or PathLike. A file that `read_rows` takes, such as the `captions.csv` of a training set.

    Returns:
        `References`, a dict of image to list of captions.

    Raises:
        DataError: as for `read_rows`; also if a row cannot be used, or an image has two splits.
    """
    return References(path, read_rows(os.fspath(path)))


class Aligned(NamedTuple):
    """References by the ids of the predictions.

    Attributes:
        references: dict of prediction's id to list of captions.
        names: dict of prediction's id to the id in the references.
        notes: list of str. Remarks for the reader of the scores, a line each.
    """

    references: dict[str, list[str]]
    names: dict[str, str]
    notes: list[str]


def aligned(predictions: Iterable[str], references: References, split: str | None = None) -> Aligned:
    """Finds the references of each prediction, also where the two files spell image ids differently.

    A path in the references is relative to their file, one in the predictions to the working directory.

    Args:
        predictions: iterable of ids.
        references: `References`.
        split: str, default None. The only split to use references of. By default those of all splits are used, unless
            all predictions belong to one split.

    Returns:
        `Aligned`.

    Raises:
        DataError: if there is no such split, or some predictions have no references, or the other way round.
    """
    predictions = list(predictions)
    wanted, notes = _of_split(references, split)
    match = _matched(predictions, wanted, references)
    splits = {references.splits.get(name) for name in match.pairs.values()}
    if split is None and len(splits) == 1 and None not in splits:
        (only,) = splits
        rest = {name for name in wanted if references.splits.get(name) != only}
        if rest:
            wanted = [name for name in wanted if name not in rest]
            notes.append(
                f"references: those of the split {only} alone, {len(wanted):,} of {len(references):,} images"
            )
    _refuse_unmatched(predictions, wanted, match)
    notes += [
        f"{count:,} image{'s' * (count != 1)} matched by {way}{_example(match, way, count)}"
        for way, count in match.ways.items()
        if way != "name"
    ]
    if references.columns[0] != "image" or references.columns[1] not in ("caption", "captions"):
        notes.insert(0, "references: images by the column {!r}, captions by {!r}".format(*references.columns))
    return Aligned({name: references[other] for name, other in match.pairs.items()}, match.pairs, notes)


def _of_split(references: References, split: str | None) -> tuple[list[str], list[str]]:
    if split is None:
        return list(references), []
    wanted = [name for name in references if references.splits.get(name) == _split(split)]
    if not wanted:
        known = ", ".join(dict.fromkeys(references.splits.values())) or "none: it has no column split"
        raise DataError(f"no image of the split {split!r} in {references.path}; it has: {known}")
    return wanted, [f"references: {len(wanted):,} of {len(references):,} images, those of the split {split}"]


def _split(name: str) -> str:
    """The standard name of a split, which files may call val, Dev or " validation"."""
    plain = name.strip().lower()
    return plain if plain == "restval" else split_name(plain) or name.strip()


def _matched(predictions: list[str], wanted: list[str], references: References) -> Match:
    folder = os.fspath(Path(references.path).parent)
    return match(predictions, wanted, references.numbers, left_folder="", right_folder=folder)


def _example(match: Match, way: str, count: int) -> str:
    if len(match.ways) > 1 or count != match.ways[way]:
        return ""
    name, other = next(iter(match.pairs.items()))
    return f" ({shown(name)} with {shown(other)})"


def _refuse_unmatched(predictions: list[str], wanted: list[str], match: Match) -> None:
    matched = set(match.pairs.values())
    unmatched = [name for name in predictions if name not in match.pairs]
    unused = [name for name in wanted if name not in matched]
    if not match.pairs:
        raise DataError(
            f"cannot evaluate: no prediction and no reference are of the same image; predictions have "
            f"{shown(predictions[0])}, references {shown(wanted[0])}{_hint(predictions[:1], wanted)}"
        )
    if unmatched or unused:
        parts = []
        if unmatched:
            parts.append(f"{len(unmatched):,} predictions without references: {_listed(unmatched)}")
        if unused:
            parts.append(f"{len(unused):,} images with references but no prediction: {_listed(unused)}")
        ways = ", ".join(f"{count:,} by {way}" for way, count in match.ways.items())
        raise DataError(
            f"cannot evaluate: {'; '.join(parts)}{_hint(unmatched, unused)}; the others matched ({ways})"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(map(shown, names[:3])) + (", ..." if len(names) > 3 else "")


def _hint(names: list[str], others: list[str]) -> str:
    """The image that an unmatched id may name, for a message."""
    near = alike(names[0], others) if names else None
    return f" (is {shown(names[0])} the same image as {shown(near)}? rename one)" if near is not None else ""


def _caption(row: Row) -> Caption:
    """A caption with its attention, if the row has one."""
    text, fields = row.captions[0], row.fields
    attention, words, logp = fields.get("attention"), fields.get("words"), fields.get("word_logp")
    if attention is None or attention == words == []:
        return Caption(text)
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise DataError(f"{row.where}: expected words, a list of strings, with attention, got {short(words)}")
    if not (isinstance(logp, list) and len(logp) == len(words) and all(map(_is_logp, logp))):
        raise DataError(f"{row.where}: expected word_logp, {len(words)} log-probabilities, got {short(logp)}")
    try:
        maps = np.array(attention, np.float32)
    except (TypeError, ValueError, OverflowError):  # ragged, no numbers, or too large
        maps = np.empty(0, np.float32)
    fits = maps.ndim == 3 and len(maps) == len(words) and maps.size and bool(np.all(maps >= 0))
    if not fits or not np.isfinite(maps).all():
        raise DataError(
            f"{row.where}: expected attention, {len(words)} maps (one a word) of rows of numbers from 0 to 1, "
            f"got {short(attention)}"
        )
    return Caption(text, words=tuple(words), word_logp=tuple(logp), attention=maps)


def _is_logp(value: Any) -> bool:
    # Rounding may lift that of a certain word a little above 0.
    return isinstance(value, int | float) and not isinstance(value, bool) and value < 1
