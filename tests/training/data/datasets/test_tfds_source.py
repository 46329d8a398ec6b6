"""Datasets of tensorflow-datasets: the same images and captions as stored."""

import io

import numpy as np
import pytest
from PIL import Image

from captioner.errors import DataError
from training.data.datasets import DATASETS
from training.data.datasets.synthetic_scenes import SyntheticScenes


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The list of bad rows goes to the working directory unless told otherwise."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tfds():
    return pytest.importorskip("tensorflow_datasets")


def test_tfds_builder_holds_the_same_images_and_captions(tfds, tmp_path):
    from training.data.datasets import synthetic_scenes_tfds

    options = {"train": 5, "validation": 2, "test": 0, "test_unseen": 3, "size": 32}
    config = synthetic_scenes_tfds.ScenesConfig(name="little", options=options)
    builder = synthetic_scenes_tfds.SyntheticScenes(config=config, data_dir=tmp_path)
    builder.download_and_prepare()
    source = SyntheticScenes(**options)
    expected = {e.id: e for e in source.examples("test_unseen")}
    for row in tfds.as_numpy(builder.as_dataset("test_unseen")):
        example = expected.pop(row["id"].decode())
        np.testing.assert_array_equal(row["image"], np.asarray(Image.open(io.BytesIO(example.read()))))
        assert tuple(text.decode() for text in row["captions"]) == example.captions
    assert not expected
    data = DATASETS.build("tfds", name="synthetic_scenes/little", data_dir=str(tmp_path), id_key="id")
    assert set(data.splits) == {"train", "validation", "test_unseen"}
    for split in data.splits:
        ours = {e.id: (e.captions, e.read()) for e in source.examples(split)}
        assert {e.id: (e.captions, e.read()) for e in data.examples(split)} == ours
    with pytest.raises(
        DataError, match="image_key to be one of image in synthetic_scenes/little/1.0.0, got 'photo'"
    ):
        DATASETS.build("tfds", name="synthetic_scenes/little", data_dir=str(tmp_path), image_key="photo")
    with pytest.raises(DataError, match="captions_key"):
        DATASETS.build("tfds", name="synthetic_scenes/little", data_dir=str(tmp_path), captions_key="image")


def coco_rows(split, count):
    for i in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (20 + i, 10), (i, 50, 100)).save(buffer, "JPEG")
        texts = [] if (split, i) == ("train", 3) else [f"A dog {split} {i}.", " Two cats "]
        yield (
            i,
            {
                "image": buffer.getvalue(),
                "image/filename": f"COCO_{split}_{i}.jpg",
                "image/id": i,
                "objects": [],
                "captions": [{"text": text, "id": 10 * i + k} for k, text in enumerate(texts)],
            },
        )


def test_coco_captions_of_tensorflow_datasets(tfds, tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=f"coco_captions prepared in {tmp_path}.*run `tfds build coco_captions --data_dir="
    ):
        DATASETS.build("coco", data_dir=str(tmp_path))
    builder = tfds.builder("coco_captions", data_dir=tmp_path)
    splits = {"train": 6, "val": 2, "test": 3, "restval": 4}
    rows = {split: list(coco_rows(split, count)) for split, count in splits.items()}
    monkeypatch.setattr(
        type(builder), "_split_generators", lambda self, manager: {s: iter(r) for s, r in rows.items()}
    )
    builder.download_and_prepare()
    data = DATASETS.build("coco", data_dir=str(tmp_path), max_bad=0.1)
    assert data.splits == ("train", "validation", "test")
    stored = {row["image/filename"]: row for part in rows.values() for _, row in part}
    for split, count in {"train": 9, "validation": 2, "test": 3}.items():
        examples = data.examples(split)
        assert len(examples) == count
        for example in examples:
            assert example.read() == stored[example.id]["image"]  # not decoded and encoded again
            assert example.captions[0] == stored[example.id]["captions"][0]["text"]
            assert example.captions[1] == "Two cats"
    assert [row.row for row in data.bad_rows.rows] == ["COCO_train_3.jpg"]
    with pytest.raises(DataError, match="1 of 10 rows"):
        DATASETS.build("coco", data_dir=str(tmp_path)).examples("train")
    without = DATASETS.build("coco", data_dir=str(tmp_path), restval=False, max_bad=0.2)
    assert len(without.examples("train")) == 5
    assert without.fingerprint != data.fingerprint
    path = next(tmp_path.rglob("*train.tfrecord*"))
    path.write_bytes(path.read_bytes()[:-9])
    assert DATASETS.build("coco", data_dir=str(tmp_path)).fingerprint != data.fingerprint
    with pytest.raises(DataError, match="expected whole TFRecords"):
        DATASETS.build("coco", data_dir=str(tmp_path)).examples("train")
