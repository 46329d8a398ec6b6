"""The program that fits which images a model declines."""

import json
import shutil

import numpy as np
import pytest

import captioner
from captioner import bundle
from captioner.types import OUTCOMES
from tests.support.models.outcomes import parameters
from tests.support.models.tiny_model import build_tiny_model
from training import fit_ood
from training.data.far_off import draw
from training.loop.model_card import outcomes_section

pytestmark = pytest.mark.usefixtures("quick")
DATASET = "synthetic_scenes(train=60, validation=20, test=20, test_unseen=0, size=32)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return captioner.save(build_tiny_model(), tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def program(folder, tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    return [str(folder), DATASET, "--features", cache, "--drawn", "3", "--rank", "4"]


def test_it_fits_a_folder(folder, program, capsys):
    assert fit_ood.main(program) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| images | number | AUROC | declined | hedged |"
    assert lines[2].startswith("| like those it was trained on (test) | 20 |")
    assert lines[-2].startswith("| all | 24 |")
    assert "ood.npz: 60 training images, rank 4, " in lines[-1] and lines[-1].endswith("to carry it on")
    with captioner.load(folder) as model:
        ood = model.engine.model.ood
        measured = ood.measured()
        assert (measured["split"], measured["eval_split"]) == ("validation", "test")
        assert set(measured["far_off"]) >= {"noise", "screenshots", "all"}
        caption = model.caption(draw("noise", 0, 0))
    assert caption.outcome in OUTCOMES and caption.ood_score > 0
    text = "\n".join(outcomes_section(folder))
    assert text.startswith("## Knows when not to speak") and lines[-2] in text


def test_an_existing_file_is_kept(folder, program, capsys):
    path = folder / bundle.OOD
    path.write_bytes(b"damaged")
    assert fit_ood.main(program) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert fit_ood.main([*program, "--overwrite", "--eval-split", "validation", "--max-declined", "0"]) == 0
    measured = captioner.load(folder).engine.model.ood.measured()
    assert measured["in_domain"]["declined"] == 0 and measured["eval_split"] == "validation"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rank", "0"], "--rank expects a whole number of at least 1, got 0"),
        (["--trim", "1"], "--trim expects a number from 0 to 0.9, got 1"),
        (["--drawn", "1"], "--drawn expects a whole number of at least 2"),
        (["--max-hedged", "0.01"], "--max-hedged of at least --max-declined, got 0.01 and 0.02"),
        (["--split", "nowhere", "--overwrite"], "no image of synthetic_scenes is in the split 'nowhere'"),
    ],
)
def test_wrong_options_are_one_line(program, capsys, options, message):
    assert fit_ood.main([*program, *options]) != 0
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_model_without_the_file_is_as_before(tiny_bundle, images, capsys):
    assert not (tiny_bundle / bundle.OOD).exists() and outcomes_section(tiny_bundle) == []
    with captioner.load(tiny_bundle) as model:
        caption = model.caption(images[0])
    assert (caption.outcome, caption.ood_score, caption.sentence) == (None, None, None)
    assert json.loads(json.dumps(caption.text)) == caption.caption


def test_it_travels_through_publishing(tiny_bundle, tmp_path):
    """A model that was loaded and is saved again keeps its parameters."""
    folder = shutil.copytree(tiny_bundle, tmp_path / "fitted")
    bundle.add_file(folder, bundle.OOD, parameters(12).save)
    with captioner.load(folder) as model:
        again = captioner.save(model.engine.model, tmp_path / "again", half_precision=True)
        fitted = model.engine.model.ood
    stored = captioner.load(again).engine.model.ood
    assert np.array_equal(stored.centre, fitted.centre) and stored.decline == fitted.decline
