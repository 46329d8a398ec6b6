"""Batches of packed captions, all of one shape and with little padding.

A batch is B images with their captions, sorted by length and packed (`captioner.models.packing`). Row counts per step
follow one profile, taken from the training lengths with some room: one shape, one trace, on every backend. An image
that does not fit into the profile waits for the next batch. Order depends on (seed, epoch) alone, so a run can be
resumed anywhere.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from captioner.models.packing import Packed, pack
from captioner.text import Tokenizer
from training.data.datasets import Example

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class Batch(NamedTuple):
    """One training batch: inputs of the network, targets, their weights, the number of captions, and metrics.

    Metrics of all batches of an epoch are averaged into `history.csv`.
    """

    inputs: dict[str, Any]
    targets: np.ndarray
    weights: np.ndarray
    captions: int
    metrics: dict[str, float] = {}


class CaptionGroup(NamedTuple):
    """An image with at most G of its captions, encoded.

    Attributes:
        image: int. Number of the image.
        captions: ids of each caption, its end included.
        repeats: float, default 1. Times that it comes in an epoch, see `shown_in`.
        loss_weight: float, default 1. Weight of its words in the loss.
    """

    image: int
    captions: list[list[int]]
    repeats: float = 1.0
    loss_weight: float = 1.0


def caption_groups(
    examples: Sequence[Example], tokenizer: Tokenizer, group: int, max_length: int
) -> list[CaptionGroup]:
    """All captions of all images, at most `group` in a group, each cut to `max_length` ids."""
    groups = []
    for index, example in enumerate(examples):
        encoded = [tokenizer.encode(caption, max_length) for caption in example.captions]
        groups += [
            CaptionGroup(index, encoded[i : i + group], example.repeats, example.loss_weight)
            for i in range(0, len(encoded), group)
        ]
    return groups


def shown_in(epoch: int, repeats: np.ndarray) -> np.ndarray:
    """How often each of N comes in an epoch.

    One of r repeats comes floor((epoch + 1) r + u) - floor(epoch r + u) times: r on average, and r in every epoch if
    that is a whole number. The offsets u in [0, 1) of those with the same r are multiples of the golden ratio, modulo
    1: they lie as evenly as can be, so epochs are equally long to within a few.

    Args:
        epoch: int. From 0.
        repeats: float [N].

    Returns:
        int [N].

    Example:
        >>> [shown_in(epoch, np.array([2.0, 0.5, 0.5])).tolist() for epoch in (0, 1)]
        [[2, 0, 1], [2, 1, 0]]
    """
    offsets = np.zeros(len(repeats))
    for value in np.unique(repeats):
        equal = np.flatnonzero(repeats == value)
        offsets[equal] = np.arange(len(equal)) * _GOLDEN_RATIO % 1.0
    counts = np.floor((epoch + 1) * repeats + offsets) - np.floor(epoch * repeats + offsets)
    return np.clip(counts, np.floor(repeats), np.ceil(repeats)).astype(int)


def caption_weights(
    packed: Packed, captions: Sequence[Sequence[int]], weights: Sequence[float]
) -> np.ndarray:
    """Weights of the words of packed captions, [sum of n_t]: each caption's weight for all of its words.

    Args:
        packed: Packed. What `pack` returned for the captions.
        captions: N id sequences.
        weights: N numbers.
    """
    word_weights = np.zeros_like(packed.weights)
    offsets = np.cumsum([0, *(len(ids) for ids in packed.inputs)])
    for row, caption, weight in zip(packed.order, captions, weights, strict=True):
        word_weights[offsets[: len(caption)] + row] = weight
    return word_weights


class PackedBatches:
    """Batches of packed captions, the same shapes throughout.

    Args:
        caption_groups: sequence of CaptionGroup, the training data.
        batch: int. B, images of a batch.
        group: int. G, most captions of an image in a batch.
        seed: int.
        repeats: int, default 1. Times that an epoch shows each group, besides its own `repeats`.

    Attributes:
        caption_groups: list of CaptionGroup; one that an epoch may show n times is there n times.
        profile: row counts n_0 >= n_1 >= ... of every batch.
    """

    def __init__(
        self, caption_groups: Sequence[CaptionGroup], batch: int, group: int, seed: int, repeats: int = 1
    ):
        self.group, self.seed = group, seed
        self._repeats = repeats * np.array([group.repeats for group in caption_groups])
        copies = np.ceil(self._repeats).astype(int)
        numbers = [np.flatnonzero(copies > copy) for copy in range(copies.max(initial=0))]
        self._number = np.concatenate(numbers)  # of the group that a copy is of
        self._copy = np.repeat(np.arange(len(numbers)), [len(part) for part in numbers])
        self._shares = (self._repeats / np.maximum(copies, 1))[self._number]  # of the epochs that show it
        self.caption_groups = [caption_groups[number] for number in self._number]
        self.batch = min(batch, len(self.caption_groups))
        self._counts = [_counts(group) for group in self.caption_groups]
        self.profile = self._make_profile()

    def _make_profile(self) -> list[int]:
        steps = max(len(count) for count in self._counts)
        padded = np.zeros((len(self._counts), steps))
        for row, count in zip(padded, self._counts, strict=True):
            row[: len(count)] = count
        # Mean plus half a standard deviation of a batch's count, in multiples of 8; never too small for one image
        # alone, never more than all images could need. A tighter profile leaves batches short of images.
        mean = np.average(padded, axis=0, weights=self._shares)
        deviation = np.sqrt(np.average((padded - mean) ** 2, axis=0, weights=self._shares))
        mean, spread = mean * self.batch, deviation * math.sqrt(self.batch)
        rows = np.minimum(np.ceil((mean + 0.5 * spread) / 8) * 8, padded.max(0) * self.batch)
        rows = np.maximum(rows, padded.max(0))
        return [int(n) for n in np.maximum.accumulate(rows[::-1])[::-1]]

    @property
    def fill(self) -> float:
        """Share of the profile's cells that hold a word, on average."""
        words = np.average([count.sum() for count in self._counts], weights=self._shares) * self.batch
        return float(words) / sum(self.profile)

    def plan(self, epoch: int) -> list[list[int]]:
        """Numbers of the caption groups of each batch of an epoch; the last is filled up with those of the first."""
        shown = np.flatnonzero(self._copy < shown_in(epoch, self._repeats)[self._number])
        order = shown[np.random.default_rng([self.seed, epoch]).permutation(len(shown))].tolist()
        batches: list[list[int]] = []
        waiting: list[int] = []
        position = 0
        limit = np.array(self.profile)
        while waiting or position < len(order):
            used = np.zeros_like(limit)
            chosen: list[int] = []
            skipped: list[int] = []
            queue = waiting
            while len(chosen) < self.batch and (queue or position < len(order)):
                if queue:
                    number = queue.pop(0)
                else:
                    number, position = order[position], position + 1
                count = self._counts[number]
                total = used[: len(count)] + count
                if (total > limit[: len(count)]).any():
                    skipped.append(number)
                    if len(skipped) > 4 * self.batch:
                        break
                    continue
                used[: len(count)] = total
                chosen.append(number)
            waiting = skipped + queue
            batches.append(chosen)
        self._fill_up(batches, order, limit)
        return batches

    def _fill_up(self, batches: list[list[int]], order: list[int], limit: np.ndarray) -> None:
        if not batches:  # an epoch may show nothing, if all come less than once an epoch
            return
        last = batches[-1]
        used = np.zeros_like(limit)
        for number in last:
            used[: len(self._counts[number])] += self._counts[number]
        for number in order:
            if len(last) >= self.batch:
                return
            count = self._counts[number]
            total = used[: len(count)] + count
            if number not in last and not (total > limit[: len(count)]).any():
                used[: len(count)] = total
                last.append(number)

    def packed(self, chosen: Sequence[int]) -> tuple[np.ndarray, Packed, int]:
        """Image numbers [B] (the last repeated if short), the packed captions, and how many captions there are."""
        groups = [self.caption_groups[number] for number in chosen]
        captions = [caption for group in groups for caption in group.captions]
        owner = [slot for slot, group in enumerate(groups) for _ in group.captions]
        images = [group.image for group in groups]
        images += images[-1:] * (self.batch - len(images))
        packed = pack(captions, owner, self.batch, self.group, self.profile)
        weights = [group.loss_weight for group in groups for _ in group.captions]
        if any(weight != 1.0 for weight in weights):
            packed = packed._replace(weights=caption_weights(packed, captions, weights))
        return np.array(images), packed, len(captions)

    def epoch(
        self, epoch: int, read: Callable[[np.ndarray, Sequence[int]], Any], key: str, skip: int = 0
    ) -> Iterator[Batch]:
        """Batches of an epoch; the next one is prepared in the background.

        Args:
            epoch: int.
            read: from image numbers [B] and a seed to their features or pixels.
            key: str. The input of the network that they are, "features" or "images".
            skip: int. Batches that were trained on already.
        """

        def make(number: int) -> Batch:
            images, packed, captions = self.packed(plan[number])
            inputs = read(images, [self.seed, epoch, number])
            return Batch({key: inputs, **packed.as_inputs()}, packed.targets, packed.weights, captions)

        plan = self.plan(epoch)
        yield from ahead(make, range(skip, len(plan)))


def ahead(make: Callable[[int], Any], numbers: Iterable[int]) -> Iterator[Any]:
    """What `make` returns for each number, in order; the next one is made in the background."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Any] = deque()
        for number in numbers:
            pending.append(pool.submit(make, number))
            if len(pending) > 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _counts(group: CaptionGroup) -> np.ndarray:
    lengths = np.array([len(caption) for caption in group.captions])
    return (lengths[:, None] > np.arange(lengths.max())).sum(0)
