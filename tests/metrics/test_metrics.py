"""All metrics of the table by property; diversity and bad endings by hand."""

import math
import random
import shutil
import subprocess
import sys

import pytest

from captioner.errors import DataError, SpecError
from captioner.metrics import METRICS, evaluate
from tests.support.metric_inputs import needs_official, random_captions

JAVA_ROWS = {"meteor"}


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_scores_and_is_described(name):
    if name in JAVA_ROWS:
        needs_official()
        if shutil.which("java") is None:
            pytest.skip("Java is not installed")
    candidates, references = random_captions(images=6, shortest=3)
    scores = METRICS.build(name).score(candidates, references)
    assert scores.corpus and all(math.isfinite(v) for v in scores.corpus.values())
    assert set(scores.per_image) <= set(scores.corpus)
    assert all(values.shape == (6,) for values in scores.per_image.values())
    assert METRICS.describe()[name]
    for wrong in (([], []), (candidates[:2], references), (candidates, [*references[:-1], []])):
        with pytest.raises(DataError) as caught:
            METRICS.build(name).score(*wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="lists of words"):
        METRICS.build(name).score(["a dog"], [[["a", "dog"]]])


@pytest.mark.parametrize("name", ["bleu", "rouge_l", "cider_d", "exact_match"])
def test_perfect_beats_shuffled_beats_other_captions(name):
    rng = random.Random(3)
    _, references = random_captions(images=60, shortest=6)
    references = [
        [c for c in captions if len(c) > 4] or [["a", "lone", "zebra", "sleeps", "here"]]
        for captions in references
    ]
    perfect = [captions[0] for captions in references]
    shuffled = [rng.sample(c, len(c)) for c in perfect]
    other = perfect[1:] + perfect[:1]
    metric = METRICS.build(name)
    values = [list(metric.score(c, references).corpus.values()) for c in (perfect, shuffled, other)]
    for best, middle, worst in zip(*values, strict=True):
        assert best > middle or best == middle == 100  # BLEU-1 does not see order
        if name in ("rouge_l", "cider_d"):
            assert middle > worst
    assert values[0][-1] > values[1][-1]


@pytest.mark.parametrize(
    "metrics, words",
    [
        ("bleu", r"a list of metrics such as \['bleu'\]"),
        (["pathlib:Path"], "a metric, which has a method score, got pathlib:Path"),
        (["textwrap:fill"], "metric 'textwrap:fill' cannot be built: .* argument"),
    ],
)
def test_unknown_metrics_are_one_line(metrics, words):
    with pytest.raises(SpecError, match=words):
        evaluate(["a dog"], [["a dog"]], metrics=metrics)


def test_diversity_by_hand():
    predictions = ["A dog .", "a dog", "a cat runs", "two cats"]
    references = [["a dog"]] * 4
    scores = evaluate(predictions, references, metrics=["diversity"], training=["A cat runs ."])
    assert scores == {"unique captions": 75, "vocabulary": 6, "mean length": 9 / 4, "novel captions": 75}
    assert "novel captions" not in evaluate(predictions, references, metrics=["diversity"])


def test_bad_endings_are_function_words():
    predictions = ["a man in front of a", "a man with a red", "two dogs and", "a dog .", "the"]
    scores = evaluate(predictions, [["a dog"]] * 5, metrics=["bad_endings"])
    assert scores == {"bad endings": pytest.approx(60)}


def test_bad_endings_of_german_leave_parts_of_verbs():
    predictions = [
        "ein mann neben einem",
        "ein hund und",
        "ein mann schaut zu",
        "zwei hunde auf dem",
        "er hat ein",
    ]
    references = [["ein hund"]] * 5
    assert evaluate(predictions, references, metrics=["bad_endings"], language="de") == {
        "bad endings": pytest.approx(80)
    }
    # The option of a spec comes before that of the call.
    spec = ["bad_endings(language='en')"]
    assert evaluate(predictions, references, metrics=spec, language="de") == {"bad endings": 0}


def test_bad_endings_are_not_counted_in_other_languages():
    scores = evaluate(
        ["un chien a", "the"], [["un chien"]] * 2, metrics=["exact_match", "bad_endings"], language="fr"
    )
    assert scores == {"exact match": 0}
    with pytest.raises(SpecError, match="language expects a code"):
        evaluate(["a dog"], [["a dog"]], language="English")


def test_importing_metrics_is_light():
    code = (
        "import sys, captioner.metrics; "
        "print({'nltk', 'tensorflow', 'keras', 'pycocoevalcap'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
