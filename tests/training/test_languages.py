"""The language of a run: detected or set, recorded with the model, and the rules that follow from it."""

import json

import pytest

from captioner import bundle
from captioner.errors import SpecError
from tests.support.captions_of_languages import CAPTIONS
from tests.support.images import odd_images
from tests.support.training.short_runs import CHANGES
from training import train
from training.data.source import Source
from training.loop.run_folder import read_epochs
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick")


def run(*changes):
    return with_changes(RECIPES.build("tiny"), [*CHANGES, *changes])


@pytest.fixture
def photos(tmp_path):
    """Writes 24 photos with captions in a language; returns the spec of the dataset."""

    def write(code):
        folder = tmp_path / code
        folder.mkdir()
        rows = []
        for i in range(24):
            name = f"{i}.png"
            (folder / name).write_bytes(odd_images.encoded(odd_images.drawn(40, 30, turn=15 * i), "PNG"))
            split = ("train", "train", "validation", "test")[i % 4]
            rows.append({"image": name, "caption": f"{CAPTIONS[code][i % 3]} {i}", "split": split})
        (folder / "captions.json").write_text(json.dumps(rows))
        return f"data.source=folder(path='{folder}')"

    return write


@pytest.mark.parametrize(("code", "detected"), [("de", "de"), ("en", "en"), ("ar", "und")])
def test_the_language_is_detected_from_training_captions(photos, code, detected):
    source = photos(code)
    assert Source(run(source, "data.min_count=1")).language == detected
    assert Source(run(source, "data.min_count=1", "data.language=pt-BR")).language == "pt-BR"


def test_german_captions_are_flipped_in_german(photos):
    source = photos("de")
    flipped = Source(run(source, "data.min_count=1", "data.horizontal_flip=true"))
    assert len(flipped.dataset.examples("train")) == 2 * 12
    with pytest.raises(SpecError, match="got 'und'"):
        Source(run(source, "data.min_count=1", "data.horizontal_flip=true", "data.language=und"))


@pytest.mark.slow
@pytest.mark.parametrize(("code", "counted"), [("de", True), ("zh", False)])
def test_a_model_records_its_language(photos, tmp_path, code, counted):
    changes = [photos(code), "data.min_count=1", "model.max_length=8", f"data.language={code}"]
    metrics = train.train_into(run(*changes), tmp_path / "run")
    assert bundle.read(tmp_path / "run" / "model").language == code
    assert ("bad endings" in metrics["test"]) == counted
    history = read_epochs(tmp_path / "run" / "history.csv")
    assert ("bad endings" in history[0]) == counted


def test_a_wrong_code_is_one_line():
    with pytest.raises(SpecError, match="^data.language expects a code such as 'en', 'de'.* got 'german'$"):
        run("data.language=german")


def test_the_german_recipe():
    recipe = RECIPES.build("flickr8k_german")
    assert recipe.name == "flickr8k_german" and recipe.data.language == "de" and not recipe.scst.epochs
    assert recipe.data.source.endswith("captions='data/flickr8k/dataset_flickr8k.json', "
                                       "other_captions='data/flickr8k/german.json.gz')")  # fmt: skip
