"""The dataset `mixture`: several sources as one, each with its own splits, captions and share of training."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from captioner.checks import number
from captioner.errors import DataError, ImageError, SpecError
from captioner.registry import parse_spec
from training.data.datasets import DATASETS
from training.data.datasets.example import Dataset, Example, missing_split

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_COMPARED = 64  # images that two sources call the same, to compare


class Part(NamedTuple):
    """One source of a mixture.

    Attributes:
        name: str. Unique in the mixture.
        dataset: Dataset.
        weight: float. Times that training shows each of its captions in an epoch.
        loss_weight: float. Weight of its words in the loss.
    """

    name: str
    dataset: Dataset
    weight: float
    loss_weight: float


class Mixture:
    """Several datasets as one, each shown as often and weighed as much in the loss as it should be.

    Sources keep their splits: "train" holds the training images of all, and so on. Images of the sources alternate in
    proportion, so that the first thousand of a split are as mixed as all of it. The `id` of an image is that of its
    source behind the source's name and a slash. Features are cached source by source, where other mixtures and runs of
    that source alone find them.

    Sources whose sentences are made by machines or from labels teach words; weights below 1 keep them from taking
    over the sentences.

    Args:
        sources: list of specs of `DATASETS`.
        weights: list of numbers above 0, one a source, default 1 each. Times that an epoch of training shows each
            caption of the source: 3 for three times, 0.5 for every other epoch.
        loss_weights: list of numbers above 0, one a source, default 1 each. Weights of their words in the loss, which
            is the weighted mean over the words of a batch; likewise in self-critical training.
        names: list of str, one a source, default the names of their rows in the table ("folder", "folder_2").

    Attributes:
        parts: tuple of Part.

    Raises:
        SpecError: for a source that is no spec or another mixture, lists of another length, a number out of range, or
            names that are not unique.
        DataError: if two sources hold the same images, or a source cannot be read.

    Example:
        >>> mixture = Mixture(["synthetic_scenes(seed=1, train=4)", "synthetic_scenes(seed=2, train=2)"], [1, 0.5])
        >>> [(example.id, example.repeats) for example in mixture.examples("train")[:2]]
        [('synthetic_scenes/train-000000', 1.0), ('synthetic_scenes_2/train-000000', 0.5)]
    """

    def __init__(
        self,
        sources: Sequence[str],
        weights: Sequence[float] | None = None,
        loss_weights: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ):
        names = source_names(sources, names)
        shown = _numbers("weights", weights, names)
        losses = _numbers("loss_weights", loss_weights, names)
        datasets = [DATASETS.build(spec) for spec in sources]
        self.parts = tuple(map(Part, names, datasets, shown, losses))
        self._examples: dict[str, list[Example]] = {}
        for one, other in combinations(self.parts, 2):
            _check_different(one, other)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that a source holds, "train" first."""
        names = dict.fromkeys(split for part in self.parts for split in part.dataset.splits)
        return tuple(sorted(names, key=lambda split: split != "train"))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the sources' names and fingerprints."""
        lines = [f"{part.name}\0{part.dataset.fingerprint}\n" for part in self.parts]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def examples(self, split: str) -> list[Example]:
        """The examples of a split, those of the sources alternating in proportion.

        Raises:
            DataError: if no source has the split.
        """
        if split not in self.splits:
            raise missing_split("the mixture", split, self.splits)
        if split not in self._examples:
            placed = []
            for order, part in enumerate(self.parts):
                examples = part.dataset.examples(split) if split in part.dataset.splits else ()
                placed += [
                    ((place + 0.5) / len(examples), order, _of_part(example, part))
                    for place, example in enumerate(examples)
                ]
            placed.sort(key=lambda item: item[:2])
            self._examples[split] = [example for _, _, example in placed]
        return self._examples[split]


