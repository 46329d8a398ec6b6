"""What a run will do, settled before it starts."""

from __future__ import annotations

import dataclasses
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from captioner.errors import BundleError, CaptionerError, DataError
from training.data.datasets import DATASETS, Example
from training.loop.setup import plan
from training.recipes import RECIPES
from training.recipes.changes import keys, with_changes
from training.recipes.sizing import hold_out, with_dropout

pytestmark = pytest.mark.usefixtures("quick")

DECODER = "gru(units=4, embedding=4, value_dim=4, attention='additive(units=4)')"
ENCODER = "small_cnn(width=2, stages=1)"


class Listed:
    """A dataset of captions; no image is read."""

    fingerprint = "listed"

    def __init__(self, train, **others):
        self._captions = {"train": train, **others}
        self.splits = tuple(self._captions)

    def examples(self, split):
        return [
            Example(f"{split}{i}", tuple(captions), lambda: b"")
            for i, captions in enumerate(self._captions[split])
        ]


def captions_of(images, per_image=1):
    return [[f"circle {i} of {j}" for j in range(per_image)] for i in range(images)]


@pytest.fixture
def settle(monkeypatch, start_folder):
    """`settle(dataset, *changes)`: the run that `own` becomes with a dataset."""

    def settle_own(dataset, *changes, recipe="own"):
        monkeypatch.setattr(DATASETS, "build", lambda spec: dataset)
        start = [f"model.init_from={start_folder}", "data.source=listed"]
        return plan.settled(RECIPES.build(recipe), [*start, *changes])[0]

    return settle_own


# Networks.


def test_open_networks_are_those_of_the_initial_model(start_folder, settle):
    run = settle(Listed(captions_of(20)))
    decoder = with_dropout(DECODER, 20)
    assert (run.model.encoder, run.model.decoder, run.model.image_size) == (ENCODER, decoder, 16)
    assert run.model.max_length >= 5 and run.model.init_from == str(start_folder)
    scratch = settle(Listed(captions_of(20)), recipe="scratch")
    assert scratch.model.encoder == ENCODER and scratch.model.decoder.startswith("gru(units=256")
    other = settle(
        Listed(captions_of(20)), "model.decoder=lstm", "model.encoder=small_cnn", "model.image_size=24"
    )
    assert (other.model.encoder, other.model.decoder, other.model.image_size) == ("small_cnn", "lstm", 24)


def test_the_networks_of_no_model_are_one_line(settle, tmp_path):
    with pytest.raises(BundleError, match="nowhere") as caught:
        settle(Listed(captions_of(20)), f"model.init_from={tmp_path / 'nowhere'}")
    assert "\n" not in str(caught.value)


def test_a_network_without_a_spec_cannot_be_begun_with(settle, tiny_bundle):
    with pytest.raises(DataError, match="an encoder of the table.*begin with another model") as caught:
        settle(Listed(captions_of(20)), f"model.init_from={tiny_bundle}")
    assert "\n" not in str(caught.value)


def test_other_recipes_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(DATASETS, "build", lambda spec: pytest.fail("read the data"))
    recipe = RECIPES.build("tiny")
    assert plan.settled(recipe, ["seed=3"]) == (with_changes(recipe, ["seed=3"]), None)


# Sizes.


@pytest.mark.parametrize("images", [10, 14, 60, 400])
@pytest.mark.parametrize("recipe", ["own", "scratch"])
def test_the_same_data_give_the_same_settings(settle, images, recipe):
    """A run is resumed by the same command: its settings are a function of the command and the data alone."""
    first, again = (settle(Listed(captions_of(images)), recipe=recipe) for _ in range(2))
    assert first == again

    # All that follows is printed by `--plan` as `--set` takes it: set, it gives the same run.
    def value(key):
        part = first
        for step in key.split("."):
            part = getattr(part, step)
        return ",".join(part) if isinstance(part, tuple) else part

    every = [f"{key}={value(key)}" for key in keys(first)]
    assert settle(Listed(captions_of(images)), *every, recipe=recipe) == first


def test_images_are_held_out_where_there_is_no_validation_split(settle):
    assert settle(Listed(captions_of(100))).data.hold_out == 10
    assert settle(Listed(captions_of(100), validation=captions_of(7))).data.hold_out == 0
    assert settle(Listed(captions_of(100)), "data.hold_out=25").data.hold_out == 25
    assert settle(Listed(captions_of(100)), "data.images=50").data.hold_out == hold_out(50) == 10


