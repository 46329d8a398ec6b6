"""Confidence intervals of reports."""

import numpy as np
import pytest

from captioner.metrics import METRICS, Scores, scored
from captioner.reports import bootstrap, contents
from tests.support.report_inputs import random_captions


def test_intervals_contain_the_score_and_shrink():
    widths = []
    for size in (30, 480):
        predictions, references = random_captions(size)
        model = scored(predictions, references)
        drawn = bootstrap.resampled([model], 300)[0]
        for name, value in model.corpus.items():
            if name in ("unique captions", "vocabulary"):
                assert name not in drawn  # samples contain images repeatedly
                continue
            interval = bootstrap.spread(drawn[name])
            assert drawn[name].shape == (300,) and interval["low"] <= value <= interval["high"]
        widths.append(bootstrap.spread(drawn["CIDEr-D"])["error"])
    assert 0 < widths[1] < widths[0] / 2  # the square root of 16 is 4


def test_sample_scores_are_those_of_the_sample():
    """All scores but CIDEr-D, whose document frequencies are fixed, equal those of the sampled captions."""
    predictions, references = random_captions(20)
    predictions["3.png"], predictions["4.png"] = "a dog", "dog"
    model = scored(predictions, references, metrics=["bleu", "rouge_l", "bad_endings", "diversity"])
    drawn = bootstrap.resampled([model], 5, seed=7)[0]
    assert {"BLEU-1", "BLEU-4", "ROUGE-L", "mean length", "bad endings"} == set(drawn) - {"BLEU-2", "BLEU-3"}
    for row, places in enumerate(np.random.default_rng(7).integers(20, size=(5, 20))):
        candidates = [model.candidates[i] for i in places]
        wanted = [model.references[i] for i in places]
        for metric in ("bleu", "rouge_l", "bad_endings", "diversity"):
            for name, value in METRICS.build(metric).score(candidates, wanted).corpus.items():
                if name in drawn:
                    assert drawn[name][row] == pytest.approx(value, abs=1e-9), name


def test_samples_in_parts_are_the_same(monkeypatch):
    model = scored(*random_captions(20), metrics=["rouge_l", "bleu"])
    at_once = bootstrap.resampled([model], 50)[0]
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 20 * 7)
    parts = bootstrap.resampled([model], 50)[0]
    assert all(parts[name] == pytest.approx(at_once[name], abs=1e-9) for name in at_once)


def test_equal_images_have_no_spread():
    references = {str(i): ["a dog runs over the grass today"] for i in range(9)}
    model = scored(dict.fromkeys(references, "a dog runs over the green grass"), references, metrics=["bleu"])
    assert 0 < model.corpus["BLEU-4"] < 100
    for name, values in bootstrap.resampled([model], 40)[0].items():
        assert values == pytest.approx(np.full(40, model.corpus[name]), abs=1e-9)


def test_scores_that_are_no_means_have_no_interval(monkeypatch):
    model = scored(*random_captions(6), metrics=["rouge_l"])
    model.scores.append(Scores({"METEOR": 20.0}, {"METEOR": np.array([10.0, 20, 30, 40, 50, 60])}))
    assert set(bootstrap.resampled([model], 10)[0]) == {"ROUGE-L"}
    row = contents.evaluation([*[with_cider(model)] * 2], ["a", "b"], 10)["scores"][1]
    assert row["name"] == "METEOR" and row["models"][0]["low"] is None and row["difference"]["higher"] is None


def with_cider(model):
    model.scores.append(METRICS.build("cider_d").score(model.candidates, model.references))
    return model


def test_a_model_does_not_differ_from_itself():
    model = scored(*random_captions(12))
    for row in contents.evaluation([model, model], ["a", "b"], 50)["scores"]:
        difference = row["difference"]
        assert difference["value"] == 0
        if difference["low"] is not None:
            assert (difference["low"], difference["high"], difference["error"], difference["higher"]) == (
                0,
                0,
                0,
                0,
            )


def test_a_better_model_is_higher_in_most_samples():
    (good, references), (bad, _) = random_captions(60, wrong=0.1), random_captions(60, wrong=0.1)
    bad = {name: text if i % 3 else "a zebra swims" for i, (name, text) in enumerate(bad.items())}
    data = contents.evaluation([scored(good, references), scored(bad, references)], ["good", "bad"], 200)
    row = next(row for row in data["scores"] if row["name"] == "CIDEr-D")
    assert row["difference"]["low"] > 0 and row["difference"]["higher"] > 99
    assert row["difference"]["value"] == pytest.approx(row["models"][0]["value"] - row["models"][1]["value"])
    # Paired samples differ less than independent ones.
    assert row["difference"]["error"] < np.hypot(row["models"][0]["error"], row["models"][1]["error"])
