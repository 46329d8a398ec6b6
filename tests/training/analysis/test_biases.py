"""Counts of what a model confuses, on a world small enough to count by hand."""

import json

import pytest

from captioner.errors import DataError
from training import analyze
from training.analysis.biases import PrecisionRow, biases, table

REFERENCES = {
    "1": ["a woman runs", "the girl runs", "a lady in red", "a person", "someone"],
    "2": ["a woman and a man", "two women", "a woman", "a man", "people"],  # of both: counts for neither
    "3": ["a man", "the boy", "two boys", "a person", "a dog beside him"],
    "4": ["a dog", "a brown dog", "the puppy", "a kitten", "an animal"],
    "5": ["a cat", "two cats", "the black cat", "cat", "an animal"],
}
CAPTIONS = {
    "1": "a man in a red shirt",
    "2": "a woman in blue",
    "3": "two men and a woman",
    "4": "a black dog runs",
    "5": "a brown dog with a cat",
}


def counted():
    recall, precision = biases(CAPTIONS, REFERENCES, ["a cat", "the cats", "a dog and a cat", "a man"])
    return {row.what: row for row in recall}, {row.what: row for row in precision}


def test_recall_counted_by_hand():
    recall, _ = counted()
    women, men, cats, dogs = (
        recall[n] for n in ("women or girls alone", "men or boys alone", "cats", "dogs")
    )
    assert (women.images, women.named, women.mistaken) == (1, 0, 1)
    # Who names both has named the right one.
    assert (men.images, men.named, men.mistaken) == (1, 1, 0)
    assert (cats.images, cats.named, cats.mistaken, cats.in_training) == (1, 1, 0, 3)
    assert (dogs.images, dogs.named, dogs.mistaken, dogs.in_training) == (1, 1, 0, 1)


def test_precision_against_any_reference():
    _, precision = counted()
    assert precision["a dog or dogs"] == PrecisionRow("a dog or dogs", 2, 1)
    assert precision['"two"'] == PrecisionRow('"two"', 1, 1)
    # red of 1 is said, blue of 2, black of 4 and brown of 5 are not.
    assert precision["a colour"] == PrecisionRow("a colour", 4, 1)


def test_the_tables_leave_out_what_is_not_there():
    lines = table(*biases(CAPTIONS, REFERENCES))
    assert "training captions" not in lines[0] and "training captions" in table(*counted_rows())[0]
    assert "| women or girls alone | 1 | 0 (0 %) | men or boys instead: 1 (100 %) |" in lines
    assert not any("horses" in line or "three" in line for line in lines)
    assert table(*biases({"1": "ein Hund"}, {"1": ["Hunde"]})) == []


def counted_rows():
    return biases(CAPTIONS, REFERENCES, ["a cat"])


def test_biases_command(tmp_path, capsys):
    for name, content in (("p", CAPTIONS), ("r", REFERENCES), ("few", {"1": ["a dog"]})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert analyze.main(["biases", str(tmp_path / "p.json"), str(tmp_path / "r.json")]) == 0
    assert capsys.readouterr().out.splitlines() == table(*biases(CAPTIONS, REFERENCES))
    assert analyze.main(["biases", str(tmp_path / "p.json"), str(tmp_path / "few.json")]) == 2
    err = capsys.readouterr().err
    assert "image '2' has none" in err and err.count("\n") == 1
    with pytest.raises(DataError):
        biases(CAPTIONS, {})