def test_sizes_are_of_the_images_to_train_on(settle):
    """What is held out, and what is not drawn, counts nothing."""
    few = settle(Listed(captions_of(60)))
    drawn = settle(Listed(captions_of(900)), "data.images=60")
    assert few.xe == drawn.xe and dataclasses.replace(drawn.data, images=0) == few.data
    many = settle(Listed(captions_of(900)))
    assert many.xe.batch_images > few.xe.batch_images and many.data.repeats < few.data.repeats
    held = settle(Listed(captions_of(900)), "data.hold_out=850")
    assert held.xe.batch_images < few.xe.batch_images + 2


def test_a_test_split_is_scored_where_there_is_one(settle):
    assert settle(Listed(captions_of(20))).evaluation.tests == ()
    both = Listed(captions_of(20), test=captions_of(5))
    assert settle(both).evaluation.tests == ("test",)
    assert settle(both, "evaluation.tests=").evaluation.tests == ()


@pytest.mark.parametrize(
    "change",
    [
        "data.hold_out=5", "data.min_count=7", "data.cached_augmentations=1", "data.repeats=50", "xe.epochs=2",
        "xe.batch_images=3", "model.max_length=4", "xe.learning_rate=0.5", "data.vocabulary=captions",
    ],
)  # fmt: skip
def test_what_is_set_stays(settle, change):
    run = settle(Listed(captions_of(20, per_image=3)), change)
    assert with_changes(run, [change]) == run
    assert settle(Listed(captions_of(20, per_image=3))) != run
    spaced = settle(Listed(captions_of(20, per_image=3)), change.replace("=", " = "))
    assert spaced == run


def test_captions_are_cut_at_what_most_need(settle):
    lengths = [[" ".join(["circle"] * n + [str(i)])] for i, n in enumerate([3] * 995 + [39] * 5)]
    assert settle(Listed(lengths)).model.max_length == 5, (
        "the initial model's own, which is enough for 4 words"
    )
    lengths = [[" ".join(["circle"] * n + [str(i)])] for i, n in enumerate([11] * 995 + [39] * 5)]
    assert settle(Listed(lengths)).model.max_length == 13, "12 words and the end; one in 200 is cut"
    texts = [[" ".join(["circle"] * 200 + [str(i)])] for i in range(20)]
    assert settle(Listed(texts)).model.max_length == 41


# Data that cannot be trained on.


def test_too_few_images(settle):
    for dataset, changes in ((Listed(captions_of(9)), []), (Listed(captions_of(50)), ["data.images=9"])):
        with pytest.raises(DataError, match="expected at least 10 images with captions, got 9") as caught:
            settle(dataset, *changes)
        assert "\n" not in str(caught.value)
    assert settle(Listed(captions_of(10)))


def test_captions_that_are_all_alike(settle):
    alike = [["A photo."], ["a photo"], ["A  PHOTO !"]] * 5
    with pytest.raises(
        DataError, match="expected captions that differ, all captions of 15 .*'a photo'"
    ) as caught:
        settle(Listed(alike))
    assert "\n" not in str(caught.value)
    assert settle(Listed([*alike, ["another photo"]]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["data.images=21"], "data.images to be at most 20"),
        (["data.hold_out=20"], "data.hold_out to leave images to train on, got 20 of 20"),
        (["data.hold_out=500"], "data.hold_out to leave images to train on, got 500 of 20"),
        (["data.images=12", "data.hold_out=12"], "data.hold_out to leave images to train on, got 12 of 12"),
    ],
)
def test_more_images_than_there_are(settle, changes, says):
    with pytest.raises(CaptionerError, match=says) as caught:
        settle(Listed(captions_of(20)), *changes)
    assert "\n" not in str(caught.value)


def source_with(features):
    """A source whose training images have these features [N, L, C]."""
    return SimpleNamespace(
        examples=lambda split: [None] * len(features), reader=lambda split: lambda index: features[index]
    )


def features_with(different, copies, seed=1):
    """Features of so many different images, of each so many near-duplicates."""
    random = np.random.default_rng(seed)
    images = np.repeat(random.normal(size=(different, 4, 64)), copies, axis=0)
    return (images + 0.01 * random.normal(size=images.shape)).astype(np.float32)


def test_near_duplicates(caplog):
    caplog.set_level(logging.WARNING, "captioner.training")
    with pytest.raises(DataError, match="20 images are near-duplicates of 4") as caught:
        plan.check_distinct(source_with(features_with(4, 5)))
    assert "\n" not in str(caught.value) and not caplog.records
    plan.check_distinct(source_with(features_with(5, 5)))
    (record,) = caplog.records
    assert "25 images to train on are near-duplicates of 5" in record.getMessage()
    caplog.clear()
    plan.check_distinct(source_with(features_with(30, 2)))
    plan.check_distinct(source_with(features_with(4, 1)))  # so few that all have to differ, and they do
    assert not caplog.records
