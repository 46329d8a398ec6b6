"""Text files beside images: lines, encodings, and files that are beside nothing."""

import os

import pytest

from captioner.errors import DataError
from tests.support.training.dataset_folders import draw
from training.data.datasets import DATASETS


def build(photos, **options):
    return DATASETS.build("text_files", path=str(photos), validation=0, test=0, **options)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_caption_a_line(photos, end):
    draw(photos / "süd.JPG")
    (photos / "süd.TXT").write_bytes(end.join(["\ufeffa café, closed", "", "  ", "a 2nd one "]).encode())
    (example,) = build(photos).examples("train")
    assert (example.id, example.captions) == ("süd.JPG", ("a café, closed", "a 2nd one"))


def test_files_beside_nothing_are_named(photos, caplog):
    for name in ("1.png", "2.png", ".hidden.png", "._1.png", "__MACOSX/._1.png", ".trash/3.png"):
        draw(photos / name)
        (photos / name).with_suffix(".txt").write_text("a dog")
    (photos / "2.txt").unlink()
    (photos / "gone.txt").write_text("a cat")
    data = build(photos, max_bad=0.0)
    assert [example.id for example in data.examples("train")] == ["1.png"]
    assert "1 .txt files" in caplog.text and "such as gone.txt" in caplog.text
    assert "no captions for 1 of the image files, such as 2.png" in caplog.text


def test_bad_texts_are_bad_rows(photos):
    for name in ("1.png", "2.png", "3.png", "4.png", "5.png", "5.jpg"):
        draw(photos / name)
    (photos / "1.txt").write_bytes(b"a dog\ncaf\xe9\n...\n")
    (photos / "2.txt").write_bytes(b"\n \n")
    (photos / "3.txt").write_bytes("a dog".encode("utf-16"))
    (photos / "4.txt").write_bytes(b"a dog " * 200_000)
    (photos / "5.txt").write_text("a dog")
    data = build(photos, max_bad=0.9)
    assert [(e.id, e.captions) for e in data.examples("train")] == [("1.png", ("a dog",))]
    assert [(row.where, row.row) for row in data.bad_rows.rows] == [
        ("1.txt:2", "1.png"),
        ("1.txt:3", "1.png"),
        ("2.txt", "2.png"),
        ("3.txt", "3.png"),
        ("4.txt", "4.png"),
        ("5.txt", "5.jpg"),
    ]
    parts = ["not UTF-8", "is empty", "text file is empty", "UTF-16", "more than 1 MB", "several images"]
    for row, part in zip(data.bad_rows.rows, parts, strict=True):
        assert part in row.reason


def test_pipes_are_not_waited_for(photos):
    for name in ("1.png", "2.png"):
        draw(photos / name)
    (photos / "1.txt").write_text("a dog")
    os.mkfifo(photos / "2.txt")
    (row,) = build(photos, max_bad=0.5).bad_rows.rows
    assert (row.where, row.reason) == ("2.txt", "not a file")
    os.mkfifo(photos / "3.jpg")
    with pytest.raises(DataError, match="3.jpg: not a file|expected at most .* not a file"):
        DATASETS.build("embedded", path=str(photos))


def test_no_text_says_what_there_is(photos):
    draw(photos / "1.png")
    (photos / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="found 1 images and 1 .txt files, none of them side by side"):
        build(photos)
