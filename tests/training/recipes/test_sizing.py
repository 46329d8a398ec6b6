"""Sizes that follow from the data: sane for ten images and for a hundred thousand, without jumps."""

from dataclasses import replace

import pytest

from training.recipes import RECIPES
from training.recipes.sizing import hold_out, sized

IMAGES = [8, 9, 10, 14, 20, 40, 50, 75, 100, 200, 300, 500, 1000, 2000, 3000, 10_000, 30_000, 100_000]


def test_what_is_held_out():
    counts = [hold_out(images) for images in range(10, 20_001)]
    assert counts == sorted(counts) and counts[0] == 2 and counts[-1] == 500
    for images, count in enumerate(counts, start=10):
        assert 1 <= count <= images / 5, "four fifths are left to train on"
        if 100 <= images <= 5000:
            assert count == round(images / 10)


def recipe_of(name):
    recipe = RECIPES.build(name)  # `settled` gives it the decoder of its initial model
    return replace(recipe, model=replace(recipe.model, decoder=recipe.model.decoder or "gru(units=8)"))


def sizes_of(name, per_image):
    recipe = recipe_of(name)
    return {images: sized(recipe, images, images * per_image) for images in IMAGES}


def shown(run, images):
    """How often training shows an image."""
    return run.xe.epochs * run.data.repeats


@pytest.mark.parametrize("per_image", [1, 5])
@pytest.mark.parametrize("name", ["own", "scratch"])
def test_sizes_are_sane_and_monotone(name, per_image):
    runs = sizes_of(name, per_image)
    for images, run in runs.items():
        captions = images * per_image
        group = min(per_image, run.data.captions_per_image)
        steps = run.xe.epochs * run.data.repeats * images * per_image / (run.xe.batch_images * group)
        assert 2 <= run.xe.batch_images <= 160 and 120 <= steps <= 40_000
        # 2 sqrt(captions) a step, 8 to 160 of them; a batch is of whole images, at least two.
        per_step = run.xe.batch_images * group
        assert per_step == pytest.approx(min(160, max(8, 2 * captions**0.5)), abs=group / 2 + 1e-9) or (
            run.xe.batch_images == 2
        )
        assert 3 <= run.xe.epochs <= 20, "validations are few, however few the images"
        assert 0 <= run.data.cached_augmentations * images <= 4000
        assert run.data.min_count in (1, 2, 3)
    sequences = {
        "how often an image is shown": [-shown(run, images) for images, run in runs.items()],
        "words of a step": [run.xe.batch_images for run in runs.values()],
        "augmentations": [-run.data.cached_augmentations for run in runs.values()],
        "min_count": [run.data.min_count for run in runs.values()],
        "repeats": [-run.data.repeats for run in runs.values()],
    }
    for what, values in sequences.items():
        if what.startswith("how often"):  # rounded to whole epochs and repeats
            assert all(b >= 1.1 * a for a, b in zip(values, values[1:], strict=False)), what
        else:
            assert values == sorted(values), what


@pytest.mark.parametrize("per_image", [1, 5])
def test_a_trained_decoder_needs_a_quarter(per_image):
    adapted, scratch = (sizes_of(name, per_image) for name in ("own", "scratch"))
    for images in IMAGES:
        ratio = shown(adapted[images], images) / shown(scratch[images], images)
        steps = shown(adapted[images], images) * images / adapted[images].xe.batch_images
        assert 0.2 <= ratio <= 0.3 or steps < 200 or adapted[images].xe.epochs == 3


def test_numbers_by_hand():
    """300 images with 5 captions: 1,500 captions, sqrt 38.7; 77 captions a step are 15 images of 5.

    Trained, 55 * 1,500 ** 0.77 = 15,352 captions are shown, each 10.2 times: repeats round(10.2 / 12) = 1, epochs 10.
    From nothing, 40.9 times: repeats 3, epochs 14. then with 4 augmentations: of 300
    images they are fewer than 4,000.
    """
    adapted, scratch = (sized(recipe_of(name), 300, 1500) for name in ("own", "scratch"))
    for run, repeats, epochs in ((adapted, 1, 10), (scratch, 3, 14)):
        assert (run.data.repeats, run.xe.epochs, run.xe.batch_images) == (repeats, epochs, 15)
        assert run.data.min_count == 2
    assert (adapted.data.cached_augmentations, scratch.data.cached_augmentations) == (0, 4)


def test_a_caption_an_image_now_and_then_more():
    """Captions an image need not be a whole number, nor be as many as fit into a group."""
    run = sized(recipe_of("own"), 100, 137)
    assert run.xe.batch_images == round(2 * 137**0.5 / 1.37)
    many = sized(recipe_of("own"), 20, 400)
    assert many.xe.batch_images == round(40 / many.data.captions_per_image)
