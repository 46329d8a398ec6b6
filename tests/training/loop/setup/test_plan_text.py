"""The plan of a run in words: images, captions, vocabulary, steps and minutes."""

from __future__ import annotations

import dataclasses

import pytest

import captioner
from training.data.datasets import Example
from training.data.source import Source
from training.loop.setup import plan
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick")


class Scenes:
    """Ten images with two captions each, of which three are long; two to validate on."""

    splits, fingerprint = ("train", "validation"), "scenes"

    def examples(self, split):
        count = 10 if split == "train" else 2
        return [
            Example(
                f"{split}{i}",
                (f"a red circle {'above ' * 3 if i < 3 else ''}", f"a quokka {'x' * (i + 1)}"),
                lambda: b"",
            )
            for i in range(count)
        ]


@pytest.fixture
def described(start_folder, monkeypatch):
    monkeypatch.setattr(plan, "estimated_seconds", lambda *arguments: 250.0)

    def describe(*changes, dataset=None):
        always = [f"model.init_from={start_folder}", "data.min_count=1", "data.vocabulary=union"]
        always += ["model.max_length=5", "evaluation.tests=", "xe.epochs=3", "xe.batch_images=4"]
        run = with_changes(RECIPES.build("own"), [*always, *changes])
        return plan.describe(run, Source(run, dataset or Scenes()), None)

    return describe


def test_the_plan_counts(described, start_folder):
    # Words: a, red, circle, above, quokka, and x to xxxxxxxxxx; of those the model knows four. It knows blue, square
    # and zeppelin too. 4 words fit into 5 ids, 6 do not.
    assert described() == [
        "12 images: 10 with 20 captions to train on, 2 to validate on",
        f"vocabulary: 18 words, 15 of them in these captions (4 known to {start_folder})",
        "3 captions are longer than 4 words and will be cut; model.max_length= changes that",
        "9 steps of 4 images in 3 epochs: about 4 minutes",
    ]


def test_the_plan_counts_what_is_changed(described, start_folder):
    lines = described(
        "data.repeats=2", "data.cached_augmentations=3", "model.max_length=8", "model.init_parts=encoder",
        "data.vocabulary=captions",
    )  # fmt: skip
    assert lines == [
        "12 images: 10 with 20 captions to train on, 2 to validate on",
        "vocabulary: 15 words, 15 of them in these captions",
        "3 augmentations of each image",
        "15 steps of 4 images in 3 epochs: about 4 minutes",
    ]
    flipped = described("data.horizontal_flip=true", "data.language=en")
    assert flipped[0] == "12 images: 10 with 20 captions to train on, 2 to validate on"
    assert flipped[-1].startswith("15 steps of 4 images")


def test_foreign_words_are_reported(described, start_folder):
    class Foreign(Scenes):
        def examples(self, split):
            return [
                dataclasses.replace(example, captions=(f"ein rotes Quadrat Nummer {i}", "dort oben links"))
                for i, example in enumerate(super().examples(split))
            ]

    lines = described(dataset=Foreign())
    assert f"(0 known to {start_folder})" in lines[1]
    assert lines[2].startswith(
        f"{start_folder} knows hardly any of these words (another language or script?)"
    )
    assert not any("hardly" in line for line in described())
    alone = described("model.init_parts=encoder", dataset=Foreign())
    assert not any("hardly" in line for line in alone), "its words are not used"


def test_minutes(described, monkeypatch):
    for seconds, text in (
        (20.0, "a minute"),
        (90.0, "a minute"),
        (91.0, "2 minutes"),
        (3600.0, "60 minutes"),
    ):
        monkeypatch.setattr(plan, "estimated_seconds", lambda *arguments, seconds=seconds: seconds)
        assert described()[-1].endswith(f"about {text}")


def test_more_work_takes_longer(start_folder):
    """The estimate itself: of encoding by images, of training by captions, epochs and repeats."""
    always = [
        f"model.init_from={start_folder}",
        "data.min_count=1",
        "evaluation.tests=",
        "model.max_length=5",
    ]
    model = captioner.load(start_folder).engine.model

    def seconds(*changes):
        run = with_changes(RECIPES.build("own"), [*always, *changes])
        return plan.estimated_seconds(run, Source(run, Scenes()), model)

    short, long = seconds("xe.epochs=1"), seconds("xe.epochs=100000", "data.repeats=1000")
    assert 20 <= short < 60 and long > 10 * short
