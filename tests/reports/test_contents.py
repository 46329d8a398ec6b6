"""The data of reports, by hand and by property; the parts of pages."""

import fnmatch
import tomllib
from pathlib import Path

import pytest

import captioner
from captioner.metrics import scored
from captioner.reports import contents, page
from captioner.reports.confusions import confusions
from tests.support.report_inputs import random_captions

ROOT = Path(__file__).parents[2]


def test_confused_words_by_hand():
    predictions = {
        "1.jpg": "a cat sleeps on the red sofa",
        "2.jpg": "a cat and a bird",
        "3.jpg": "two dogs run",
    }
    references = {
        # dog, sleeps, couch: in at least two of four; of them the caption lacks dog and couch.
        "1.jpg": ["A dog sleeps on a couch .", "A dog sleeps .", "The couch .", "It sleeps with red eyes ."],
        "2.jpg": ["A dog and a bird .", "A brown dog ."],
        "3.jpg": ["Two dogs run .", "They run ."],
    }
    confused = confusions(scored(predictions, references, metrics=["exact_match"]))
    pairs = {(pair["said"], pair["missed"]): pair["weight"] for pair in confused["pairs"]}
    # The second image: bird is in half of its references, and so is brown, which was missed.
    assert pairs == {
        ("cat", "dog"): 1 / 2 + 1 / 2, ("cat", "couch"): 1 / 2, ("cat", "brown"): 1 / 2,
        ("sofa", "dog"): 1 / 2, ("sofa", "couch"): 1 / 2,
    }  # fmt: skip
    assert confused["pairs"][0] == {
        "said": "cat", "missed": "dog", "weight": 1.0,
        "example": {"image": "1.jpg", "caption": predictions["1.jpg"]},
    }  # fmt: skip
    assert [(row["word"], row["count"]) for row in confused["invented"]] == [("cat", 2), ("sofa", 1)]
    assert [(row["word"], row["count"]) for row in confused["missed"]] == [
        ("dog", 2),
        ("brown", 1),
        ("couch", 1),
    ]
    assert confused["missed"][1]["example"]["image"] == "2.jpg"


def test_confused_words_leave_out_those_of_the_language():
    predictions, references = (
        {"1.jpg": "ein hund auf der wiese"},
        {"1.jpg": ["eine katze die auf dem sofa liegt"]},
    )
    for language, invented in {"de": {"hund", "wiese"}, "fr": {"ein", "hund", "der", "wiese"}}.items():
        confused = confusions(scored(predictions, references, metrics=["exact_match"], language=language))
        assert {row["word"] for row in confused["invented"]} == invented


def test_lengths_vocabulary_and_distribution_add_up():
    predictions, references = random_captions(12)
    data = contents.evaluation([scored(predictions, references)], ["a"], 10)
    assert sum(data["cider_d"]["models"][0]["counts"]) == 12 == len(data["images"])
    values = sorted(row["CIDEr-D"][0] for row in data["images"])
    assert data["cider_d"]["models"][0]["highest"] == values[-1] <= data["cider_d"]["edges"][-1]
    assert data["cider_d"]["models"][0]["mean"] == pytest.approx(
        captioner.evaluate(predictions, references)["CIDEr-D"]
    )
    lengths = data["lengths"]["models"][0]
    assert sum(lengths["shares"]) == pytest.approx(100)
    assert sum(i * share for i, share in enumerate(lengths["shares"])) / 100 == pytest.approx(lengths["mean"])
    same = contents.evaluation(
        [scored({"1": "a a a b", "2": "A a a b ."}, {"1": ["a a a a"], "2": ["c"]})], ["a"], 10
    )
    vocabulary = same["vocabulary"]["models"][0]
    assert (vocabulary["words"], vocabulary["half"], vocabulary["nine tenths"], vocabulary["unique"]) == (
        2,
        1,
        2,
        50.0,
    )
    assert vocabulary["of references"] == 50.0
    assert vocabulary["frequent"] == [{"caption": "a a a b", "count": 2, "share": 100.0}]


def test_groups_of_images_are_in_order():
    predictions, references = random_captions(30, wrong=0.2)
    other = {name: f"a boat {text.split(' ', 2)[2]}" for name, text in predictions.items()}
    data = contents.evaluation(
        [scored(predictions, references), scored(other, references)], ["a", "b"], 10, shown=4
    )
    groups = {group["group"]: [p["models"] for p in group["images"]] for group in data["examples"]}
    assert [key for key in groups if "better" not in key] == ["best", "median", "worst"]
    score = {key: [m[0]["CIDEr-D"] for m in models] for key, models in groups.items()}
    everything = sorted((row["CIDEr-D"][0] for row in data["images"]), reverse=True)
    assert score["best"] == everything[:4] and score["median"] == everything[13:17]
    assert score["worst"] == everything[::-1][:4]
    differences = [m[0]["CIDEr-D"] - m[1]["CIDEr-D"] for m in groups["first better"]]
    assert differences == sorted(differences, reverse=True) and differences[-1] > 0
    few = contents.evaluation([scored(*random_captions(2))], ["a"], 10)["examples"]
    assert [group["group"] for group in few] == ["all"] and len(few[0]["images"]) == 2


def test_pages_show_values_of_the_data_only():
    with pytest.raises(KeyError):
        page.look_up({"a": [1]}, "b.0")
    text = page.render("parts.html.j2", {})
    assert "data-path" not in text
    assert page.formatted(1234567) == "1,234,567" and page.formatted(True) == "yes"


def test_the_wheel_has_the_templates():
    """All data files in packages are listed in the package data of the wheel."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for path in (ROOT / "captioner").rglob("*.j2"):
        package = ".".join(path.parent.relative_to(ROOT).parts)
        patterns = setup["package-data"].get(package, [])
        assert any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns), f"{path} is in no wheel"
    names = {path.name for path in (ROOT / "captioner/reports").glob("*.j2")}
    assert names == {"base.html.j2", "evaluation.html.j2", "parts.html.j2"}
