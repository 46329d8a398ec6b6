"""Augmented images: near what they were, other each time, the same for the same seed, and in training alone."""

from pathlib import Path

import numpy as np
import pytest

from captioner.errors import SpecError
from tests.support.images import odd_images
from training import train
from training.data import augment
from training.data.augment import augmented
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick")

PIXELS = np.stack([np.asarray(odd_images.drawn(48, 40, turn=60 * i).convert("RGB")) for i in range(4)])
SMALL = [
    "data.source=synthetic_scenes(train=6, validation=3, test=3, test_unseen=2, size=32)",
    "model.encoder=small_cnn(width=4, stages=1)",
    "model.decoder=lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)')",
    "model.image_size=32",
]


def still(monkeypatch, **but):
    """Nothing changes but what is said."""
    for name, value in {
        "MIN_AREA": 1.0,
        "MAX_ASPECT": 1.0,
        "BRIGHTNESS": 0.0,
        "CONTRAST": 0.0,
        "SATURATION": 0.0,
        **but,
    }.items():
        monkeypatch.setattr(augment, name, value)


def test_augmentation_follows_from_the_seed():
    first, again, other = (augmented(PIXELS, np.array(seed)) for seed in ([1, 2], [1, 2], [1, 3]))
    assert first.shape == PIXELS.shape and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert not np.array_equal(first[0], augmented(PIXELS[[0, 0]], np.array([1, 2]))[1])


def test_with_nothing_to_change_images_stay(monkeypatch):
    still(monkeypatch)
    assert np.abs(augmented(PIXELS, np.array([5])).astype(int) - PIXELS).max() <= 1


def test_a_crop_is_a_part_of_the_image(monkeypatch):
    still(monkeypatch, MIN_AREA=0.5)
    y, x = np.mgrid[0:40, 0:48]
    ramp = np.stack([4 * x, 4 * y, np.zeros_like(x)], axis=-1).astype(np.uint8)[None].repeat(50, axis=0)
    crops = augmented(ramp, np.array([7])).astype(int)
    for image in crops:
        wide, high = (
            (np.diff(image[:, :, 0], axis=1) / 4).mean(),
            (np.diff(image[:, :, 1], axis=0) / 4).mean(),
        )
        # How many of the old pixels a new one spans: the sides of the crop.
        assert 0.5 - 0.05 < wide * high <= 1.05 and wide == pytest.approx(high, abs=0.06)
    assert crops[:, 0, 0, :2].std(axis=0).min() > 5, "all from the same corner"


@pytest.mark.parametrize(("name", "value"), [("BRIGHTNESS", 0.4), ("CONTRAST", 0.5), ("SATURATION", 0.5)])
def test_each_change_does_what_it_says(monkeypatch, name, value):
    still(monkeypatch, **{name: value})
    pixels = np.random.default_rng(1).integers(90, 160, (64, 16, 16, 3)).astype(np.uint8)
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    changed = augmented(pixels, np.array([3])).astype(float)
    new = changed @ np.array([0.299, 0.587, 0.114])
    light, spread = new.mean((1, 2)) / grey.mean((1, 2)), new.std((1, 2)) / grey.std((1, 2))
    colour = (changed - new[..., None]).std((1, 2, 3)) / (pixels - grey[..., None]).std((1, 2, 3))
    moves = {"BRIGHTNESS": light, "CONTRAST": spread, "SATURATION": colour}
    stays = {"BRIGHTNESS": (), "CONTRAST": ("BRIGHTNESS",), "SATURATION": ("BRIGHTNESS", "CONTRAST")}[name]
    assert (
        1 - value - 0.03
        < moves[name].min()
        < 1 - value / 2
        < 1 + value / 2
        < moves[name].max()
        < 1 + value + 0.03
    )
    assert all(np.abs(moves[other] - 1).max() < 0.02 for other in stays)


def test_augmentation_is_for_training_only():
    changes = [*SMALL, "model.train_encoder=true", "data.augment=true", "xe.epochs=1"]
    trainer = train.build(with_changes(RECIPES.build("tiny"), changes), Path("augmented"), False)
    source, index = trainer.source, np.arange(3)
    plain = source.reader("train")(index)
    assert not np.array_equal(source.training(index, [1]), plain)
    assert not np.array_equal(source.training(index, [1]), source.training(index, [2]))
    assert np.array_equal(source.reader("train")(index), plain), "the images that are kept were changed"


def test_cached_augmentations_are_fixed(tmp_path):
    changes = [*SMALL, "model.train_encoder=false", "data.cached_augmentations=2", "xe.epochs=1"]
    changes.append(f"data.features={tmp_path / 'features'}")
    run = with_changes(RECIPES.build("tiny"), changes)
    source = train.build(run, tmp_path / "run", False).source
    index, plain = np.arange(6), source.reader("train")(np.arange(6))
    views = [plain, *(view[index].astype(np.float32) for view in source._augmented)]
    assert len(views) == 3 and not np.array_equal(views[1], views[2])
    seen = set()
    for seed in range(20):
        for place, features in enumerate(source.training(index, [seed])):
            seen |= {(place, k) for k, view in enumerate(views) if np.array_equal(features, view[place])}
    assert seen == {(place, k) for place in range(6) for k in range(3)}
    assert np.array_equal(source.reader("train")(index), plain)
    again = train.build(run, tmp_path / "again", False).source
    assert np.array_equal(again._augmented[1][index], source._augmented[1][index])
    assert sum(1 for _ in (tmp_path / "features").iterdir()) == 4 + 2  # splits and views
    with pytest.raises(SpecError, match="set data.augment=true instead"):
        train.build(with_changes(run, ["model.train_encoder=true"]), tmp_path / "other", False)


def test_augment_without_pixels_is_one_line(tmp_path):
    run = with_changes(RECIPES.build("tiny"), [*SMALL, "model.train_encoder=false", "data.augment=true"])
    with pytest.raises(SpecError, match="expected model.train_encoder=true"):
        train.train(run, tmp_path / "run", False)
    assert not (tmp_path / "run").exists()
