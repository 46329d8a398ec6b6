"""What the stages of a run are trained on."""

import collections
from types import SimpleNamespace

import numpy as np
import pytest

from captioner.types import END
from training.data.batches import CaptionGroup
from training.loop.stages import build_stages
from training.recipes import RECIPES
from training.recipes.changes import with_changes


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_an_epoch_shows_each_image_as_often_as_repeats_say(repeats):
    random = np.random.default_rng(1)
    groups = [
        CaptionGroup(image, [[*random.integers(4, 9, random.integers(1, 8)).tolist(), END] for _ in range(2)])
        for image in range(12)
    ]
    changes = [f"data.repeats={repeats}", "xe.batch_images=4", "xe.epochs=3", "data.captions_per_image=2"]
    run = with_changes(RECIPES.build("tiny"), changes)
    (stage,) = build_stages(run, SimpleNamespace(caption_groups=groups), None)
    assert len(groups) == 12 and len(stage.steps) == 3
    for epoch in range(3):
        plan = stage.batches.plan(epoch)
        assert stage.steps[epoch] == len(plan) and len(plan) >= 3 * repeats
        shown = [number for chosen in plan for number in chosen]
        filled_up = len(shown) - len(set(shown))
        assert filled_up < 4, "only the last batch may be filled up"
        counts = collections.Counter(stage.batches.caption_groups[number].image for number in set(shown))
        assert counts == {image: repeats for image in range(12)}
