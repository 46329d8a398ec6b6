"""The feature cache: keyed by everything, resumable, and honest about images and disks."""

import errno
import functools
import hashlib
import io
import json
import os
import shutil
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from captioner import atomic
from captioner.errors import DataError, ImageError
from captioner.image import tf_decode
from captioner.models import ENCODERS
from captioner.models.encoders import Encoder
from training.data.datasets import Example
from training.data.datasets.bad_rows import BadRows
from training.data.feature_cache import cached_split, encode_split
from training.data.source import Pixels
from training.data.transforms import HorizontalFlip

SIZE = (32, 32)


def draw_image(number, kind="PNG"):
    random = np.random.default_rng(number)
    image = Image.fromarray(random.integers(0, 256, (24 + number % 3, 32, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


class Images:
    """A dataset of given files, which counts how often each is read."""

    splits = ("train", "test")

    def __init__(self, files):
        self.files, self.reads = list(files), []
        self.fingerprint = hashlib.sha256(b"".join(f or b"" for f in self.files)).hexdigest()

    def _read(self, index):
        self.reads.append(index)
        if self.files[index] is None:
            raise ImageError(f"{index}.png: no such image file")
        return self.files[index]

    def examples(self, split):
        return [
            Example(f"{split}  {i}.png", ("a dog",), lambda i=i: self._read(i))
            for i in range(len(self.files))
        ]


@pytest.fixture(scope="module", autouse=True)
def one_reader():
    """`images.reader` traced once for all, as that is most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf_decode, "reader", functools.cache(tf_decode.reader))
        yield


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(4)
    return ENCODERS.build("small_cnn(width=4)", image_size=SIZE)


@pytest.fixture
def dataset():
    return Images(draw_image(i) for i in range(7))


def direct(encoder, files):
    read = tf_decode.reader(encoder.image_size)
    return encoder(np.stack([read(file) for file in files])).numpy()


def folders(place):
    return sorted(path.name for path in Path(place).iterdir())


def one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) > 30


def test_features_are_what_the_encoder_says(encoder, dataset, tmp_path):
    features = encode_split(encoder, dataset, "train", tmp_path, batch_size=3)
    expected = direct(encoder, dataset.files)
    assert features.shape == expected.shape == (7, 16, 16) and len(features) == 7
    np.testing.assert_allclose(features[np.arange(7)], expected, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(features[np.array([5, 0, 5])], expected[[5, 0, 5]], rtol=2e-3, atol=1e-3)
    assert [example.id for example in features.examples] == [e.id for e in dataset.examples("train")]


def test_horizontal_flip_shares_the_other_splits(encoder, dataset, tmp_path):
    features = encode_split(encoder, HorizontalFlip(dataset), "train", tmp_path, batch_size=4)
    read = tf_decode.reader(encoder.image_size)
    turned = encoder(np.stack([read(file)[:, ::-1] for file in dataset.files])).numpy()
    expected = np.concatenate([direct(encoder, dataset.files), turned])
    np.testing.assert_allclose(features[np.arange(14)], expected, rtol=2e-3, atol=1e-3)
    encode_split(encoder, dataset, "test", tmp_path)
    assert cached_split(encoder, HorizontalFlip(dataset), "test", tmp_path) is not None
    assert cached_split(encoder, dataset, "train", tmp_path) is None


def test_the_second_time_nothing_is_computed(encoder, dataset, tmp_path):
    assert cached_split(encoder, dataset, "train", tmp_path) is None
    assert cached_split(encoder, dataset, "train", tmp_path / "none") is None
    first = encode_split(encoder, dataset, "train", tmp_path)[np.arange(7)]
    read = len(dataset.reads)
    again = encode_split(encoder, dataset, "train", tmp_path)
    looked_up = cached_split(encoder, dataset, "train", tmp_path)
    assert len(dataset.reads) == read and len(folders(tmp_path)) == 1
    assert np.array_equal(again[np.arange(7)], first) and np.array_equal(looked_up[np.arange(7)], first)


def test_concatenated_encoders_share_caches(encoder, dataset, tmp_path):
    names = ["small_cnn(width=4)", "mobilenet(alpha=0.25, layer='conv_pw_5_relu')"]
    dataset = Images([*dataset.files[:3], None, *dataset.files[4:]])
    both = ENCODERS.build(f"concat(encoders={names!r})", image_size=SIZE)
    assert cached_split(both, dataset, "train", tmp_path) is None
    encode_split(both.parts[1], dataset, "train", tmp_path, max_bad=0.5)
    assert cached_split(both, dataset, "train", tmp_path) is None
    features = encode_split(both, dataset, "train", tmp_path, batch_size=3, max_bad=0.5)
    expected = direct(both, [file for file in dataset.files if file])
    assert features.shape == expected.shape == (6, 16, 16 + 64) and len(folders(tmp_path)) == 2
    again = cached_split(both, dataset, "train", tmp_path)
    for cached in (features, again):
        np.testing.assert_allclose(cached[np.arange(6)], expected, rtol=2e-3, atol=2e-3)
        assert len(cached) == len(cached.examples) == 6


def test_encoders_of_other_grids_have_own_caches(dataset, tmp_path):
    names = ["small_cnn(width=4)", "mobilenet(alpha=0.25)"]
    both = ENCODERS.build(f"concat(encoders={names!r}, join='fine')", image_size=SIZE)
    features = encode_split(both, dataset, "train", tmp_path)
    assert features.shape == (7, 16, 16 + 256) and len(folders(tmp_path)) == 1
    np.testing.assert_allclose(features[np.arange(7)], direct(both, dataset.files), rtol=2e-3, atol=2e-3)


def test_every_dependency_is_in_the_key(encoder, dataset, tmp_path, monkeypatch):
    def cached(network=encoder, images=dataset, split="train"):
        return cached_split(network, images, split, tmp_path) is not None

    encode_split(encoder, dataset, "train", tmp_path)
    assert cached()
    assert not cached(split="test")
    assert not cached(images=Images([*dataset.files[:6], draw_image(99)]))
    assert not cached(ENCODERS.build("small_cnn(width=4)", image_size=(40, 32)))
    assert not cached(Encoder(encoder.network, "torch"))
    kept = encoder.network.get_weights()
    for index in (0, len(kept) - 1):  # the first convolution, and a statistic that is not trained
        changed = [value.copy() for value in kept]
        changed[index].flat[-1] += 1e-6
        encoder.network.set_weights(changed)
        assert not cached()
    # Another key is another folder: the first cache stays.
    encode_split(encoder, dataset, "train", tmp_path)
    encoder.network.set_weights(kept)
    assert cached() and len(folders(tmp_path)) == 2
    monkeypatch.setattr(tf_decode, "VERSION", "another")
    assert not cached()


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


def test_cache_of_older_version_is_read(encoder, dataset, tmp_path):
    first = encode_split(encoder, dataset, "train", tmp_path)[np.arange(7)]
    (place,) = tmp_path.iterdir()
    (place / "sums.npy").unlink()
    state = json.loads((place / "state.json").read_text())
    del state["lost"]
    (place / "state.json").write_text(json.dumps(state))
    assert np.array_equal(cached_split(encoder, dataset, "train", tmp_path)[np.arange(7)], first)


def test_rows_are_flushed_before_the_state(encoder, dataset, tmp_path, monkeypatch):
    calls = []
    flush, replace = atomic.flush, os.replace
    monkeypatch.setattr(atomic, "flush", lambda path: (calls.append(Path(path).name), flush(path)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(f"-> {Path(b).name}"), replace(a, b)))
    encode_split(encoder, dataset, "train", tmp_path)
    assert calls[:2] == ["features.npy", "sums.npy"] and calls[3] == "-> state.json", calls


def test_two_programs_encode_a_split_once(encoder, dataset, tmp_path, capfd):
    begun, go_on, results = threading.Event(), threading.Event(), []

    def slow(index):
        begun.set()
        assert go_on.wait(60)
        return Images._read(dataset, index)

    dataset._read = slow
    workers = [
        threading.Thread(target=lambda: results.append(encode_split(encoder, dataset, "train", tmp_path)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
        assert begun.wait(60)
    workers[1].join(0.3)
    go_on.set()
    for worker in workers:
        worker.join(60)
    assert len(results) == 2 and len(dataset.reads) == 7, (
        "the second waited and read what the first had written"
    )
    assert np.array_equal(results[0][np.arange(7)], results[1][np.arange(7)])
    assert "waiting for another program" in capfd.readouterr().out


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
