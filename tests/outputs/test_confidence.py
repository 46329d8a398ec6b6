"""Confidence: the calibration, its copies in exports, and the program that fits it."""

import json
import math
import shutil

import numpy as np
import pytest

import captioner
from captioner import bundle
from captioner.errors import BundleError, DataError
from captioner.outputs.confidence import Confidence, features
from captioner.types import Caption
from tests.support.images import odd_images
from training import calibrate_confidence
from training.data.datasets.example import Example

pytestmark = pytest.mark.usefixtures("quick")
CALIBRATION = {"bias": 0.25, "weights": {"mean_logp": 1.5, "least_logp": 0.5, "words": -0.125}}
CAPTION = Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.75))


def test_the_formula():
    assert features(CAPTION) == (-0.5, -0.75, 2.0)
    expected = 1 / (1 + math.exp(-(0.25 - 0.75 - 0.375 - 0.25)))
    assert Confidence(CALIBRATION).of(CAPTION) == pytest.approx(expected)
    assert Confidence(CALIBRATION).of(Caption("")) == 0.0
    assert Confidence(CALIBRATION).of(Caption("", error="no image")) == 0.0
    # No overflow for extreme values.
    assert Confidence({**CALIBRATION, "bias": -1e6}).of(CAPTION) == 0.0


@pytest.mark.parametrize(
    "calibration", [{}, {"bias": 1.0}, {"bias": "x", "weights": {}}, [], {**CALIBRATION, "weights": 3}]
)
def test_a_damaged_calibration_is_one_line(calibration):
    with pytest.raises(BundleError, match="expected bias and weights.*calibrate_confidence.py again"):
        Confidence(calibration)


def test_it_travels_with_the_model(tiny_bundle, tmp_path):
    """The calibration is copied into all exports."""
    pytest.importorskip("ai_edge_litert")
    folder = tmp_path / "model"
    shutil.copytree(tiny_bundle, folder)
    image = odd_images.encoded(odd_images.drawn(32, 32), "PNG")
    with captioner.load(folder) as model:
        assert model.confidence(model.caption(image)) is None
    (folder / bundle.CONFIDENCE).write_text(json.dumps(CALIBRATION))
    strategy = "greedy(min_length=2)"
    paths = captioner.export(folder, ["saved_model", "tflite"], strategy=strategy)
    for source in (folder, *paths.values()):
        with captioner.load(source) as model:
            caption = model.caption(image, strategy)
            assert model.confidence(caption) == pytest.approx(Confidence(CALIBRATION).of(caption))
            assert model.alt_text(image, strategy=strategy).confidence == model.confidence(caption)
    # Saved again it is kept; replaced by other weights it is removed.
    with captioner.load(folder) as model:
        kept = captioner.save(model.engine.model, tmp_path / "kept")
        assert json.loads((kept / bundle.CONFIDENCE).read_text()) == CALIBRATION
        model.engine.model.calibration = None
        captioner.save(model.engine.model, folder, overwrite=True)
    assert not (folder / bundle.CONFIDENCE).exists()
    (folder / bundle.CONFIDENCE).write_text("{")
    with pytest.raises(BundleError, match="confidence"):
        captioner.load(folder)


def test_fit_finds_the_weights_that_made_the_chances():
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(500, 2)) * [3.0, 0.1] + [5.0, -1.0]
    chances = 1 / (1 + np.exp(-(inputs @ [0.4, -6.0] - 8.0)))
    weights, bias = calibrate_confidence.fit(inputs, chances, ridge=0.0)
    np.testing.assert_allclose([*weights, bias], [0.4, -6.0, -8.0], rtol=1e-3)


def test_reliability_tells_good_from_bad():
    chances = np.linspace(0, 1, 100)
    right = calibrate_confidence.reliability(chances, chances)
    assert right["error"] == pytest.approx(0, abs=1e-9) and right["brier"] < right["base"]
    assert [row[2] for row in right["curve"]] == [10] * 10
    wrong = calibrate_confidence.reliability(1 - chances, chances)
    assert wrong["error"] > 0.4 and wrong["brier"] > wrong["base"]


