"""Subsets of the training images: which images they hold, and whose features they are given."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import captioner
from captioner.errors import DataError, ImageError, SpecError
from captioner.image import tf_decode
from captioner.models import CaptionModel
from captioner.text import Tokenizer
from captioner.types import SPECIALS
from training.data.datasets import Example
from training.data.source import Source
from training.data.transforms import Subset
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick")

COUNT, SIDE = 24, 16


class Shades:
    """Image i is of a grey that no other has, darker on the left; its caption names it. Counts its reads.

    Args:
        broken: numbers of training images that cannot be read.
        count: int. Training images.
    """

    splits, fingerprint = ("train", "validation", "test"), "shades"

    def __init__(self, broken=(), count=COUNT):
        self.broken, self.count, self.reads = set(broken), count, []

    def _read(self, split, number):
        self.reads.append((split, number))
        if split == "train" and number in self.broken:
            raise ImageError(f"{number}.png: cannot be read")
        return f"{split} {number}".encode()

    def examples(self, split):
        count = self.count if split == "train" else 3
        return [
            Example(f"{split}{i}.png", (f"shade number {'x' * i}",), lambda i=i: self._read(split, i))
            for i in range(count)
        ]


class Pixels:
    """What stands for a decoded image: `.numpy()` is float32 [H, W, 3]."""

    def __init__(self, file):
        split, number = file.decode().split()
        value = 10 * int(number) + (5 if split != "train" else 0)
        columns = np.arange(SIDE)[np.newaxis, :, np.newaxis] >= SIDE // 2
        self._pixels = np.broadcast_to(value + 4 * columns, (SIDE, SIDE, 3)).astype(np.float32)

    def numpy(self):
        return self._pixels


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    monkeypatch.setattr(tf_decode, "reader", lambda size: Pixels)


@pytest.fixture(scope="module")
def encoder():
    """A model whose features are the means of the left and the right half: two locations, one channel."""
    pixels = keras.Input((SIDE, SIDE, 3))
    channel = keras.ops.mean(pixels, axis=-1, keepdims=True)
    grid = keras.layers.AveragePooling2D((SIDE, SIDE // 2))(channel)
    return CaptionModel(
        keras.Model(pixels, grid), "lstm(units=2, embedding=2, value_dim=2)", Tokenizer(["a"])
    )


def run_of(folder, *changes):
    always = ["model.train_encoder=false", "evaluation.tests=test", "data.min_count=1", "data.max_bad=0.9"]
    return with_changes(RECIPES.build("tiny"), [*always, f"data.features={folder}", *changes])


def names(dataset, split="train"):
    return [example.id for example in dataset.examples(split)]


# Which images.


def test_smaller_subsets_are_part_of_larger_ones():
    sizes = [1, 2, 5, 12, 23, 24]
    drawn = [set(names(Subset(Shades(), images=size))) for size in sizes]
    assert [len(ids) for ids in drawn] == sizes
    for small, large in zip(drawn, drawn[1:], strict=False):
        assert small < large
    held = [set(names(Subset(Shades(), images=size, hold_out=4), "validation")) for size in (5, 12, 0)]
    assert held[0] == held[1] == held[2], "the same images are held out of each size"


@pytest.mark.parametrize("images", [0, 10])
def test_what_is_held_out_is_not_trained_on(images):
    subset = Subset(Shades(), images=images, hold_out=4)
    train, validation = names(subset), names(subset, "validation")
    assert len(validation) == 4 and len(train) == (images or COUNT) - 4
    assert not set(train) & set(validation) and set(train + validation) <= set(names(Shades()))
    # In the order of the dataset, captions with their images.
    order = names(Shades())
    for split in ("train", "validation"):
        ids = names(subset, split)
        assert ids == sorted(ids, key=order.index)
        assert all(
            example.captions == Shades().examples("train")[order.index(example.id)].captions
            for example in subset.examples(split)
        )


def test_the_draw_depends_on_the_seed_and_the_names_alone():
    first = names(Subset(Shades(), images=8, seed=1))
    assert first == names(Subset(Shades(), images=8, seed=1))
    assert set(first) != set(names(Subset(Shades(), images=8, seed=2)))
    # Not the first ones of the dataset, and every image has its turn.
    assert set(first) != set(names(Shades())[:8])
    turns = {name for seed in range(40) for name in names(Subset(Shades(), images=8, seed=seed))}
    assert turns == set(names(Shades()))

    class Backwards(Shades):
        def examples(self, split):
            return super().examples(split)[::-1]

    assert set(names(Subset(Backwards(), images=8, seed=1))) == set(first)


def test_names_that_are_no_unicode_are_drawn_too():
    class Odd(Shades):
        def examples(self, split):
            return [Example(f"\udcff{e.id}", e.captions, e.read) for e in super().examples(split)]

    assert len(names(Subset(Odd(), images=8))) == 8


def test_other_splits_stay():
    for subset in (Subset(Shades(), images=8), Subset(Shades(), images=8, hold_out=2)):
        assert subset.splits == Shades.splits and subset.fingerprint == Shades.fingerprint
        assert names(subset, "test") == names(Shades(), "test")
    assert names(Subset(Shades(), images=8), "validation") == names(Shades(), "validation")

    class Two(Shades):
        splits = ("train", "test")

    assert Subset(Two(), images=8).splits == ("train", "test")
    assert set(Subset(Two(), hold_out=2).splits) == {"train", "test", "validation"}


@pytest.mark.parametrize(
    ("images", "hold_out", "says"),
    [
        (25, 0, "expected data.images to be at most 24, the training images there are, got 25"),
        (0, 24, "expected data.hold_out to leave images to train on, got 24 of 24"),
        (5, 5, "expected data.hold_out to leave images to train on, got 5 of 5"),
    ],
)
def test_too_many_images_are_one_line(images, hold_out, says):
    with pytest.raises(DataError) as caught:
        Subset(Shades(), images, hold_out)
    assert str(caught.value) == says
    assert Subset(Shades(), 24, 23) and Subset(Shades(), 5, 4), "one less would do"


# Whose features.


def shades(values):
    """The numbers of the images that features [N, 2, 1] are of, and whether each is flipped."""
    left, right = np.asarray(values, np.float64)[:, 0, 0], np.asarray(values, np.float64)[:, 1, 0]
    return (np.minimum(left, right) / 10).tolist(), (left > right).tolist()


def number_of(example):
    return len(example.captions[0].partition("number ")[2])


@pytest.mark.parametrize("broken", [(), (0, 7, 13, 23)], ids=["all readable", "some unreadable"])
@pytest.mark.parametrize("flip", [False, True], ids=["", "flipped"])
@pytest.mark.parametrize("sizes", [("8", "3"), ("0", "3"), ("24", "0"), ("0", "0")], ids=str)
def test_features_are_of_the_images_they_stand_for(sizes, flip, broken, encoder, tmp_path):
    images, hold_out = sizes
    changes = [
        f"data.images={images}",
        f"data.hold_out={hold_out}",
        f"data.horizontal_flip={flip}",
        "data.language=en",
    ]
    run, dataset = run_of(tmp_path, *changes), Shades(broken)
    source = Source(run, dataset)
    source.prepare(encoder)
    expected = Subset(dataset, int(images), int(hold_out), run.seed)
    for split in ("train", "validation"):
        examples = source.examples(split)
        from_training = split == "train" or hold_out != "0"
        readable = [e for e in expected.examples(split) if not (from_training and number_of(e) in broken)]
        assert [e.captions for e in examples if not e.flipped] == [e.captions for e in readable]
        assert sum(e.flipped for e in examples) == (len(readable) if flip and split == "train" else 0)
        numbers, flipped = shades(source.reader(split)(np.arange(len(examples))))
        offset = 0.0 if from_training else 0.5
        assert numbers == [number_of(e) + offset for e in examples]
        assert flipped == [e.flipped for e in examples]
        # In any order that a batch asks for.
        index = np.random.default_rng(3).permutation(len(examples))
        assert shades(source.reader(split)(index))[0] == [numbers[i] for i in index]
    for group in source.caption_groups:
        numbers, _ = shades(source.training(np.array([group.image]), [1, 2]))
        assert source.tokenizer.decode(group.captions[0]).count("x") == numbers[0]
    # Words of the images that are held out are not in the vocabulary.
    held = {e.captions[0].split()[-1] for e in expected.examples("validation")} if hold_out != "0" else set()
    assert not held & set(source.tokenizer.vocabulary)


def test_augmentations_are_of_the_same_images(encoder, tmp_path):
    run = run_of(tmp_path, "data.images=8", "data.hold_out=2", "data.cached_augmentations=2")
    source = Source(run, Shades())
    source.prepare(encoder)
    assert len(source._augmented) == 2
    wanted = [number_of(e) for e in source.examples("train")]
    for features in source._augmented:
        assert [number_of(e) for e in features.examples] == wanted
        assert all(e.augmentation for e in features.examples)
    # The features of the augmentation of each image, encoded alone.
    first = source._augmented[0]
    alone = [e.pixels(Pixels).astype(np.float32) for e in first.examples]
    np.testing.assert_allclose(first[np.arange(6)], encoder.encode(np.stack(alone)).numpy(), rtol=2e-3)


def test_subsets_share_the_cache(encoder, tmp_path):
    """Features are computed once for all images, so that a learning curve encodes nothing twice."""
    dataset = Shades()
    for changes in (
        ["data.images=8", "data.hold_out=2"],
        ["data.images=12", "data.hold_out=3"],
        ["data.images=8", "data.hold_out=2", "seed=5"],
        ["data.hold_out=2"],
        [],
    ):
        Source(run_of(tmp_path, *changes), dataset).prepare(encoder)
    assert len(dataset.reads) == len(set(dataset.reads)), "an image was encoded twice"
    assert {split for split, _ in dataset.reads} == {"train", "test", "validation"}
    folders = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert sorted(folders) == ["test", "train", "validation"]


def test_pixels_of_a_subset_are_of_its_images(encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = Source(
        run_of(tmp_path, "data.images=8", "data.hold_out=3", "model.train_encoder=true"), Shades((3,))
    )
    source.prepare(encoder)
    for split in ("train", "validation"):
        examples = source.examples(split)
        pixels = source.reader(split)(np.arange(len(examples)))
        assert (pixels.min(axis=(1, 2, 3)) / 10).tolist() == [number_of(e) for e in examples]


# The vocabulary.


@pytest.fixture(scope="module")
def start_folder(encoder, tmp_path_factory):
    model = CaptionModel(
        "small_cnn(width=2, stages=1)",
        "lstm(units=2, embedding=2, value_dim=2)",
        Tokenizer(["zebra", "number", "apple"]),
        image_size=(SIDE, SIDE),
    )
    return captioner.save(model, tmp_path_factory.mktemp("start") / "model")


def test_a_union_has_the_words_of_both(start_folder, tmp_path):
    always = [f"model.init_from={start_folder}", "data.images=3", "data.max_vocabulary=2"]
    alone = Source(run_of(tmp_path, *always), Shades())
    union = Source(run_of(tmp_path, *always, "data.vocabulary=union"), Shades())
    assert alone.tokenizer.vocabulary[len(SPECIALS) :] == ("number", "shade")
    assert alone.caption_words == union.caption_words == ("number", "shade")
    # Each word once, those of the captions first.
    assert union.tokenizer.vocabulary == (*SPECIALS, "number", "shade", "zebra", "apple")


def test_another_vocabulary_is_named():
    with pytest.raises(SpecError, match="data.vocabulary.*did you mean 'union'"):
        run_of("features", "data.vocabulary=unoin")
