"""How rows (captions or beams) lie over images, and how a batch of captions is packed without padding.

Memory leads with the B images of a batch, ids and state with its R rows. Stepping keeps the rows of an image
next to each other, so that a reshape gives [B, G, ...]. Training packs instead: rows are sorted by caption length,
longest first, so that step t works on the first n_t rows only and no time is spent on padding; `PackedLayout` then
says which slot of [B, G] each row fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from captioner.types import PAD, START


class PackedLayout(NamedTuple):
    """Which slot of [B, G] each row fills, and which row each slot holds.

    No two rows share a slot, so each index inverts the other, like those of PyTorch's `PackedSequence`.

    Attributes:
        sorted_indices: int32 [R]. The slot of each row.
        unsorted_indices: int32 [B * G]. The row of each slot, -1 for a slot that is empty.
    """

    sorted_indices: Any
    unsorted_indices: Any

    def first(self, count: int) -> PackedLayout:
        """The same layout when only the first `count` rows are left."""
        left = self.unsorted_indices < count
        return PackedLayout(self.sorted_indices[:count], ops.where(left, self.unsorted_indices, -1))


def to_images(x: Any, images: Any, layout: PackedLayout | None) -> Any:
    """[R, D] to [B, G, D], zeros in an empty slot; `images` is any tensor that leads with B."""
    count, width = ops.shape(images)[0], x.shape[-1]
    if layout is not None:
        x = _gather(x, layout.unsorted_indices, layout.sorted_indices)
    return ops.reshape(x, (count, -1, width))


def to_rows(x: Any, layout: PackedLayout | None) -> Any:
    """[B, G, D] to [R, D]."""
    x = ops.reshape(x, (-1, x.shape[-1]))
    return x if layout is None else _gather(x, layout.sorted_indices, layout.unsorted_indices)


def for_rows(x: Any, layout: PackedLayout) -> Any:
    """Repeats the entry of each image [B, ...] for each of its rows [R, ...]."""
    group = layout.unsorted_indices.shape[0] // ops.shape(x)[0]
    return _gather(ops.repeat(x, group, axis=0), layout.sorted_indices, layout.unsorted_indices)


def _gather(x: Any, indices: Any, inverse: Any) -> Any:
    """x[indices], zeros where an index is -1; `inverse` inverts `indices`.

    The gradient is the gather by `inverse`. A framework's own gradient of a gather adds rows up one by one, as
    several could come from one index.
    """

    @ops.custom_gradient
    def gather(x: Any) -> tuple[Any, Any]:
        def gradient(*gradients: Any, upstream: Any = None) -> Any:
            return _take(gradients[0] if upstream is None else upstream, inverse)

        return _take(x, indices), gradient

    return gather(x)


def _take(x: Any, indices: Any) -> Any:
    rows = ops.take(x, ops.maximum(indices, 0), axis=0)
    filled = ops.reshape(indices >= 0, (-1, *[1] * (len(x.shape) - 1)))
    return ops.where(filled, rows, ops.zeros_like(rows))


class Packed(NamedTuple):
    """A batch of captions without padding, time-major.

    Attributes:
        inputs: tuple over T of int32 [n_t]. What the decoder is fed at step t, `<start>` first; n_t never grows. A
            row that is finished or only fills the profile is fed `<end>` or `<pad>`.
        layout: PackedLayout. Of the n_0 rows over the images.
        targets: int32 [sum of n_t]. The next ids, steps one after the other.
        weights: float32 [sum of n_t]. 0 where a row is finished (a profile leaves some), else 1.
        order: int32 [N]. Row of each caption, in the order of `pack`'s argument.
    """

    inputs: tuple[Any, ...]
    layout: PackedLayout
    targets: Any
    weights: Any
    order: Any

    def as_inputs(self) -> dict[str, Any]:
        """The inputs of `CaptionModel`, a dict of arrays."""
        return {
            "steps": self.inputs,
            "sorted_indices": self.layout.sorted_indices,
            "unsorted_indices": self.layout.unsorted_indices,
        }


def row_counts(lengths: Sequence[int] | np.ndarray) -> list[int]:
    """How many captions are unfinished at each step: n_t for T = the longest."""
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
    counts = _counts(lengths, profile, batch * group)
    total = counts[0]
    ids = np.full((total, len(counts) + 1), PAD, np.int32)
    ids[: len(order), 0] = START
    for row, caption in enumerate(order):
        ids[row, 1 : lengths[caption] + 1] = captions[caption]
    row_lengths = np.zeros(total, np.int32)
    row_lengths[: len(order)] = lengths[order]
    inputs = tuple(ids[:n, t] for t, n in enumerate(counts))
    targets = np.concatenate([ids[:n, t + 1] for t, n in enumerate(counts)])
    weights = np.concatenate([row_lengths[:n] > t for t, n in enumerate(counts)]).astype(np.float32)
    layout = _layout([images[caption] for caption in order], total, batch, group)
    return Packed(inputs, layout, targets, weights, np.argsort(order).astype(np.int32))


def _counts(lengths: np.ndarray, profile: Sequence[int] | None, slots: int) -> list[int]:
    """Row counts n_t: the exact ones, or `profile`, which must not be smaller."""
    exact = row_counts(lengths)
    counts = list(profile) if profile is not None else exact
    if len(exact) > len(counts) or any(n > m for n, m in zip(exact, counts, strict=False)):
        raise ValueError(f"captions need row counts {exact}, more than the profile {counts}")
    if counts[0] > slots:
        raise ValueError(
            f"expected a profile that starts with at most {slots} captions (batch * group), got {counts[0]}"
        )
    return counts


def _layout(images: Sequence[int], total: int, batch: int, group: int) -> PackedLayout:
    """The layout of rows of these images; further rows, up to `total`, fill slots that are left."""
    sorted_indices = np.zeros(total, np.int32)
    unsorted_indices = np.full(batch * group, -1, np.int32)
    used = np.zeros(batch, np.int32)
    for row, image in enumerate(images):
        if used[image] == group:
            raise ValueError(f"image {image} has more than {group} captions")
        slot = image * group + used[image]
        used[image] += 1
        sorted_indices[row], unsorted_indices[slot] = slot, row
    spare = np.arange(len(images), total, dtype=np.int32)
    empty = np.flatnonzero(unsorted_indices < 0)[: len(spare)]
    sorted_indices[spare], unsorted_indices[empty] = empty, spare
    return PackedLayout(sorted_indices, unsorted_indices)


def unpack(values: Any, packed: Packed) -> list[np.ndarray]:
    """Packed values [sum of n_t, ...] back to one array [T_i, ...] a caption, in the order of `pack`'s argument."""
    values, counts = np.asarray(values), [len(step) for step in packed.inputs]
    starts = np.concatenate([[0], np.cumsum(counts)])
    weights = np.asarray(packed.weights)
    return [
        np.stack(
            [values[starts[t] + row] for t, n in enumerate(counts) if row < n and weights[starts[t] + row]]
        )
        for row in packed.order
    ]
