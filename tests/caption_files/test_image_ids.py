"""Ids of the same image in different spellings."""

import random
import unicodedata

import pytest

from captioner.caption_files.image_ids import alike, composed, match, shown


@pytest.mark.parametrize(
    "left, right, way",
    [
        ("1.jpg", "1.jpg", "name"),
        (1, "1", "name"),
        (unicodedata.normalize("NFD", "süß/café.jpg"), "süß/café.jpg", "name in another Unicode form"),
        ("./a//b.jpg", "a/b.jpg", "path"),
        ("a\\b.jpg", "a/b.jpg", "path"),
        ("7.0", 7, "number"),
        ("7", "000000000007", "number"),
        ("7", "COCO_val2014_000000000007.jpg", "number"),
        ("images/000000000007.jpg", 7.0, "number"),
        ("0", "000", "number"),
        ("val/one.jpg", "one.jpg", "base name"),
        ("/x/one.jpg", "photos/one.jpg", "base name"),
        ("7.5", "7", None),
        ("17", "7", None),
        ("²", "2", None),
        ("one.jpg", "One.jpg", None),
        ("one.jpg", "one.png", None),
        ("", "a", None),
        ("..", "../..", None),
    ],
)
def test_spellings_of_the_same_image(left, right, way):
    for one, other in ((left, right), (right, left)):
        result = match([one, "x"], [other, "x"])
        assert result.pairs == ({one: other, "x": "x"} if way else {"x": "x"})
        assert result.ways == ({"name": 2} if way == "name" else {"name": 1} | ({way: 1} if way else {}))


def test_ambiguous_ids_are_not_matched():
    assert match(["a/1.jpg", "b/1.jpg"], ["1.jpg"]).pairs == {}
    assert match(["1.jpg"], ["a/1.jpg", "b/1.jpg"]).pairs == {}
    assert match(["a/1.jpg", "b/1.jpg"], ["a/1.jpg", "c/1.jpg"]).pairs == {"a/1.jpg": "a/1.jpg"}
    assert match(["7", "007"], ["COCO_val2014_000000000007.jpg"]).pairs == {}
    # For random names: every id is paired once, with an existing one.
    rng = random.Random(1)
    parts = ["1", "01", "a", "A", "é", "e\u0301", "..", "1.jpg", "COCO_val2014_000000000001.jpg"]
    names = ["/".join(rng.choices(parts, k=rng.randint(1, 3))) for _ in range(400)]
    for _ in range(200):
        left, right = (list(dict.fromkeys(rng.choices(names, k=8))) for _ in "ab")
        pairs = match(left, right, left_folder="x", right_folder="y").pairs
        assert len(set(pairs.values())) == len(pairs) and set(pairs) <= set(left)
        assert set(pairs.values()) <= set(right)
        assert all(name in pairs and pairs[name] == name for name in set(left) & set(right))


def test_relative_paths_are_matched_by_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = ["data/photos/a/1.jpg", "data/photos/b/1.jpg", str(tmp_path / "data/photos/c/1.jpg")]
    result = match(left, ["c/1.jpg", "b/1.jpg", "./a/1.jpg"], left_folder="", right_folder="data/photos")
    assert result.pairs == dict(zip(left, ["./a/1.jpg", "b/1.jpg", "c/1.jpg"], strict=True))
    assert result.ways == {"path": 3}


def test_normal_form_and_suggestions():
    assert composed("a/../b/./c") == "b/c" and composed("../a") == "../a" and composed("/../a") == "/a"
    assert alike("Beach.JPG", ["x", "beach.jpg"]) == "beach.jpg" and alike("a.jpg", ["a.png"]) == "a.png"
    assert alike("a", ["b", "a"]) is None and alike("", [""]) is None
    assert shown("e\u0301") != shown("é") and len(shown("x" * 999)) <= 120 and "\n" not in shown("a\nb")
