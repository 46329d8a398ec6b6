"""COCO's annotations as they are downloaded, and Karpathy's splits of them."""

import gzip
import json

import pytest

from captioner.errors import DataError
from tests.support.training.dataset_folders import (
    CAPTIONS,
    SPLITS,
    coco_value,
    draw,
    draw_all,
    karpathy_value,
)
from training.data.datasets import DATASETS


def ids(data):
    return {split: sorted(e.id for e in data.examples(split)) for split in data.splits}


@pytest.mark.parametrize("place", ["", "val2017/", "images/val2017/", "images/"])
def test_images_are_found_where_people_put_them(photos, place):
    draw_all(photos, lambda name: place + name)
    (photos / "annotations").mkdir()
    text = json.dumps(coco_value(list(CAPTIONS))).encode()
    (photos / "annotations" / "captions_val2017.json.gz").write_bytes(gzip.compress(text))
    data = DATASETS.build("coco_json", path=str(photos), validation=0, test=0)
    assert ids(data) == {"train": sorted(place + name for name in CAPTIONS)}


def test_files_elsewhere_as_a_list_or_a_folder(photos, tmp_path):
    draw_all(photos)
    names = list(CAPTIONS)
    notes = tmp_path / "notes"
    notes.mkdir()
    files = [notes / "captions_train2014.json", notes / "captions_val2014.json"]
    for file, part in zip(files, (names[:3], names[3:]), strict=True):
        file.write_text(json.dumps(coco_value(part)))
    expected = {"train": names[:3], "validation": names[3:]}
    for captions in (str(notes), list(map(str, files))):
        assert ids(DATASETS.build("coco_json", path=str(photos), captions=captions)) == expected


def test_faults_say_where(photos, tmp_path):
    draw_all(photos)
    draw(tmp_path / "secret.png")
    value = coco_value(list(CAPTIONS))
    value["images"] += [{"id": 1, "file_name": "gone.png"}, {"id": 2, "file_name": "../secret.png"}]
    value["annotations"] += [
        {"id": 97, "image_id": 1, "caption": "a dog"},
        {"id": 98, "image_id": 2, "caption": "a dog"},
        {"id": 99, "image_id": 3, "caption": "a dog"},
        {"id": 100, "image_id": 100, "caption": " \n"},
        {"id": 101, "image_id": 100, "caption": None},
    ]
    (photos / "captions_mine.json").write_text(json.dumps(value))
    data = DATASETS.build("coco_json", path=str(photos), validation=0, test=0, max_bad=0.5)
    assert len(data.examples("train")) == len(CAPTIONS)
    reasons = [row.reason for row in data.bad_rows.rows]
    assert [row.where for row in data.bad_rows.rows] == [
        f"captions_mine.json: annotation {number}" for number in range(8, 13)
    ]
    for reason, part in zip(
        reasons, ["no such image", "leads out", "no such image", "is empty", "not both"], strict=True
    ):
        assert part in reason


def test_annotations_without_captions_say_what_there_is(photos):
    draw_all(photos)
    value = {"images": [], "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]}]}
    (photos / "captions_x.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match="expected the columns image, caption .* got: id, image_id, bbox"):
        DATASETS.build("coco_json", path=str(photos))
    (photos / "captions_x.json").unlink()
    with pytest.raises(DataError, match=r"expected captions_\*.json in"):
        DATASETS.build("coco_json", path=str(photos))
    with pytest.raises(DataError, match="found no such file"):
        DATASETS.build("coco_json", path=str(photos), captions=str(photos / "x.json"))


def test_karpathys_splits_of_coco_name_folders(photos, tmp_path):
    draw_all(photos, lambda name: f"val2014/{name}")
    value = karpathy_value("val2014")
    value["images"][0]["split"] = "restval"  # the rest of the validation images, which is for training
    (tmp_path / "dataset_coco.json").write_text(json.dumps(value))
    data = DATASETS.build("flickr", folder=str(photos), captions=str(tmp_path / "dataset_coco.json"))
    expected = {
        split: sorted(f"val2014/{n}" for n in CAPTIONS if SPLITS[n] == split) for split in data.splits
    }
    assert ids(data) == expected and len(data.splits) == 3
