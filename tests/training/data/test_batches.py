"""Batches: every caption once, every shape the same, order from (seed, epoch) alone, and nothing else."""

import collections
import threading

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.models.packing import unpack
from captioner.text import Tokenizer
from captioner.types import END, START
from training.data.batches import CaptionGroup, PackedBatches, caption_groups
from training.data.datasets import Example


def make_groups(images, group, seed, mean=11.8, spread=3.8, longest=22, full=False):
    """Groups of 1 to `group` captions of random words, lengths about as in Flickr8k."""
    random = np.random.default_rng(seed)
    groups = []
    for image in range(images):
        count = group if full else int(random.integers(1, group + 1))
        lengths = np.clip(np.round(random.normal(mean, spread, count)), 1, longest - 1).astype(int)
        groups.append(CaptionGroup(image, [[*random.integers(4, 20, n).tolist(), END] for n in lengths]))
    return groups


# Images, captions an image, images a batch; among them fewer images than a batch takes, and one alone.
WORLDS = [(37, 5, 8), (64, 1, 16), (40, 3, 40), (5, 5, 64), (1, 2, 64), (1, 1, 1), (23, 6, 1)]


@pytest.fixture(params=WORLDS, ids=lambda world: "x".join(map(str, world)))
def batches(request):
    images, group, batch = request.param
    return PackedBatches(make_groups(images, group, seed=images), batch, group, seed=3)


def number(index, seed):
    """Features that tell which image they are of."""
    return np.asarray(index, np.float32)[:, None, None]


def same(one, other):
    flat = [
        *one.inputs["steps"],
        *(v for k, v in one.inputs.items() if k != "steps"),
        one.targets,
        one.weights,
    ]
    more = [*other.inputs["steps"], *(v for k, v in other.inputs.items() if k != "steps")]
    more += [other.targets, other.weights]
    return len(flat) == len(more) and all(np.array_equal(a, b) for a, b in zip(flat, more, strict=True))


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_group_comes_once_an_epoch(batches, epoch):
    plan = batches.plan(epoch)
    seen = collections.Counter(group for chosen in plan[:-1] for group in chosen)
    assert set(seen.values()) <= {1}
    remaining = [group for group in plan[-1] if group not in seen]
    assert sorted([*seen, *remaining]) == list(range(len(batches.caption_groups)))
    assert plan[-1][: len(remaining)] == remaining, "what fills up comes after what was still to do"
    for chosen in plan:
        assert 1 <= len(chosen) <= batches.batch and len(set(chosen)) == len(chosen)


def test_every_batch_has_the_shapes_of_the_profile(batches):
    for epoch in range(3):
        for batch in batches.epoch(epoch, number, "features"):
            assert [len(step) for step in batch.inputs["steps"]] == batches.profile
            assert batch.inputs["features"].shape == (batches.batch, 1, 1)
            assert len(batch.targets) == len(batch.weights) == sum(batches.profile)
            assert batch.inputs["sorted_indices"].shape == (batches.profile[0],)
            assert batch.inputs["unsorted_indices"].shape == (batches.batch * batches.group,)
    assert batches.profile == sorted(batches.profile, reverse=True)


def test_inputs_and_targets_match_their_images(batches):
    for chosen in batches.plan(2):
        images, packed, count = batches.packed(chosen)
        wanted = [
            (batches.caption_groups[v].image, caption)
            for v in chosen
            for caption in batches.caption_groups[v].captions
        ]
        assert count == len(wanted) and packed.weights.sum() == sum(len(caption) for _, caption in wanted)
        fed = np.concatenate(packed.inputs)
        rows = packed.order
        image_of_row = images[packed.layout.sorted_indices[rows] // batches.group]
        for target, inputs, owner, (image, caption) in zip(
            unpack(packed.targets, packed), unpack(fed, packed), image_of_row, wanted, strict=True
        ):
            assert target.tolist() == caption and inputs.tolist() == [START, *caption[:-1]] and owner == image
        # Every row has a slot of its own, and that slot knows its row.
        slots = packed.layout.sorted_indices[rows]
        assert len(set(slots.tolist())) == count and (packed.layout.unsorted_indices[slots] == rows).all()


def test_order_depends_on_seed_and_epoch_alone():
    data = make_groups(30, 3, seed=1)
    one, again, other = (PackedBatches(data, 8, 3, seed) for seed in (5, 5, 6))
    late = one.plan(4)
    np.random.seed(0)
    assert [again.plan(epoch) for epoch in range(5)][4] == late == one.plan(4)
    assert one.plan(3) != late != other.plan(4)


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_skipped_epochs_continue_the_same(skip):
    batches = PackedBatches(make_groups(30, 3, seed=1), 8, 3, seed=5)
    complete = list(batches.epoch(2, number, "features"))
    rest = list(batches.epoch(2, number, "features", skip=skip))
    assert len(complete) == len(batches.plan(2)) >= 4 and len(rest) == len(complete) - skip
    assert all(same(a, b) for a, b in zip(rest, complete[skip:], strict=True))
    assert not same(complete[0], complete[1])


def test_finished_epoch_has_no_batches():
    batches = PackedBatches(make_groups(9, 2, seed=1), 4, 2, seed=5)
    assert list(batches.epoch(0, number, "features", skip=len(batches.plan(0)))) == []


def test_many_captions_make_several_groups():
    tokenizer = Tokenizer(["a", "b"])
    examples = [Example("x", ("a", "b", "a b", "b a", "a a"), bytes), Example("y", ("b b b b",), bytes)]
    groups = caption_groups(examples, tokenizer, group=2, max_length=4)
    assert [(group.image, len(group.captions)) for group in groups] == [(0, 2), (0, 2), (0, 1), (1, 1)]
    texts = [tokenizer.decode(caption) for group in groups for caption in group.captions]
    assert texts == ["a", "b", "a b", "b a", "a a", "b b b b"]
    assert groups[-1].captions == [[5, 5, 5, 5]], "cut to max_length, its end left out"
    assert all(caption[-1] == END for group in groups[:3] for caption in group.captions)


def test_batches_of_captions_like_flickrs_are_nearly_full():
    batches = PackedBatches(make_groups(1000, 5, seed=2, full=True), 64, 5, seed=1)
    assert batches.fill > 0.85
    plan = batches.plan(0)
    # The share that counts: words over cells, over whole epochs and whatever batches came out short.
    words = sum(sum(map(len, group.captions)) for group in batches.caption_groups)
    assert words / (len(plan) * sum(batches.profile)) > 0.83
    assert sum(len(chosen) < 64 for chosen in plan[:-1]) <= len(plan) // 5


def test_one_long_caption_fits():
    data = make_groups(40, 5, seed=3, mean=4, spread=1)
    data[7] = CaptionGroup(7, [[5] * 21 + [END]] * 5)
    batches = PackedBatches(data, 8, 5, seed=1)
    assert len(batches.profile) == 22 and min(batches.profile) >= 5
    assert sorted({v for chosen in batches.plan(0) for v in chosen}) == list(range(40))


def test_what_goes_wrong_while_reading_ahead_is_told():
    def broken(index, seed):
        raise DataError("image 3 is gone")

    batches = PackedBatches(make_groups(9, 2, seed=1), 4, 2, seed=5)
    with pytest.raises(DataError, match="image 3 is gone"):
        list(batches.epoch(0, broken, "features"))


def test_leaving_an_epoch_early_leaves_no_thread():
    before = threading.active_count()
    epoch = PackedBatches(make_groups(9, 2, seed=1), 4, 2, seed=5).epoch(0, number, "features")
    next(epoch)
    epoch.close()
    assert threading.active_count() == before