class SourceView:
    """One source of a mixture in one split, as whatever wraps the mixture changes its examples (flips, augmentations).

    Its examples, ids and fingerprint are those that the source alone would have there: they have the same cache.

    Args:
        part: Part.
        split: str.
        examples: the examples of that split, with ids of the mixture.
    """

    def __init__(self, part: Part, split: str, examples: Sequence[Example]):
        self.splits, self._dataset = (split,), part.dataset
        prefix = f"{part.name}/"
        self._examples = [replace(example, id=example.id.removeprefix(prefix)) for example in examples]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the source."""
        return self._dataset.fingerprint

    def examples(self, split: str) -> list[Example]:
        """The source's examples of the split."""
        return self._examples


def source_views(dataset: Any, split: str) -> dict[str, SourceView]:
    """The sources of a mixture that have images in a split, by name; none for any other dataset.

    Args:
        dataset: Dataset. A mixture, or a wrapper of one (`training.data.transforms`).
        split: str.
    """
    mixture = dataset
    while not isinstance(mixture, Mixture):
        mixture = getattr(mixture, "dataset", None)
        if mixture is None:
            return {}
    examples: dict[str, list[Example]] = {part.name: [] for part in mixture.parts}
    for example in dataset.examples(split):
        examples[example.source].append(example)
    return {
        part.name: SourceView(part, split, examples[part.name])
        for part in mixture.parts
        if examples[part.name]
    }


def source_names(sources: Sequence[str], names: Sequence[str] | None = None) -> list[str]:
    """The names of a mixture's sources, see `Mixture`.

    Raises:
        SpecError: see `Mixture`.

    Example:
        >>> source_names(["coco()", "folder(path='web')", "folder(path='labels')"])
        ['coco', 'folder', 'folder_2']
    """
    if not isinstance(sources, list | tuple) or not sources:
        raise SpecError(f"expected sources of mixture to be a list of datasets, got {sources!r:.100}")
    specs = [parse_spec(spec) for spec in sources]
    if any(spec.name == "mixture" for spec in specs):
        raise SpecError("expected sources of mixture to be no mixtures: list all their sources in one")
    if names is None:
        rows = [spec.name.rpartition(":")[2] for spec in specs]
        counts = [rows[: place + 1].count(row) for place, row in enumerate(rows)]
        names = [row if count == 1 else f"{row}_{count}" for row, count in zip(rows, counts, strict=True)]
    _check_length("names", names, len(specs))
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names) or len(set(names)) < len(
        names
    ):
        raise SpecError(
            f"expected names of mixture to be different words of letters, digits, - and _, got {list(names)!r:.100}"
        )
    return list(names)


def _numbers(option: str, values: Sequence[float] | None, names: Sequence[str]) -> list[float]:
    if values is None:
        return [1.0] * len(names)
    _check_length(option, values, len(names))
    return [
        number(value, f"{option} of mixture for {name}", 0, 1000, above=True)
        for name, value in zip(names, values, strict=True)
    ]


def _check_length(option: str, values: Any, count: int) -> None:
    if not isinstance(values, list | tuple) or len(values) != count:
        raise SpecError(
            f"expected {option} of mixture to be a list of {count}, one for each source, got {values!r:.100}"
        )


def _of_part(example: Example, part: Part) -> Example:
    return replace(
        example,
        id=f"{part.name}/{example.id}",
        source=part.name,
        repeats=part.weight,
        loss_weight=part.loss_weight,
    )


def _check_different(one: Part, other: Part) -> None:
    """Raises a DataError if images that two sources call the same are the same; 64 of them are compared."""
    images = [
        {
            PurePosixPath(example.id).name: example
            for split in part.dataset.splits
            for example in part.dataset.examples(split)
        }
        for part in (one, other)
    ]
    common = sorted(images[0].keys() & images[1].keys())
    for name in common[:: max(1, len(common) // _COMPARED)]:
        try:
            same = images[0][name].read() == images[1][name].read()
        except ImageError:  # encoding it will say so
            continue
        if same:
            raise DataError(
                f"expected sources of mixture with different images, {one.name} and {other.name} both have {name}: "
                "leave it out of one of them"
            )
