"""How rows (captions or beams) lie over images, and how a batch of captions is packed without padding.

Memory leads with the B images of a batch, ids and state with its R rows. Stepping keeps the rows of an image
side by side, so that a reshape gives [B, G, ...]. Training packs instead: rows are sorted by caption length,
longest first, so that step t works on the first n_t rows only and no time is spent on padding; `Rows` then says
which slot of [B, G] each row fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from captioner.types import PAD, START


class Rows(NamedTuple):
    """Which slot of [B, G] each row fills, and which row each slot holds.

    No two rows share a slot, so each index undoes the other.

    Attributes:
        slot_of_row: int32 [R].
        row_of_slot: int32 [B * G]. -1 for a slot that is empty.
    """

    slot_of_row: Any
    row_of_slot: Any

    def first(self, count: int) -> Rows:
        """The same layout when only the first `count` rows are left."""
        left = self.row_of_slot < count
        return Rows(self.slot_of_row[:count], ops.where(left, self.row_of_slot, -1))


def to_images(x: Any, images: Any, rows: Rows | None) -> Any:
    """[R, D] to [B, G, D], zeros in an empty slot; `images` is any tensor that leads with B."""
    count, width = ops.shape(images)[0], x.shape[-1]
    if rows is not None:
        x = _move(x, rows.row_of_slot, rows.slot_of_row)
    return ops.reshape(x, (count, -1, width))


def to_rows(x: Any, rows: Rows | None) -> Any:
    """[B, G, D] to [R, D]."""
    x = ops.reshape(x, (-1, x.shape[-1]))
    return x if rows is None else _move(x, rows.slot_of_row, rows.row_of_slot)


def for_rows(x: Any, rows: Rows) -> Any:
    """What each image has [B, ...], for each of its rows [R, ...]."""
    group = rows.row_of_slot.shape[0] // ops.shape(x)[0]
    return _move(ops.repeat(x, group, axis=0), rows.slot_of_row, rows.row_of_slot)


def _move(x: Any, there: Any, back: Any) -> Any:
    """x[there], zeros where `there` is -1; `back` undoes `there`.

    The gradient goes the way back by `back`. The one a framework knows for a gather adds rows up one by one, as
    several could have come from one place.
    """

    @ops.custom_gradient
    def move(x: Any) -> tuple[Any, Any]:
        def gradient(*gradients: Any, upstream: Any = None) -> Any:
            return _take(gradients[0] if upstream is None else upstream, back)

        return _take(x, there), gradient

    return move(x)


def _take(x: Any, index: Any) -> Any:
    rows = ops.take(x, ops.maximum(index, 0), axis=0)
    there = ops.reshape(index >= 0, (-1, *[1] * (len(x.shape) - 1)))
    return ops.where(there, rows, ops.zeros_like(rows))


class Packed(NamedTuple):
    """A batch of captions without padding, time-major.

    Attributes:
        inputs: tuple over T of int32 [n_t]. What the decoder is fed at step t, `<start>` first; n_t never grows. A
            row that is over or only fills the profile is fed `<end>` or `<pad>`.
        rows: Rows. Layout of the n_0 rows over the images.
        targets: int32 [sum of n_t]. What it should say, steps one after the other.
        weights: float32 [sum of n_t]. 0 where a row is already over (a profile leaves some), else 1.
        order: int32 [N]. Row of each caption as it was given.
    """

    inputs: tuple[Any, ...]
    rows: Rows
    targets: Any
    weights: Any
    order: Any

    def as_inputs(self) -> dict[str, Any]:
        """The part that a network is called with, as a dict of arrays."""
        return {
            "steps": self.inputs,
            "slot_of_row": self.rows.slot_of_row,
            "row_of_slot": self.rows.row_of_slot,
        }


def row_counts(lengths: Sequence[int] | np.ndarray) -> list[int]:
    """How many captions are still going at each step: n_t for T = the longest."""
    row_lengths = np.asarray(lengths)
    return [int((row_lengths > t).sum()) for t in range(int(row_lengths.max(initial=0)))]


def pack(
    captions: Sequence[Sequence[int]],
    images: Sequence[int],
    batch: int,
    group: int,
    profile: Sequence[int] | None = None,
) -> Packed:
    """Packs encoded captions of a batch of images.

    Args:
        captions: N id sequences `[w1 .. wn, <end>]`, none empty.
        images: N image numbers in 0..batch-1; an image may have up to `group` captions.
        batch: int. B.
        group: int. G, most captions an image.
        profile: row counts n_0 >= n_1 >= ... to fill up to, so that every batch has the same shapes; the exact
            counts when None.

    Returns:
        `Packed`, of numpy arrays.

    Raises:
        ValueError: if the captions do not fit into `profile` or an image has more than `group`.

    Example:
        >>> packed = pack([[5, 2], [6, 7, 2]], images=[0, 0], batch=1, group=2)
        >>> [step.tolist() for step in packed.inputs]
        [[1, 1], [6, 5], [7]]
        >>> packed.targets.tolist()
        [6, 5, 7, 2, 2]
    """
    lengths = np.array([len(c) for c in captions], np.int32)
    order = np.argsort(-lengths, kind="stable")
    exact = row_counts(lengths)
    counts = list(profile) if profile is not None else exact
    if len(exact) > len(counts) or any(n > m for n, m in zip(exact, counts, strict=False)):
        raise ValueError(f"captions need row counts {exact}, more than the profile {counts}")
    total, steps = counts[0], len(counts)
    if total > batch * group:
        raise ValueError(
            f"the profile starts with {total} rows, more than {batch} images of {group} captions have"
        )
    ids = np.full((total, steps + 1), PAD, np.int32)
    ids[: len(order), 0] = START
    for row, caption in enumerate(order):
        ids[row, 1 : lengths[caption] + 1] = captions[caption]
    slot_of_row = np.zeros(total, np.int32)
    row_of_slot = np.full(batch * group, -1, np.int32)
    used = np.zeros(batch, np.int32)
    for row, caption in enumerate(order):
        image = images[caption]
        if used[image] == group:
            raise ValueError(f"image {image} has more than {group} captions")
        slot = image * group + used[image]
        used[image] += 1
        slot_of_row[row], row_of_slot[slot] = slot, row
    # Rows that only fill the profile take slots that are left.
    spare = np.arange(len(order), total, dtype=np.int32)
    empty = np.flatnonzero(row_of_slot < 0)[: len(spare)]
    slot_of_row[spare], row_of_slot[empty] = empty, spare
    row_lengths = np.zeros(total, np.int32)
    row_lengths[: len(order)] = lengths[order]
    inputs = tuple(ids[:n, t] for t, n in enumerate(counts))
    targets = np.concatenate([ids[:n, t + 1] for t, n in enumerate(counts)])
    weights = np.concatenate([row_lengths[:n] > t for t, n in enumerate(counts)]).astype(np.float32)
    return Packed(
        inputs, Rows(slot_of_row, row_of_slot), targets, weights, np.argsort(order).astype(np.int32)
    )


def unpack(values: Any, packed: Packed) -> list[np.ndarray]:
    """Packed values [sum of n_t, ...] back to one array [T_i, ...] a caption, in the order given to `pack`."""
    values, counts = np.asarray(values), [len(step) for step in packed.inputs]
    starts = np.concatenate([[0], np.cumsum(counts)])
    weights = np.asarray(packed.weights)
    return [
        np.stack(
            [values[starts[t] + row] for t, n in enumerate(counts) if row < n and weights[starts[t] + row]]
        )
        for row in packed.order
    ]
