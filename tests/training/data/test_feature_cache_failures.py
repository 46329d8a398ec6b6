"""The feature cache after interruptions, with unreadable images, on full disks, and damaged."""

import errno
import json
import os
import shutil

import numpy as np
import pytest

from captioner.errors import DataError
from tests.support.training.feature_datasets import Images, direct, draw_image
from training.data.datasets.bad_rows import BadRows
from training.data.feature_cache import cached_split, encode_split
from training.data.source import Pixels

pytestmark = pytest.mark.usefixtures("one_reader")


def one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) > 30


class Crash(BaseException):
    """Ends a program as a power cut does."""


@pytest.mark.parametrize(("error", "again_from"), [(KeyboardInterrupt, 33), (Crash, 20)])
def test_interrupted_encoding_is_resumed(encoder, tmp_path, error, again_from):
    files = [draw_image(i) for i in range(50)]
    files[7] = None
    dataset = Images(files)

    def stop(index):
        if index == 33:
            raise error
        return Images._read(dataset, index)

    dataset._read = stop
    with pytest.raises(error):
        encode_split(encoder, dataset, "train", tmp_path, batch_size=1, max_bad=0.1)
    assert cached_split(encoder, dataset, "train", tmp_path) is None, "half a cache is none"
    del dataset._read
    dataset.reads.clear()
    features = encode_split(encoder, dataset, "train", tmp_path, batch_size=1, max_bad=0.1)
    assert sorted(dataset.reads) == list(range(again_from, 50)), (
        "the state is written every 20 batches, and when it is asked to stop"
    )
    expected = direct(encoder, [file for file in files if file])
    np.testing.assert_allclose(features[np.arange(49)], expected, rtol=2e-3, atol=1e-3)
    rows = [json.loads(line) for line in next(tmp_path.glob("*/bad_rows.jsonl")).read_text().splitlines()]
    assert [row["row"] for row in rows] == ["train 7.png"]


