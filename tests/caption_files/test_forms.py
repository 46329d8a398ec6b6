"""Caption files in all formats, read by training and evaluation alike."""

import gzip
import itertools
import json
import random

import pytest

from captioner.caption_files import aligned, read_references, read_rows
from captioner.errors import DataError
from tests.support.caption_tables import CAPTIONS, forms, read_by_training, table, written


@pytest.mark.parametrize("ending, text", forms(CAPTIONS))
@pytest.mark.parametrize("zipped", [False, True])
def test_training_and_evaluation_read_every_format_alike(photos, ending, text, zipped):
    data = text.encode()
    file = photos / f"c{ending}{'.gz' * zipped}"
    file.write_bytes(gzip.compress(data) if zipped else data)
    expected = {"1.png": [c for i, c in CAPTIONS if i == "1.png"], "sub/2.png": [CAPTIONS[2][1]]}
    assert read_references(file) == expected
    assert read_by_training(photos, file)[1] == {
        i: [" ".join(c.split()) for c in cs] for i, cs in expected.items()
    }


def test_no_character_of_a_caption_breaks_a_row(tmp_path):
    odd = [
        "\u2028",
        "\u2029",
        "\x85",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x1e",
        "\ufeff",
        "\u202e",
        '"',
        ",",
        ";",
        "|",
        "\t",
    ]
    odd += ["\n", "\r", "\r\n", "\\", "\\n", "'", "=1+1", "{", "[", "𝒳", "é", "e\u0301"]
    rng = random.Random(3)
    rows = [(f"{i}.jpg", "a" + "b".join(rng.choices(odd, k=4)) + "c") for i in range(60)]
    for separator, ending in ((",", "csv"), ("\t", "tsv")):
        (tmp_path / f"c.{ending}").write_bytes(table(rows, separator).encode())
        assert read_references(tmp_path / f"c.{ending}") == {image: [text] for image, text in rows}
    (tmp_path / "c.jsonl").write_bytes(
        "\n".join(json.dumps({"image": i, "caption": c}, ensure_ascii=False) for i, c in rows).encode()
    )
    assert read_references(tmp_path / "c.jsonl") == {image: [text] for image, text in rows}
    # Unquoted, all characters but line ends and the separator are text.
    plain = [mark for mark in odd if mark not in (",", "\n", "\r", "\r\n", '"')]
    text = "image,caption\n" + "".join(f"{i}.jpg,a{mark}b\n" for i, mark in enumerate(plain))
    (tmp_path / "c.csv").write_bytes(text.encode())
    assert read_references(tmp_path / "c.csv") == {f"{i}.jpg": [f"a{mark}b"] for i, mark in enumerate(plain)}


def test_an_image_in_two_splits_is_refused(tmp_path):
    file = written(tmp_path, "r.csv", "image,caption,split\n1.jpg,a,train\n1.jpg,b,test\n")
    with pytest.raises(DataError, match="r.csv:3: image '1.jpg' is in the split 'train' already, got 'test'"):
        read_references(file)


def test_read_rows_keeps_bad_rows(tmp_path):
    rows = [("1.jpg", "a"), ("2.jpg", "b, c"), ("3.jpg", "d")]
    text = "image,caption\n" + "".join(f"{i},{c}\n" for i, c in rows)
    rows_read = read_rows(written(tmp_path, "c.csv", text), "c.csv").rows
    assert [bool(row.fault) for row in rows_read] == [False, True, False]
    assert list(itertools.chain(*(row.captions for row in rows_read))) == ["a", "d"]


def test_splits_and_ids_are_normalised_alike(photos):
    rows = [("1.png", "a dog", "val"), ("./1.png", "a cat", "Validation"), ("sub/2.png", "a car", " TEST ")]
    file = photos / "s.csv"
    file.write_text("image,caption,split\n" + "".join(f"{','.join(row)}\n" for row in rows))
    references = read_references(file)
    assert references == {"1.png": ["a dog", "a cat"], "sub/2.png": ["a car"]}
    assert references.splits == {"1.png": "validation", "sub/2.png": "test"}
    for split in ("val", "dev", "validation"):
        assert aligned(["1.png"], references, split).names == {"1.png": "1.png"}
    training, _ = read_by_training(photos, file)
    assert [list(e.captions) for e in training.examples("validation")] == [references["1.png"]]


def test_a_caption_may_have_several_lines(tmp_path):
    text = 'image,caption\n1.jpg,"a dog, wet\nand a cat, dry\n2, or 3, of them"\n2.jpg,b\n'
    (tmp_path / "c.csv").write_text(text)
    assert read_references(tmp_path / "c.csv")["1.jpg"] == ["a dog, wet\nand a cat, dry\n2, or 3, of them"]
