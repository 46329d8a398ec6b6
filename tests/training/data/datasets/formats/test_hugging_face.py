"""Hugging Face's ImageFolder: names relative to the metadata, splits by folder or column, lists of captions."""

import json

import pytest

from captioner.errors import DataError
from tests.support.training.dataset_folders import draw, write_csv
from training.data.datasets import DATASETS


def captions_of(data):
    return {split: {e.id: e.captions for e in data.examples(split)} for split in data.splits}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_csv_names_images_in_folders_of_splits(photos, end):
    for number, name in enumerate(("train/ä.png", "dev/2.png", "more/3.png")):
        draw(photos / name, number)
    rows = [("train/ä.png", "a café, closed"), ("dev/2.png", "two"), ("more/3.png", "three")]
    write_csv(photos / "metadata.csv", [("file_name", "text"), *rows, ("train/ä.png", "another")], end)
    data = DATASETS.build("image_folder", path=str(photos))
    assert captions_of(data) == {
        "train": {"train/ä.png": ("a café, closed", "another"), "more/3.png": ("three",)},
        "validation": {"dev/2.png": ("two",)},
    }


def test_a_column_split_goes_before_folders(photos):
    draw(photos / "train" / "1.png")
    row = {"file_name": "1.png", "text": "a dog", "split": "test"}
    (photos / "train" / "metadata.jsonl").write_text(json.dumps(row))
    assert captions_of(DATASETS.build("image_folder", path=str(photos))) == {
        "test": {"train/1.png": ("a dog",)}
    }


@pytest.mark.parametrize("column", ["text", "caption", "captions"])
def test_lists_of_captions(photos, column):
    draw(photos / "1.png")
    row = {"file_name": "1.png", column: ["a dog", "a brown dog"]}
    (photos / "metadata.jsonl").write_text(json.dumps(row))
    data = DATASETS.build("image_folder", path=str(photos), validation=0, test=0)
    assert captions_of(data) == {"train": {"1.png": ("a dog", "a brown dog")}}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_file_name_is_the_image_whatever_else_there_is(photos, name):
    draw(photos / "1.png")
    row = {"image_id": "77", "id": "x9", "file_name": "1.png", "width": "12", "text": "a dog"}
    if name == "metadata.csv":
        write_csv(photos / name, [tuple(row), tuple(row.values())])
    else:
        (photos / name).write_text(json.dumps(row))
    data = DATASETS.build("image_folder", path=str(photos), validation=0, test=0)
    assert captions_of(data) == {"train": {"1.png": ("a dog",)}}


def test_metadata_as_json_lines_goes_before_csv(photos):
    draw(photos / "1.png")
    write_csv(photos / "metadata.csv", [("file_name", "text"), ("1.png", "of the csv")])
    (photos / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "of the jsonl"}')
    data = DATASETS.build("image_folder", path=str(photos), validation=0, test=0)
    assert captions_of(data) == {"train": {"1.png": ("of the jsonl",)}}


def test_bad_rows_say_where(photos):
    draw(photos / "train" / "1.png")
    draw(photos.parent / "secret.png")
    names = ["1.png", "gone.png", "../../secret.png", str(photos.parent / "secret.png")]
    write_csv(photos / "train" / "metadata.csv", [("file_name", "text"), *[(name, "x y") for name in names]])
    data = DATASETS.build("image_folder", path=str(photos), max_bad=0.8)
    assert [example.id for example in data.examples("train")] == ["train/1.png"]
    reasons = {row.where: row.reason for row in data.bad_rows.rows}
    assert reasons.keys() == {f"train/metadata.csv:{line}" for line in (3, 4, 5)}
    assert reasons["train/metadata.csv:3"].startswith("no such image")
    assert {reasons[f"train/metadata.csv:{line}"] for line in (4, 5)} == {
        "the path leads out of the image folder"
    }


def test_no_metadata_says_what_was_expected(photos):
    draw(photos / "1.png")
    with pytest.raises(DataError, match="expected metadata.jsonl or metadata.csv in .*photos"):
        DATASETS.build("image_folder", path=str(photos))
