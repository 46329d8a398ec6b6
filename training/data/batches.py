"""From examples to batches whose every shape is the same, with next to no padding.

A batch is B images with their captions, sorted by length and packed (`captioner.models.packing`). Row counts per step
follow one profile, taken from the training lengths with some room: one shape, one trace, on every backend. An image
that would burst the profile waits for the next batch. Order depends on (seed, epoch) alone, so a run can be resumed
anywhere.
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


class Batch(NamedTuple):
    """One training batch: what the network is called with, targets, their weights, its number of captions, and figures.

    Figures of all batches of an epoch are averaged into `history.csv`.
    """

    inputs: dict[str, Any]
    targets: np.ndarray
    weights: np.ndarray
    captions: int
    figures: dict[str, float] = {}


class Visit(NamedTuple):
    """An image with at most G of its captions, encoded."""

    image: int
    captions: list[list[int]]


def visits(examples: Sequence[Example], tokenizer: Tokenizer, group: int, max_length: int) -> list[Visit]:
    """All captions of all images, at most `group` a visit, each cut to `max_length` ids."""
    found = []
    for index, example in enumerate(examples):
        encoded = [tokenizer.encode(caption, max_length) for caption in example.captions]
        found += [Visit(index, encoded[i : i + group]) for i in range(0, len(encoded), group)]
    return found


class PackedBatches:
    """Batches of packed captions, the same shapes throughout.

    Args:
        visits: the training data.
        batch: int. B, images a batch.
        group: int. G, most captions an image.
        seed: int.

    Attributes:
        profile: row counts n_0 >= n_1 >= ... of every batch.
    """

    def __init__(self, visits: Sequence[Visit], batch: int, group: int, seed: int):
        self.visits, self.group, self.seed = list(visits), group, seed
        self.batch = min(batch, len(self.visits))
        self._counts = [_counts(visit) for visit in self.visits]
        self.profile = self._make_profile()

    def _make_profile(self) -> list[int]:
        steps = max(len(count) for count in self._counts)
        padded = np.zeros((len(self._counts), steps))
        for row, count in zip(padded, self._counts, strict=True):
            row[: len(count)] = count
        # Mean plus half a deviation of a batch's count, in eighths of a SIMD-friendly 64; never too small for one
        # image alone, never more than all its images could need. Tighter still, and batches run short of
        # images before they are full of words.
        mean, spread = padded.mean(0) * self.batch, padded.std(0) * math.sqrt(self.batch)
        rows = np.minimum(np.ceil((mean + 0.5 * spread) / 8) * 8, padded.max(0) * self.batch)
        rows = np.maximum(rows, padded.max(0))
        return [int(n) for n in np.maximum.accumulate(rows[::-1])[::-1]]

    @property
    def fill(self) -> float:
        """Share of the profile's cells that hold a word, on average."""
        words = sum(int(count.sum()) for count in self._counts) / len(self._counts) * self.batch
        return words / sum(self.profile)

    def plan(self, epoch: int) -> list[list[int]]:
        """Which visits make up each batch of an epoch; the last batch is filled up with visits of the first ones."""
        order = list(np.random.default_rng([self.seed, epoch]).permutation(len(self.visits)))
        batches: list[list[int]] = []
        waiting: list[int] = []
        position = 0
        limit = np.array(self.profile)
        while waiting or position < len(order):
            used = np.zeros_like(limit)
            chosen: list[int] = []
            still: list[int] = []
            queue = waiting
            while len(chosen) < self.batch and (queue or position < len(order)):
                if queue:
                    visit = queue.pop(0)
                else:
                    visit, position = int(order[position]), position + 1
                count = self._counts[visit]
                total = used[: len(count)] + count
                if (total > limit[: len(count)]).any():
                    still.append(visit)
                    if len(still) > 4 * self.batch:
                        break
                    continue
                used[: len(count)] = total
                chosen.append(visit)
            waiting = still + queue
            batches.append(chosen)
        self._fill_up(batches, [int(visit) for visit in order], limit)
        return batches

    def _fill_up(self, batches: list[list[int]], order: list[int], limit: np.ndarray) -> None:
        last = batches[-1]
        used = np.zeros_like(limit)
        for visit in last:
            used[: len(self._counts[visit])] += self._counts[visit]
        for visit in order:
            if len(last) >= self.batch:
                return
            count = self._counts[visit]
            total = used[: len(count)] + count
            if visit not in last and not (total > limit[: len(count)]).any():
                used[: len(count)] = total
                last.append(visit)

    def packed(self, chosen: Sequence[int]) -> tuple[np.ndarray, Packed, int]:
        """Image numbers [B] (the last repeated if short), the packed captions, and how many captions there are."""
        captions = [caption for visit in chosen for caption in self.visits[visit].captions]
        owner = [slot for slot, visit in enumerate(chosen) for _ in self.visits[visit].captions]
        images = [self.visits[visit].image for visit in chosen]
        images += images[-1:] * (self.batch - len(images))
        return np.array(images), pack(captions, owner, self.batch, self.group, self.profile), len(captions)

    def epoch(
        self, epoch: int, read: Callable[[np.ndarray, Sequence[int]], Any], key: str, skip: int = 0
    ) -> Iterator[Batch]:
        """Batches of an epoch, the next one prepared while the last is worked on.

        Args:
            epoch: int.
            read: from image numbers [B] and a seed to their features or pixels.
            key: str. The name the network takes these by, "features" or "images".
            skip: int. Batches already done.
        """

        def make(number: int) -> Batch:
            images, packed, captions = self.packed(plan[number])
            seen = read(images, [self.seed, epoch, number])
            return Batch({key: seen, **packed.as_inputs()}, packed.targets, packed.weights, captions)

        plan = self.plan(epoch)
        yield from ahead(make, range(skip, len(plan)))


def ahead(make: Callable[[int], Any], numbers: Iterable[int]) -> Iterator[Any]:
    """What `make` gives for each number, in order, the next one made while the last is worked on."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Any] = deque()
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _counts(visit: Visit) -> np.ndarray:
    lengths = np.array([len(caption) for caption in visit.captions])
    return (lengths[:, None] > np.arange(lengths.max())).sum(0)
