"""What every dataset of the table keeps to: splits, examples, fingerprint, bad rows, errors in one line."""

import inspect
import json
from pathlib import Path

import pytest

from captioner.errors import DataError, ImageError
from captioner.image import pillow_decode
from tests.support.training.dataset_folders import CAPTIONS, SPLITS, WRITERS, by_split, coco_value, draw_all
from training.data.datasets import DATASETS
from training.data.datasets.rows import Shares

# Read tensorflow-datasets (test_tfds_source.py), no files at all, or other datasets (test_mixture.py).
OTHERS = {"coco", "tfds", "synthetic_scenes", "mixture"}
READS_FILES = sorted(set(DATASETS) - OTHERS)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The list of bad rows goes to the working directory unless told otherwise."""
    monkeypatch.chdir(tmp_path)


def built(name, place, **options):
    place.mkdir(parents=True, exist_ok=True)
    return DATASETS.build(name, **WRITERS[name](place, **options))


@pytest.fixture(params=READS_FILES)
def name(request):
    assert request.param in WRITERS, "add a writer of its source to tests/support/training/dataset_folders.py"
    return request.param


def test_every_dataset_has_a_description():
    described = DATASETS.describe()
    assert all(line.endswith(".") for line in described.values())


def test_splits_captions_and_images_come_as_written(name, tmp_path):
    data = built(name, tmp_path / "photos", max_bad=0.0)
    assert data.splits == ("train", "validation", "test")
    assert len(data.bad_rows) == 0 and not data.bad_rows.path.exists()
    images = {example.id: (split, example) for split in data.splits for example in data.examples(split)}
    assert len(images) == len(CAPTIONS)
    for image, (split, example) in images.items():
        base = image.rpartition("/")[2]
        assert split == SPLITS[base]
        assert sorted(example.captions) == sorted(CAPTIONS[base])
        assert pillow_decode.decode(example.read()).size == (12, 9)
    assert data.summary == "5 images, 7 captions"


def test_it_is_the_same_again_and_elsewhere(name, tmp_path):
    first, second = (built(name, tmp_path / place / "photos") for place in ("one", "two"))
    assert first.fingerprint == second.fingerprint
    for split in first.splits:
        ids = [example.id for example in first.examples(split)]
        assert ids == [example.id for example in second.examples(split)] and len(set(ids)) == len(ids)


def test_the_fingerprint_changes_with_an_image(name, tmp_path):
    before = built(name, tmp_path / "photos").fingerprint
    place = next(path for path in (tmp_path / "photos").rglob("*") if path.suffix in (".png", ".tar"))
    content = bytearray(place.read_bytes())
    at = content.index(b"IDAT") + 9  # within the pixels
    content[at] ^= 1
    place.write_bytes(content)
    arguments = WRITERS[name](tmp_path / "again")
    arguments = {
        key: value.replace(str(tmp_path / "again"), str(tmp_path / "photos"))
        for key, value in arguments.items()
    }
    assert DATASETS.build(name, **arguments).fingerprint != before


def test_an_unknown_split_is_an_error_in_one_line(name, tmp_path):
    data = built(name, tmp_path / "photos")
    with pytest.raises(DataError, match="splits with images: train, validation, test") as error:
        data.examples("moon")
    assert "\n" not in str(error.value)


def test_an_image_that_goes_away_is_an_image_error(name, tmp_path):
    data = built(name, tmp_path / "photos")
    for path in (tmp_path / "photos").rglob("*"):
        if path.suffix in (".png", ".jpg", ".tar"):
            path.unlink()
    with pytest.raises(ImageError) as error:
        data.examples("train")[0].read()
    assert "\n" not in str(error.value)
    assert len(data.fingerprint) == 64


def _table_without_splits(place):
    arguments = WRITERS["folder"](place)
    lines = (place / "captions.csv").read_text().splitlines()
    (place / "captions.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    return arguments


def _one_coco_file(place):
    draw_all(place)
    (place / "captions_train2017.json").write_text(json.dumps(coco_value(list(CAPTIONS))))
    return {"path": str(place)}


WRITERS_WITHOUT_SPLITS = {
    "folder": _table_without_splits,
    "auto": _table_without_splits,
    "coco_json": _one_coco_file,
}


@pytest.mark.parametrize(
    "name", [name for name in READS_FILES if name != "flickr"]
)  # which has splits always
def test_shares_of_nothing_leave_all_in_train(name, tmp_path, monkeypatch):
    # The same sources, with their images in no folder or file that is called as a split.
    monkeypatch.setattr("tests.support.training.dataset_folders.by_split", lambda image: f"x/{image}")
    monkeypatch.setattr("tests.support.training.dataset_folders.SPLITS", dict.fromkeys(CAPTIONS, "x"))
    place = tmp_path / "photos"
    place.mkdir()
    arguments = WRITERS_WITHOUT_SPLITS.get(name, WRITERS[name])(place)
    data = DATASETS.build(name, **arguments, validation=0, test=0)
    assert data.splits == ("train",) and len(data.examples("train")) == len(CAPTIONS)
    with pytest.raises(DataError, match="add images, or "):
        data.examples("validation")
    shared = DATASETS.build(name, **arguments, validation=0.4, test=0.3)
    splits = {example.id: split for split in shared.splits for example in shared.examples(split)}
    expected = Shares(0.4, 0.3)
    assert splits == {example.id: expected.split(example.id) for example in data.examples("train")}
    assert splits != {example.id: "train" for example in data.examples("train")}
    with pytest.raises(DataError, match="leave some for train"):
        DATASETS.build(name, **arguments, validation=0.5, test=0.5)


def test_a_broken_image_is_a_bad_row(name, tmp_path):
    place = tmp_path / "photos"
    place.mkdir()
    arguments = WRITERS[name](place)
    broken = place / (by_split("d.jpg") if (place / by_split("d.jpg")).exists() else "d.jpg")
    if name == "coco_json":
        broken = place / "test2017" / "d.jpg"
    if name == "webdataset":
        tar = place / "drawn-test-000.tar"
        content = tar.read_bytes()
        start = content.index(b"\xff\xd8\xff")
        tar.write_bytes(content[:start] + b"<html>" + content[start + 6 :])
    else:
        # Its end is cut off; what is inside it as XMP stays.
        broken.write_bytes(broken.read_bytes()[:-40])
    with pytest.raises(DataError, match="expected at most 1.00% bad rows") as error:
        DATASETS.build(name, **arguments)
    assert "\n" not in str(error.value)
    data = DATASETS.build(name, **arguments, max_bad=0.5, bad_rows=str(tmp_path / "bad.jsonl"))
    (row,) = map(json.loads, (tmp_path / "bad.jsonl").read_text().splitlines())
    assert Path(row["row"]).name == "d.jpg" and data.splits == ("train", "validation")


def test_an_absent_source_is_an_error_in_one_line(name, tmp_path):
    signature = inspect.signature(DATASETS[name])
    arguments = {"path": str(tmp_path / "nowhere")} if "path" in signature.parameters else {}
    if name == "flickr":
        arguments = {"folder": str(tmp_path / "nowhere"), "captions": str(tmp_path / "nowhere.json")}
    with pytest.raises(DataError, match="nowhere") as error:
        DATASETS.build(name, **arguments)
    assert "\n" not in str(error.value)
