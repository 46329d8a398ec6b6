"""From a folder of images and captions to a finished model folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captioner
from captioner.models import CaptionModel
from captioner.types import SPECIALS
from tests.support.training import photo_folders
from tests.support.training.interrupted_runs import Crash
from tests.support.training.photo_folders import KNOWN, SHORT, photos, source
from training import adapt, fit_cider_regression
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

NEW = {"green", "grey", "quokka", "stripe", "pagoda"}


@pytest.fixture(scope="module")
def start(quick):
    return photo_folders.start_model(Path("start").absolute())


def arguments(folder, start, *changes, short=SHORT):
    settings = [source(folder), *short, *changes]
    return [str(folder), "--model", str(start), *(part for change in settings for part in ("--set", change))]


@pytest.fixture(scope="module")
def folder(quick):
    return photos(Path("photos").absolute())


@pytest.fixture(scope="module")
def adapted(start, folder):
    """The folder of a finished run."""
    out = Path("adapted").absolute()
    assert adapt.main([*arguments(folder, start), "--out", str(out)]) == 0
    return out


def one_line(capsys):
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("adapt.py: "), captured.err
    return lines[0]


# A finished run.


def test_the_model_folder_captions_images(adapted, folder, start):
    model = captioner.load(adapted / "model")
    caption = model.caption(Image.open(folder / "0.png"))
    vocabulary = set(model.engine.model.tokenizer.vocabulary)
    assert set(caption.text.split()) <= vocabulary and NEW | set(KNOWN) <= vocabulary
    first, then = captioner.load(start).engine.model, model.engine.model
    for one, two in zip(first.encoder.get_weights(), then.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    # The decoder began with that of the model: words it knew stay near theirs, those of others are far.
    vectors = [
        dict(zip(m.tokenizer.vocabulary, m.decoder.embedding.embeddings.numpy(), strict=True))
        for m in (first, then)
    ]
    for word in KNOWN:
        near, *others = [
            np.linalg.norm(vectors[1][word] - vectors[0][other])
            for other in [word, *(k for k in KNOWN if k != word)]
        ]
        assert near < min(others) / 2


@pytest.mark.slow
def test_its_regression_begins_with_that_of_the_initial_model(start, folder, tmp_path):
    """And is fitted on all images, those held out too, once they have chosen."""
    initial = tmp_path / "initial"
    shutil.copytree(start, initial)
    assert fit_cider_regression.main([str(initial), f"folder(path='{folder}', validation=0, test=0)"]) == 0
    strategy = "evaluation.final_strategy=beam(width=4, rerank='cider_regression')"
    for model, shape in [(start, ()), (initial, (2,))]:
        out = tmp_path / f"from_{model.name}"
        assert adapt.main([*arguments(folder, model, strategy, "xe.epochs=1"), "--out", str(out)]) == 0
        adapted = captioner.load(out / "model").engine.model
        regression = adapted.reranker_parameters["cider_regression"]
        assert regression.centre.shape == (*shape, adapted.encoder.channels)
        assert regression.images == photo_folders.COUNT
        assert adapted.strategy == "beam(width=4, rerank='cider_regression')"


def test_it_says_what_it_does(start, folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert adapt.main([*arguments(folder, start), "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "14 images: 12 with 24 captions to train on, 2 to validate on" in output
    assert f"vocabulary: 11 words, 11 of them in these captions (6 known to {start})" in output
    assert "6 steps of 4 images in 2 epochs" in output and "\nvalidation: CIDEr-D" in output
    assert output.splitlines()[-1] == (
        f"model: {out / 'model'}; try it: captioner caption {folder} --model {out / 'model'}"
    )


@pytest.mark.slow
def test_from_its_encoder_alone(start, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    decoder = "model.decoder=lstm(units=4, embedding=4, value_dim=4)"
    assert adapt.main([*arguments(folder, start, decoder, "xe.epochs=1"), "--scratch"]) == 0
    model = captioner.load(tmp_path / "runs" / "photos-scratch" / "model").engine.model
    assert set(model.tokenizer.vocabulary) == {*SPECIALS, *KNOWN, *NEW}
    first = captioner.load(start).engine.model
    for one, two in zip(first.encoder.get_weights(), model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_resumed_by_the_same_command(adapted, start, folder, tmp_path, monkeypatch, capsys):
    words = [*arguments(folder, start, "checkpoint_minutes=0"), "--out", str(tmp_path / "run")]
    real, steps = CaptionModel.train_on_batch, []

    def crashing(self, *batch, **more):
        steps.append(1)
        if len(steps) == 5:
            raise Crash
        return real(self, *batch, **more)

    monkeypatch.setattr(CaptionModel, "train_on_batch", crashing)
    with pytest.raises(Crash):
        adapt.main(words)
    capsys.readouterr()
    assert adapt.main(words) == 0
    assert "resuming at epoch 2, step 1" in capsys.readouterr().out and len(steps) == 5 + 2
    one, two = (captioner.load(out / "model").engine.model for out in (adapted, tmp_path / "run"))
    for left, right in zip(one.decoder.weights, two.decoder.weights, strict=True):
        np.testing.assert_allclose(left.numpy(), right.numpy(), atol=1e-6)
    assert adapt.main(words) == 2
    assert "already holds the finished model" in one_line(capsys)


# The plan.


def test_the_plan_is_what_would_be_trained(start, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = arguments(folder, start, short=["xe.learning_rate=0.5"])
    assert adapt.main([*words, "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not list(tmp_path.iterdir()), "nothing is trained, nothing is written"
    run = with_changes(RECIPES.build("own"), lines)
    assert run.data.hold_out == 2 and run.xe.learning_rate == 0.5 and run.data.min_count == 1
    assert run.xe.batch_images >= 2 and run.model.max_length == 7  # six words and the end
    assert adapt.main([*words, "--plan"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


# Mistakes.


def test_no_such_folder(start, tmp_path, capsys):
    assert adapt.main(arguments(tmp_path / "none", start)) == 2
    assert f"expected a folder of images and captions, there is no {tmp_path / 'none'}" in one_line(capsys)


def test_too_few_images(start, tmp_path, capsys):
    assert adapt.main([*arguments(photos(tmp_path / "few", 9), start), "--out", str(tmp_path / "run")]) == 2
    assert "expected at least 10 images with captions, got 9" in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_captions_all_alike(start, tmp_path, capsys):
    place = photos(tmp_path / "alike")
    rows = ["image,caption", *(f"{number}.png,Holiday." for number in range(14))]
    (place / "captions.csv").write_text("\n".join(rows))
    assert adapt.main([*arguments(place, start), "--out", str(tmp_path / "run")]) == 2
    assert "all captions of 14 images are 'holiday'" in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_no_model_to_begin_with(folder, tmp_path, capsys):
    for place in (tmp_path / "none", folder):
        assert adapt.main([*arguments(folder, place), "--out", str(tmp_path / "run")]) == 2
        assert str(place) in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_copies_of_one_image(start, tmp_path, capsys):
    """After all images were encoded; still the run leaves no folder, so that it can begin once there are others."""
    place, out = photos(tmp_path / "copies"), tmp_path / "run"
    for number in range(14):
        image = photo_folders.draw(1)
        image.putpixel((number, number), (0, 0, 0))
        image.save(place / f"{number}.png")
    words = [*arguments(place, start, f"data.features={tmp_path / 'features'}"), "--out", str(out)]
    assert adapt.main(words) == 2
    captured = capsys.readouterr()
    assert "adapt.py: expected images that differ, 12 images are near-duplicates of 1" in captured.err
    assert "Traceback" not in captured.err and not out.exists()


@pytest.mark.slow
def test_a_run_that_is_there_is_kept_until_all_is_checked(adapted, start, tmp_path, capsys):
    place = photos(tmp_path / "copies")
    for number in range(14):
        photo_folders.draw(1).save(place / f"{number}.png")
    words = [*arguments(place, start, f"data.features={tmp_path / 'features'}"), "--out", str(adapted)]
    before = sorted(path.name for path in adapted.iterdir())
    assert adapt.main([*words, "--overwrite"]) == 2
    assert "near-duplicates of 1" in capsys.readouterr().err
    assert sorted(path.name for path in adapted.iterdir()) == before
    assert captioner.load(adapted / "model")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("xe.epoch=3", "did you mean 'xe.epochs'"),
        ("data.hold_out=14", "data.hold_out to leave images to train on, got 14 of 14"),
        ("data.images=15", "data.images to be at most 14"),
        ("model.new_words=meen", "did you mean 'mean'"),
        ("model.init_parts=decoder", "model.init_parts"),
        ("evaluation.tests=test", "test"),
    ],
)
def test_wrong_settings(start, folder, tmp_path, capsys, change, says):
    assert adapt.main([*arguments(folder, start, change), "--out", str(tmp_path / "run")]) == 2
    assert says in one_line(capsys) and not (tmp_path / "run").exists()