def test_unreadable_images_are_listed_and_left_out(encoder, tmp_path):
    files = [draw_image(i, "JPEG") for i in range(8)]
    files[2] = files[2][: len(files[2]) // 2]
    files[5] = None
    files[6] = b"no image at all"
    dataset = Images(files)
    expected = direct(encoder, [files[i] for i in (0, 1, 3, 4, 7)])
    for _ in range(2):  # computed, then from the cache
        features = encode_split(encoder, dataset, "train", tmp_path, batch_size=3, max_bad=0.5)
        # Two blanks in an id: the list of bad rows is for people and writes one.
        assert [e.id for e in features.examples] == [f"train  {i}.png" for i in (0, 1, 3, 4, 7)]
        assert features.shape[0] == len(features) == 5
        np.testing.assert_allclose(features[np.arange(5)], expected, rtol=2e-3, atol=1e-3)
        rows = [json.loads(line) for line in next(tmp_path.glob("*/bad_rows.jsonl")).read_text().splitlines()]
        assert [row["row"] for row in rows] == ["train 2.png", "train 5.png", "train 6.png"]
        assert "damaged JPEG" in rows[0]["reason"] and "no such image" in rows[1]["reason"]


def test_too_many_unreadable_images_are_refused(encoder, tmp_path):
    dataset = Images([draw_image(0), None, draw_image(2)])
    for _ in range(2):
        with pytest.raises(DataError, match=r"at most 1.00% bad rows.*1 of 3 rows") as error:
            encode_split(encoder, dataset, "train", tmp_path)
        assert one_line(error)


def test_unreadable_pixels_are_left_out(tmp_path):
    files = [draw_image(i, "JPEG") for i in range(6)]
    files[2] = files[2][: len(files[2]) // 2]
    files[4] = b"no image at all"
    examples = Images(files).examples("train")
    pixels = Pixels(examples, (32, 32))
    bad = BadRows("images_train", tmp_path / "unreadable.jsonl", max_bad=0.5)
    pixels.drop_unreadable(bad, "train")
    good = [examples[i] for i in (0, 1, 3, 5)]
    assert [e.id for e in pixels.examples] == [e.id for e in good]
    assert pixels[np.array([3, 2])].tolist() == Pixels(good, (32, 32))[np.array([3, 2])].tolist()
    assert len((tmp_path / "unreadable.jsonl").read_text().splitlines()) == 2
    strict = BadRows("images_train", tmp_path / "unreadable.jsonl", max_bad=0.1)
    with pytest.raises(DataError, match="at most 10.00% bad rows"):
        Pixels(examples, (32, 32)).drop_unreadable(strict, "train")


def test_full_disk_is_reported_before_encoding(encoder, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(DataError, match=r"GB free.*data.features") as error:
        encode_split(encoder, dataset, "train", tmp_path)
    assert one_line(error) and not dataset.reads


@pytest.mark.parametrize("when", ["taking the space", "without fallocate", "noting how far it is"])
def test_disk_that_fills_up_is_one_line(encoder, dataset, tmp_path, monkeypatch, when):
    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if when == "taking the space":
            patch.setattr(os, "posix_fallocate", full)
        elif when == "without fallocate":
            patch.delattr(os, "posix_fallocate")
            patch.setattr(np.lib.format, "write_array_header_2_0", full)
        else:
            patch.setattr(os, "replace", full)
        with pytest.raises(DataError, match="No space left on device") as error:
            encode_split(encoder, dataset, "train", tmp_path)
        assert one_line(error) and str(tmp_path) in str(error.value)
    features = encode_split(encoder, dataset, "train", tmp_path)
    np.testing.assert_allclose(features[np.arange(7)], direct(encoder, dataset.files), rtol=2e-3, atol=1e-3)


def test_space_is_allocated_without_fallocate(encoder, dataset, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    features = encode_split(encoder, dataset, "train", tmp_path)
    np.testing.assert_allclose(features[np.arange(7)], direct(encoder, dataset.files), rtol=2e-3, atol=1e-3)


def test_uncreatable_folder_is_one_line(encoder, dataset, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot make the folder .*data.features") as error:
        encode_split(encoder, dataset, "train", tmp_path / "file")
    assert one_line(error)


@pytest.mark.parametrize(
    "damage", ["state", "deep", "done", "number", "bad", "lost", "key", "array", "header", "kind", "sums"]
)
def test_a_damaged_cache_is_never_used(encoder, dataset, tmp_path, damage):
    encode_split(encoder, dataset, "train", tmp_path)
    (place,) = tmp_path.iterdir()
    state, array = place / "state.json", place / "features.npy"
    if damage == "state":
        state.write_text("")
    elif damage == "key":
        state.write_text(json.dumps({**json.loads(state.read_text()), "key": "another"}))
    elif damage == "deep":
        state.write_text("[" * 100_000)
    elif damage in ("done", "number", "bad", "lost"):
        value = {"done": 8, "number": True, "bad": [["train", "3", "x"]], "lost": [0]}[damage]
        state.write_text(
            json.dumps({**json.loads(state.read_text()), "done" if damage == "number" else damage: value})
        )
    elif damage == "kind":
        np.save(array, np.load(array).astype(np.float32))
    elif damage == "sums":
        np.save(place / "sums.npy", np.zeros(3, np.uint32))
    elif damage == "array":
        array.write_bytes(array.read_bytes()[:-100])
    else:
        array.write_bytes(b"x" * 10)
    for look in (encode_split, cached_split):
        with pytest.raises(DataError, match=r"ours and whole.*delete it") as error:
            look(encoder, dataset, "train", tmp_path)
        assert one_line(error)


@pytest.mark.parametrize("where", ["a row", "two rows exchanged"])
def test_rows_with_wrong_checksums_are_refused(encoder, dataset, tmp_path, where):
    encode_split(encoder, dataset, "train", tmp_path)
    (place,) = tmp_path.iterdir()
    array = np.load(place / "features.npy", mmap_mode="r+")
    if where == "a row":
        array[3, 0, 0] += 1
    else:
        array[[3, 4]] = array[[4, 3]]
    array.flush()
    for look in (encode_split, cached_split):
        features = look(encoder, dataset, "train", tmp_path)
        assert features[np.array([0, 1, 2])].shape == (3, 16, 16)
        with pytest.raises(DataError, match=r"damaged feature cache: row 3 of .*delete") as error:
            features[np.array([1, 3])]
        assert one_line(error)
