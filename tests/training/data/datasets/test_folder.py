"""The folder dataset: formats, splits that are stable, and errors that say where the input is wrong."""

import csv
import json
import os
import unicodedata

import pytest
from PIL import Image

from captioner.errors import DataError
from training.data.datasets import DATASETS, BadRows


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The list of bad rows goes to the working directory unless told otherwise."""
    monkeypatch.chdir(tmp_path)


def image(path, colour=(9, 9, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(dict(zip(rows[0], r, strict=True))) + "\n" for r in rows[1:]))


ROWS = [
    ("image", "caption", "split"),
    ("a.png", 'a "red" one, you see', "train"),
    ("sub/b.png", "ein Hündchen\nbellt", "dev"),
]
ROWS += [("./a.png", "another", "train"), ("c.png", "一只狗", "test")]


def folder_of_images(tmp_path):
    for name in ("a.png", "sub/b.png", "c.png"):
        image(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.mark.parametrize("name, write", [("captions.csv", write_csv), ("captions.jsonl", write_jsonl)])
def test_folder_reads_csv_and_jsonl_alike(tmp_path, name, write):
    photos = folder_of_images(tmp_path)
    write(photos / name, ROWS)
    data = DATASETS.build("folder", path=str(photos))
    got = {split: [(e.id, e.captions) for e in data.examples(split)] for split in data.splits}
    assert got == {
        "train": [("a.png", ('a "red" one, you see', "another"))],
        "validation": [("sub/b.png", ("ein Hündchen bellt",))],
        "test": [("c.png", ("一只狗",))],
    }
    assert data.examples("validation")[0].read() == (photos / "sub" / "b.png").read_bytes()


def test_splits_by_hash_are_stable(tmp_path):
    photos = tmp_path / "photos"
    source = image(photos / "source.png")
    names = [f"{i}.png" for i in range(400)]
    for name in names:
        os.link(source, photos / name)
    write_csv(photos / "captions.csv", [("image", "caption"), *[(n, "one") for n in names[:200]]])
    half = DATASETS.build("folder", path=str(photos), validation=0.2, test=0.1)
    write_csv(
        photos / "captions.csv", [("image", "caption"), *[(n, c) for n in names for c in ("one", "two")]]
    )
    full = DATASETS.build("folder", path=str(photos), validation=0.2, test=0.1)
    for split in half.splits:
        assert {e.id for e in half.examples(split)} <= {e.id for e in full.examples(split)}
    sizes = [len(full.examples(split)) for split in full.splits]
    assert sum(sizes) == 400 and 50 < sizes[1] < 110 and 20 < sizes[2] < 65
    with pytest.raises(DataError, match="leave some for train"):
        DATASETS.build("folder", path=str(photos), validation=0.5, test=0.5)


@pytest.mark.parametrize(
    "name, content, says",
    [
        (
            "captions.csv",
            b"file,text\na.png,dog\n",
            "captions.csv:1: expected the columns image, caption .* got: file, text",
        ),
        (
            "captions.csv",
            "image,caption\na.png,dog\n".encode("utf-16"),
            "captions.csv: expected UTF-8 text, got UTF-16 text: save it as UTF-8",
        ),
        ("captions.csv", b"", "captions.csv:1: expected the columns .* got: none"),
        (
            "captions.csv",
            b'image,caption\na.png,"dog\nc.png,cat\n',
            "captions.csv:2: expected CSV.* is not closed",
        ),
        ("captions.csv", b"image,caption\n", "found none"),
        ("captions.jsonl", b'{"image": "a.png"}\n', "captions.jsonl:1: expected the columns .* got: image"),
        ("captions.jsonl", b'[{"image": "a.png", "caption": "dog"}]\n', "no object"),
        ("captions.txt", b"a.png dog", "ends in .json, .jsonl, .csv, .tsv"),
    ],
)
def test_wrong_columns_stop_at_once(tmp_path, name, content, says):
    photos = folder_of_images(tmp_path)
    (photos / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as error:
        DATASETS.build("folder", path=str(photos), captions=str(photos / name))
    assert "\n" not in str(error.value)


def test_bad_rows_of_a_folder(tmp_path):
    photos = folder_of_images(tmp_path)
    good = [{"image": "a.png", "caption": f"dog {i}"} for i in range(90)]
    bad = {
        91: (b'{"image": "a.png", "image": "c.png", "caption": "dog"}', "'image' comes twice"),
        92: (b'{"image": "a.png", "caption": ', "not a line of JSON"),
        93: (b'{"image": "a.png", "caption": "caf\xe9"}', "not UTF-8"),
        94: (b'{"image": "a.png", "caption": "\\ud800"}', "not UTF-8"),
        95: (b'{"image": "a.png", "caption": "..."}', "is empty"),
        96: (b'{"image": "gone.png", "caption": "dog"}', "no such image"),
        97: (b'{"image": "sub/../../x.png", "caption": "dog"}', "leads out"),
        98: (b'{"image": "a.png", "caption": null}', "not both there"),
        99: (b'{"image": "C:\\\\x.png", "caption": "dog"}', "leads out"),
        100: (b'{"image": "a.png", "caption": "dog", "split": "moon"}', "unknown split 'moon'"),
    }
    text = b"\n".join([json.dumps(row).encode() for row in good] + [line for line, _ in bad.values()])
    (photos / "captions.jsonl").write_bytes(text)
    with pytest.raises(DataError, match="10 of 100 rows"):
        DATASETS.build("folder", path=str(photos), max_bad=0.09)
    data = DATASETS.build("folder", path=str(photos), max_bad=0.1)
    assert len(data.examples(data.splits[0])[0].captions) == 90
    for row in data.bad_rows.rows:
        number = int(row.where.removeprefix("captions.jsonl:"))
        assert bad.pop(number)[1] in row.reason
    assert not bad


def test_repeated_captions_count_once(tmp_path, caplog):
    photos = folder_of_images(tmp_path)
    rows = [
        ("image", "caption", "split"),
        ("a.png", "a dog runs", "train"),
        ("./a.png", "a  dog runs ", "train"),
    ]
    write_csv(photos / "captions.csv", [*rows, ("sub/b.png", "a dog runs", "train"), ("c.png", "b", "dev")])
    data = DATASETS.build("folder", path=str(photos), max_bad=0.0)
    assert len(data.bad_rows) == 0 and data.repeated == 1
    assert [(e.id, e.captions) for e in data.examples("train")] == [
        ("a.png", ("a dog runs",)),
        ("sub/b.png", ("a dog runs",)),
    ]
    assert "1 captions repeat one of their image, and count once" in caplog.text


def test_unnamed_images_are_reported(tmp_path, caplog):
    photos = folder_of_images(tmp_path)
    for name in ("IMG_1.HEIC", "._a.png", "notes.txt", "sub/other.jpg"):
        (photos / name).write_bytes(b"x")
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    write_csv(
        photos / "captions.csv",
        [("image", "caption"), *[(n, "a dog") for n in ("a.png", "sub/b.png", "c.png")]],
    )
    DATASETS.build("folder", path=str(photos))
    assert "captions.csv: no captions for 2 of the image files, such as IMG_1.HEIC: left out" in caplog.text


@pytest.mark.parametrize("form, other", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_in_another_unicode_form(tmp_path, form, other):
    name = "sü\u00df/caf\u00e9.png"
    on_disk = unicodedata.normalize(other, name)
    image(tmp_path / "photos" / on_disk)
    rows = [(unicodedata.normalize(form, name), "a cup"), (on_disk, "a cup of tea")]
    write_csv(tmp_path / "photos" / "captions.csv", [("image", "caption"), *rows])
    data = DATASETS.build("folder", path=str(tmp_path / "photos"), max_bad=0.0)
    (split,) = data.splits
    (example,) = data.examples(split)
    assert (example.id, example.captions) == (on_disk, ("a cup", "a cup of tea"))
    assert example.read() == (tmp_path / "photos" / on_disk).read_bytes()
    # The split does not depend on the form either.
    image(tmp_path / "others" / unicodedata.normalize(form, name))
    write_csv(tmp_path / "others" / "captions.csv", [("image", "caption"), rows[0]])
    assert DATASETS.build("folder", path=str(tmp_path / "others")).splits == (split,)
    sentence = {"raw": "a cup", "tokens": ["a", "cup"]}
    captions = {"images": [{"filename": rows[0][0], "split": split, "sentences": [sentence]}]}
    (tmp_path / "k.json").write_text(json.dumps(captions))
    again = DATASETS.build("flickr", folder=str(tmp_path / "photos"), captions=str(tmp_path / "k.json"))
    assert [e.id for e in again.examples(split)] == [on_disk]


def test_a_name_in_other_capitals_is_hinted_at(tmp_path):
    image(tmp_path / "photos" / "Beach.JPG")
    write_csv(tmp_path / "photos" / "captions.csv", [("image", "caption"), ("beach.jpg", "a beach")])
    with pytest.raises(
        DataError, match=r"no such image in .*photos \(there is 'Beach.JPG': capitals count\)"
    ):
        DATASETS.build("folder", path=str(tmp_path / "photos"))


@pytest.mark.parametrize("has_splits", [False, True])
def test_an_empty_split_says_what_to_do(tmp_path, has_splits):
    photos = folder_of_images(tmp_path)
    rows = [(f"{name}.png", "a dog", "train")[: 2 + has_splits] for name in ("a", "c")]
    write_csv(photos / "captions.csv", [("image", "caption", "split")[: 2 + has_splits], *rows])
    data = DATASETS.build("folder", path=str(photos), validation=0.001, test=0.0)
    with pytest.raises(DataError) as error:
        data.examples("validation")
    words = "no row of captions.csv says validation in its column split"
    if not has_splits:
        words = (
            "add images, or a column split to captions.csv, or set validation=0.35 of the dataset (now 0.001)"
        )
        better = DATASETS.build("folder", path=str(photos), validation=0.35, test=0.0)
        assert better.splits == ("train", "validation")
    assert str(error.value) == (
        f"no image of the folder dataset is in the split 'validation'; splits with images: train; {words}"
    )


def test_csv_rows_with_wrong_field_counts(tmp_path):
    photos = folder_of_images(tmp_path)
    (photos / "captions.csv").write_text(
        "image,caption,split\na.png,a dog,train\na.png,a dog, wet,train\n"
        "c.png\nc.png,cat,test\na.png,cat,test\n"
    )
    data = DATASETS.build("folder", path=str(photos), max_bad=0.6)
    assert [(r.where, r.reason[:20]) for r in data.bad_rows.rows] == [
        ("captions.csv:3", "4 fields for 3 colum"),
        ("captions.csv:4", "1 field for 3 column"),
        ("captions.csv:6", "this image is in the"),
    ]


def test_bad_rows_class(tmp_path):
    with pytest.raises(DataError, match="max_bad expects a number from 0 to 1, got 5"):
        BadRows("x", max_bad=5)
    bad = BadRows("photos", tmp_path / "list.jsonl", max_bad=0.01)
    bad.check(0)
    assert not bad.path.exists()
    bad.add("f:1", "a.jpg", "a reason\nof two lines")
    bad.check(100)
    assert json.loads(bad.path.read_text()) == {
        "where": "f:1",
        "row": "a.jpg",
        "reason": "a reason of two lines",
    }
    with pytest.raises(DataError, match="1 of 99 rows"):
        bad.check(99)
    (tmp_path / "file").write_text("")
    nowhere = BadRows("photos", tmp_path / "file" / "list.jsonl")
    nowhere.add("f:1", "a.jpg", "reason")
    with pytest.raises(DataError, match="cannot write the list of 1 bad rows"):
        nowhere.check(1000)