CAPTIONS = {
    "dog.jpg": ["a dog runs on the grass", "a brown dog runs outside"],
    "cat.jpg": ["a cat sits on the sofa", "the cat is asleep"],
    "sea.jpg": ["waves hit the beach", "a dog runs outside on the grass"],
    "car.jpg": ["a red car", "the car is red"],
}
RATED = [("dog.jpg", "sea.jpg", 1, [4, 3, 3]), ("dog.jpg", "cat.jpg", 0, [1, 1, 2])]
RATED += [("cat.jpg", "dog.jpg", 1, [1, 1, 1]), ("sea.jpg", "dog.jpg", 0, [3, 4, 4])]
RATED += [("cat.jpg", "car.jpg", 1, [1, 2, 1]), ("car.jpg", "cat.jpg", 1, [1, 1, 1])]


def test_acceptance_follows_similarity():
    people = calibrate_confidence.AcceptanceModel(CAPTIONS, RATED)
    predictions = [Caption(t, words=tuple(t.split())) for t in ("a dog runs on the grass", "a boat sails")]
    good, bad = people.predict(predictions, [CAPTIONS["dog.jpg"], CAPTIONS["cat.jpg"]])
    assert good > 0.8 > 0.3 > bad
    with pytest.raises(DataError, match="none of the rated pairs"):
        calibrate_confidence.AcceptanceModel({"x.jpg": ["a dog"]}, RATED)


class Drawn:
    """A dataset of drawn images with the captions above."""

    splits = ("validation", "test")

    def __init__(self, broken=False):
        self.broken = broken

    def examples(self, split):
        def read(turn):
            return (
                b"no image" if self.broken else odd_images.encoded(odd_images.drawn(32, 32, turn=turn), "PNG")
            )

        turns = range(4) if split == "validation" else range(4, 8)
        named = [f"{split}{turn}.jpg" for turn in turns] if split == "test" else list(CAPTIONS)
        return [
            Example(name, tuple(CAPTIONS[key]), lambda turn=turn: read(40 * turn))
            for name, key, turn in zip(named, CAPTIONS, turns, strict=True)
        ]


@pytest.fixture
def program(monkeypatch, tiny_bundle, tmp_path):
    """Arguments of the program on a copy of the tiny model."""
    from training.data.datasets import DATASETS

    folder = tmp_path / "model"
    shutil.copytree(tiny_bundle, folder)
    lines = ["\t".join([p, f"{s}#{i}", *map(str, rated)]) for p, s, i, rated in RATED]
    (tmp_path / "ratings.txt").write_text("\n".join(lines))
    monkeypatch.setattr(DATASETS, "build", lambda spec: Drawn(broken=spec == "broken"))
    return [
        str(folder),
        "drawn",
        "--ratings",
        str(tmp_path / "ratings.txt"),
        "--strategy",
        "beam(min_length=2)",
    ]


def test_the_model_uses_the_calibration(program, tmp_path, capsys):
    assert calibrate_confidence.main(program) == 0
    assert "experts would accept" in capsys.readouterr().out
    calibration = json.loads((tmp_path / "model" / bundle.CONFIDENCE).read_text())
    assert calibration["rated_pairs"] == len(RATED) and calibration["captions"] == 4
    assert calibration["learnt_on"] == "validation" and calibration["checked_on"] == "test"
    assert 0 <= calibration["reliability"]["error"] <= 1
    assert (tmp_path / "model" / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    with captioner.load(program[0]) as model:
        caption = model.caption(odd_images.encoded(odd_images.drawn(32, 32), "PNG"), "beam(min_length=2)")
        assert model.confidence(caption) == pytest.approx(Confidence(calibration).of(caption))
    before = (tmp_path / "model" / bundle.CONFIDENCE).read_bytes()
    assert calibrate_confidence.main(program) == 2
    err = capsys.readouterr().err
    assert "add --overwrite" in err and err.count("\n") == 1
    assert (tmp_path / "model" / bundle.CONFIDENCE).read_bytes() == before
    assert calibrate_confidence.main([*program, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (0, "nowhere", "no such model folder: nowhere"),
        (1, "broken", "image dog.jpg"),
        (3, "nowhere.txt", "cannot read the ratings"),
        (5, "beem", "did you mean 'beam'"),
    ],
)
def test_mistakes_of_the_program(program, capsys, place, value, says):
    program[place] = value
    assert calibrate_confidence.main(program) == 2
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err
