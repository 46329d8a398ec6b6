"""`evaluate`: the forms of its arguments, and their mistakes."""

import pytest

from captioner.errors import DataError, SpecError
from captioner.metrics import DEFAULT_METRICS, METRICS, evaluate
from captioner.registry import parse_spec
from captioner.types import Caption


def test_ids_in_different_spellings_are_named():
    for left, right, words in (
        (
            "cafe\u0301.png",
            "caf\u00e9.png",
            r"'cafe\\u0301.png' and 'café.png' have the same name in another Unicode form",
        ),
        ("val/one.jpg", "one.jpg", "'val/one.jpg' and 'one.jpg' have the same base name"),
        (1, "1", "1 and '1' have the same name"),
        ("7.0", "COCO_val2014_000000000007.jpg", "have the same number"),
    ):
        with pytest.raises(
            DataError, match=f"1 predictions without references: .*{words}.*: spell them alike"
        ) as error:
            evaluate({left: "a dog"}, {right: ["a dog"]})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [None, "a dog", 5, {"a dog"}, iter(["a dog"])])
def test_only_mappings_and_lists_are_accepted(values):
    for predictions, references in ((values, [["a dog"]]), (["a dog"], values), (values, values)):
        with pytest.raises(DataError, match="both mappings by id or both lists, got"):
            evaluate(predictions, references)


def test_mappings_lists_and_captions_are_equal():
    texts = ["A dog runs .", "two cats"]
    references = [["a dog runs", "the dog"], ["two brown cats", "a cat"]]
    by_list = evaluate(texts, references)
    by_id = evaluate(dict(zip("xy", texts, strict=True)), dict(zip("yx", references[::-1], strict=True)))
    captions = evaluate([Caption(text) for text in texts], tuple(map(tuple, references)))
    assert by_list == by_id == captions
    assert list(by_list) == [
        "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D",
        "unique captions", "vocabulary", "mean length", "bad endings",
    ]  # fmt: skip


def test_evaluate_normalises_both_sides():
    scores = evaluate(
        {1: "a man's T-SHIRT", 2: "x"}, {1: ["A man 's t shirt !"], 2: ["y"]}, metrics=["exact_match"]
    )
    assert scores == {"exact match": 50}


def test_evaluate_takes_specs_of_the_table():
    scores = evaluate(["a dog", "cats"], [["a dog"], ["dogs"]], metrics=["bleu(n=2)", parse_spec("rouge_l")])
    assert list(scores) == ["BLEU-1", "BLEU-2", "ROUGE-L"]
    with pytest.raises(SpecError, match="did you mean 'cider_d'"):
        evaluate(["a"], [["a"]], metrics=["cider"])
    assert set(DEFAULT_METRICS) <= set(METRICS)


GOOD = ["a dog"]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ({}, {}, "at least one prediction"),
        ([], [], "at least one prediction"),
        ({"a": "x", "b": "y"}, {"a": GOOD}, "1 predictions without references: 'b'"),
        ({"a": "x"}, {"a": GOOD, "b": GOOD, "c": GOOD}, "2 images with references but no prediction: 'b'"),
        ({i: "x" for i in range(9)}, {0: GOOD}, "8 predictions without references: 1, 2, 3, ..."),
        (["x"], [GOOD, GOOD], "got 1 predictions and 2 lists"),
        (["x"], {0: GOOD}, "got list and dict"),
        ({0: "x"}, [GOOD], "got dict and list"),
        ("x", [GOOD], "got str and list"),
        ({"a": "x", "b": "x"}, {"a": [], "b": GOOD}, "1 images without references: 'a'"),
        ({"a": "x"}, {"a": ["a dog", " . "]}, "1 references without a word: 'a'"),
        ({"a": "x"}, {"a": "a dog"}, "no list of strings: 'a'"),
        ({"a": "x"}, {"a": [["a", "dog"]]}, "no list of strings: 'a'"),
        ({"a": "x"}, {"a": None}, "no list of strings: 'a'"),
        ({"a": "x", "b": " . ", "c": ""}, dict.fromkeys("abc", GOOD), "2 predictions without a word: 'b', "),
        ({"a": None}, {"a": GOOD}, "1 predictions that are no string: 'a'"),
        ({"a": Caption("", error="gone")}, {"a": GOOD}, "1 predictions that are errors, not captions: 'a'"),
    ],
)  # fmt: skip
def test_mistakes_are_listed_in_one_line(predictions, references, message):
    with pytest.raises(DataError) as caught:
        evaluate(predictions, references)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_predictions_can_be_allowed():
    scores = evaluate(["", "a dog"], [["a cat"], ["a dog"]], allow_empty=True)
    assert scores["ROUGE-L"] == 50 and scores["mean length"] == 1
    empty = evaluate(["", ""], [["a cat"], ["a dog"]], allow_empty=True)
    assert {empty[k] for k in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D", "bad endings")} == {0}
