"""Batches: every caption once, every shape the same, order from (seed, epoch) alone, and nothing else."""

import collections
import threading

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.models.packing import unpack
from captioner.text import Tokenizer
from captioner.types import END, START
from training.data.batches import CaptionGroup, PackedBatches, caption_groups, shown_in
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


@pytest.mark.parametrize("value", [0.1, 0.5, 1.0, 1.5, 2.0, 3.3])
def test_images_are_shown_as_often_as_repeats_say(value):
    repeats = np.array([value] * 101 + [1.0] * 3)
    counts = np.array([shown_in(epoch, repeats) for epoch in range(40)])
    assert (counts[:, 101:] == 1).all()
    counts = counts[:, :101]
    assert counts.min() >= np.floor(value) and counts.max() <= np.ceil(value)
    assert (np.abs(counts.cumsum(0) - value * np.arange(1, 41)[:, None]) < 1).all(), "none is left behind"
    assert (np.abs(counts.sum(1) - value * 101) < 4).all(), "epochs are equally long"


def test_an_epoch_shows_groups_by_their_repeats():
    repeats = {0: 1.0, 1: 3.0, 2: 0.5}
    data = [group._replace(repeats=repeats[group.image % 3]) for group in make_groups(60, 2, seed=1)]
    batches = PackedBatches(data, 8, 2, seed=5)
    before = collections.Counter()
    for epoch in range(2):
        numbers = batches.plan(epoch)
        shown = collections.Counter(batches.caption_groups[n].image for n in set(sum(numbers, [])))
        last = numbers[-1]
        filled = collections.Counter(
            batches.caption_groups[n].image for n in last if n in sum(numbers[:-1], [])
        )
        assert not filled or sum(filled.values()) < 8
        assert all(shown[image] == repeats[image % 3] for image in range(60) if image % 3 < 2)
        halves = [image for image in range(2, 60, 3) if shown[image]]
        assert 9 <= len(halves) <= 11 and not set(halves) & set(before)
        before.update(halves)
    assert len(before) == 20, "each in one of two epochs"
    assert [batches.plan(epoch) for epoch in (0, 1)] == [
        PackedBatches(data, 8, 2, seed=5).plan(e) for e in (0, 1)
    ]


def test_whole_repeats_keep_the_order_that_copies_had():
    data = make_groups(30, 3, seed=1)
    copies = PackedBatches(data * 3, 8, 3, seed=5)
    repeated = PackedBatches(data, 8, 3, seed=5, repeats=3)
    threes = PackedBatches([group._replace(repeats=3.0) for group in data], 8, 3, seed=5)
    assert copies.profile == repeated.profile == threes.profile
    assert copies.plan(2) == repeated.plan(2) == threes.plan(2)


def test_an_epoch_that_shows_nothing():
    batches = PackedBatches(
        [group._replace(repeats=0.1) for group in make_groups(1, 2, seed=1)], 4, 2, seed=5
    )
    assert sorted(len(batches.plan(epoch)) for epoch in range(10)) == [0] * 9 + [1]


def test_loss_weights_are_those_of_their_words():
    data = [
        group._replace(loss_weight=0.25 if group.image % 2 else 1.0) for group in make_groups(9, 3, seed=2)
    ]
    batches, plain = PackedBatches(data, 4, 3, seed=5), PackedBatches(make_groups(9, 3, seed=2), 4, 3, seed=5)
    for chosen in batches.plan(0):
        _, packed, _ = batches.packed(chosen)
        _, plain_packed, _ = plain.packed(chosen)
        assert packed.targets.tolist() == plain_packed.targets.tolist()
        owners = [data[number].image for number in chosen for _ in data[number].captions]
        for weights, image in zip(unpack(packed.weights, plain_packed), owners, strict=True):
            assert set(weights.tolist()) == {0.25 if image % 2 else 1.0}
        assert (packed.weights[plain_packed.weights == 0] == 0).all()


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
