"""The feature cache: it holds what the encoder computes, keyed by everything that this depends on."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from captioner import atomic
from captioner.image import tf_decode
from captioner.models import ENCODERS
from captioner.models.encoders import Encoder
from tests.support.training.feature_datasets import SIZE, Images, direct, draw_image
from training.data.feature_cache import cached_split, encode_split
from training.data.transforms import HorizontalFlip

pytestmark = pytest.mark.usefixtures("one_reader")


def folders(place):
    return sorted(path.name for path in Path(place).iterdir())


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
    # Once when their space is taken, and once with their rows.
    assert calls[:4] == ["features.npy", "sums.npy"] * 2 and calls[5] == "-> state.json", calls


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
