"""Features of one image stand beside each other, whichever of its views could not be read."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from captioner.errors import DataError, ImageError
from captioner.image import tf_decode
from captioner.models.encoders import Encoder
from training import fit_cider_regression
from training.data.datasets import Example
from training.data.feature_cache import cached_split, encode_split
from training.data.features import ConcatFeatures, align
from training.data.source import Source
from training.data.transforms import AugmentedView
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick")

COUNT, SIZE = 8, (8, 8)
IDS = np.arange(COUNT)


class Counted:
    """A hand-made dataset: image i is grey of the value 10 i, and may be unreadable in some views.

    Args:
        broken: dict of a view (0 is the image itself) to the numbers of the images that cannot be read in it.
        order: the images' numbers, in order.
    """

    splits, fingerprint = ("train", "validation", "test"), "grey"

    def __init__(self, broken=(), order=IDS):
        self.broken, self.order = dict(broken), order

    def examples(self, split):
        return [Image(self, int(i)) for i in self.order]


class Image(Example):
    """Image `number`; its captions name it."""

    def __init__(self, dataset, number, **more):
        captions = (f"number {'x' * number}", "the same word again")
        super().__init__(more.pop("id", f"{number}.png"), captions, lambda: b"", **more)
        object.__setattr__(self, "dataset", dataset)
        object.__setattr__(self, "number", number)

    def pixels(self, load):
        if self.number in self.dataset.broken.get(self.augmentation, ()):
            raise ImageError(f"{self.number}.png: cannot be read in view {self.augmentation}")
        return np.full((*SIZE, 3), 10 * self.number + self.augmentation, np.float32)


@pytest.fixture(autouse=True)
def hand_made(monkeypatch):
    """`dataclasses.replace` of an `Image` is one in another view; no reader of pixels is needed."""

    def replace_image(example, **changes):
        if not isinstance(example, Image):
            return replace(example, **changes)
        return type(example)(
            example.dataset, example.number, id=changes["id"], augmentation=changes["augmentation"]
        )

    monkeypatch.setattr("training.data.transforms.replace", replace_image)
    monkeypatch.setattr(tf_decode, "reader", lambda size: None)


@pytest.fixture(scope="module")
def encoder():
    """An encoder whose features are the mean of the pixels: one place, one channel."""
    pixels = keras.Input((*SIZE, 3))
    grid = keras.layers.AveragePooling2D(SIZE)(pixels)
    return Encoder(keras.Model(pixels, grid))


def numbers(features):
    """The image that each row is of, and its view, as the features themselves say."""
    values = np.asarray(features[np.arange(len(features))], np.float64)[:, 0, 0]
    return (values // 10).astype(int).tolist(), (values % 10).astype(int).tolist()


def source_of(dataset, encoder, tmp_path, views=2, max_bad=0.9):
    changes = [f"data.cached_augmentations={views}", f"data.features={tmp_path}", f"data.max_bad={max_bad}"]
    run = with_changes(
        RECIPES.build("tiny"),
        [*changes, "model.train_encoder=false", "evaluation.tests=test", "data.min_count=1"],
    )
    source = Source(run, dataset)

    class Model:
        pass

    Model.encoder = encoder
    source.prepare(Model)
    return source


CASES = {
    "none": {},
    "one view": {1: [3]},
    "the first, in one view": {1: [0]},
    "the last, in one view": {2: [7]},
    "the image itself": {0: [2]},
    "another in each": {0: [1], 1: [4], 2: [6]},
    "the same in two": {1: [5], 2: [5]},
    "as many in each, but others": {0: [0], 1: [7], 2: [3]},
    "several": {1: [0, 1, 2], 2: [7]},
}


@pytest.mark.parametrize("broken", CASES.values(), ids=CASES)
def test_augmentations_are_aligned_by_image(broken, encoder, tmp_path, caplog):
    lost = {number for view in broken.values() for number in view}
    source = source_of(Counted(broken), encoder, tmp_path)
    kept = [i for i in range(COUNT) if i not in lost]
    assert [e.number for e in source.examples("train")] == kept
    for view, features in enumerate([source._open("train"), *source._augmented]):
        assert numbers(features) == (kept, [view] * len(kept))
    # What a step is given: whichever view is drawn, it is of the image that was asked for.
    seen = set()
    for seed in range(30):
        index = np.random.default_rng(seed).permutation(len(kept))
        values = source.training(index, [1, seed])[:, 0, 0]
        assert (values // 10).astype(int).tolist() == [kept[i] for i in index]
        seen |= set((values % 10).astype(int).tolist())
    assert seen == {0, 1, 2}
    # And the captions are its own.
    for group in source.caption_groups:
        words = source.tokenizer.decode(group.captions[0])
        assert words == f"number {'x' * kept[group.image]}".strip()
    if lost:
        assert "left out" in caplog.text
    again = source_of(Counted(broken), encoder, tmp_path)
    assert [numbers(f) for f in again._augmented] == [numbers(f) for f in source._augmented], "from the cache"


def test_left_out_images_are_counted_once(encoder, tmp_path):
    source_of(Counted({1: [3], 2: [3, 5]}), encoder, tmp_path, max_bad=0.25)
    rows = [json.loads(row) for row in (tmp_path / "unreadable_train.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == ["3.png", "5.png"]
    assert "cannot be read in view" in rows[0]["reason"]
    # One in eight is bad in each view, which would do; together they are three.
    with pytest.raises(DataError, match=r"at most 25.00% bad rows.*3 of 8"):
        source_of(Counted({0: [1], 1: [3], 2: [5]}), encoder, tmp_path / "more", max_bad=0.25)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_interrupted_augmentation_is_resumed(stop, encoder, tmp_path):
    class Interrupted(Counted):
        def examples(self, split):
            return [Stopping(self, int(i)) for i in self.order]

    class Stopping(Image):
        def pixels(self, load):
            if self.augmentation == 1 and self.number == stop:
                raise KeyboardInterrupt
            return super().pixels(load)

    broken = {1: [2, 6], 0: [5]}
    with pytest.raises(KeyboardInterrupt):
        encode_split(
            encoder, AugmentedView(Interrupted(broken), 1), "train", tmp_path, batch_size=1, max_bad=0.9
        )
    source = source_of(Counted(broken), encoder, tmp_path)
    assert numbers(source._augmented[0]) == ([0, 1, 3, 4, 7], [1] * 5)


def test_another_order_is_another_cache(encoder, tmp_path):
    forth, back = Counted({1: [3]}), Counted({1: [3]}, IDS[::-1])
    source_of(forth, encoder, tmp_path)
    source = source_of(back, encoder, tmp_path)
    kept = [7, 6, 5, 4, 2, 1, 0]
    assert [numbers(f)[0] for f in [source._open("train"), *source._augmented]] == [kept] * 3
    ours, theirs = (encode_split(encoder, d, "train", tmp_path) for d in (forth, back))
    with pytest.raises(DataError, match="same images in the same order"):
        align([ours, theirs], "train", tmp_path)


def test_other_numbers_of_images_are_not_brought_together(encoder, tmp_path):
    some = encode_split(encoder, Counted(order=IDS[:5]), "train", tmp_path)
    every = encode_split(encoder, Counted(), "train", tmp_path)
    with pytest.raises(DataError, match="same images in the same order"):
        ConcatFeatures([every, some])


def test_concatenated_encoders_are_aligned(encoder, tmp_path):
    """Here one encoder could not read what the other could: its cache was made while a file was away."""
    complete = encode_split(encoder, Counted(), "train", tmp_path / "a")
    incomplete = encode_split(encoder, Counted({0: [2]}), "train", tmp_path / "b", max_bad=0.9)
    other = encode_split(encoder, Counted({0: [5]}), "train", tmp_path / "c", max_bad=0.9)
    kept = [0, 1, 3, 4, 6, 7]
    for joined in (
        ConcatFeatures([complete, incomplete, other]),
        ConcatFeatures([incomplete, ConcatFeatures([other, complete])]),
    ):
        assert joined.shape == (6, 1, 9) and [e.number for e in joined.examples] == kept
        values = joined[np.arange(6)][:, 0, ::3]
        assert (values // 10).astype(int).tolist() == [[i] * 3 for i in kept]
        assert (joined[np.array([4, 0])][:, 0, ::3] // 10).astype(int).tolist() == [[6] * 3, [0] * 3]
        assert set(joined.bad) == {2, 5}


def test_regression_sees_captions_of_their_images(encoder, tmp_path, monkeypatch):
    """Both views lack one image, but not the same one: their lengths agree."""
    calls = []
    monkeypatch.setattr(
        fit_cider_regression,
        "fit",
        lambda features, captions, tokenizer, **o: calls.append((features, captions)),
    )

    class Model:
        tokenizer = None

    Model.encoder = encoder
    dataset = Counted({0: [0], 1: [7]})
    encode_split(encoder, dataset, "train", tmp_path, max_bad=0.9)
    encode_split(encoder, AugmentedView(dataset, 1), "train", tmp_path, max_bad=0.9)
    monkeypatch.setattr(
        "training.data.feature_cache.encode_split", lambda e, d, s, f: cached_split(e, d, s, f)
    )
    monkeypatch.setattr("training.data.datasets.bad_rows.BadRows.check", lambda self, total: None)
    fit_cider_regression.fit_model(Model, dataset, str(tmp_path), 1)
    features, captions = calls[0]
    for i, texts in enumerate(captions):
        number = texts[0].count("x")
        assert features[:, i, 0].tolist() == [10 * number, 10 * number + 1]
    assert len(captions) == 6
