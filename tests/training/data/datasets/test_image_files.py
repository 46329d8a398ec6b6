"""Image files of a dataset: damage is found by their first and last bytes, before work starts."""

import json

import numpy as np
import pytest
from PIL import Image

from captioner.errors import DataError
from captioner.image import loading
from tests.support.training.dataset_folders import write_csv
from training.data.datasets import DATASETS, BadRows


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The list of bad rows goes to the working directory unless told otherwise."""
    monkeypatch.chdir(tmp_path)


def test_truncated_images_are_found_early(tmp_path):
    photos, rng = tmp_path / "photos", np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    photos.mkdir()
    frames = [Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)) for _ in range(3)]
    noise.save(photos / "a.jpg", quality=100)
    noise.save(photos / "b.png")
    noise.save(photos / "c.webp", lossless=True)
    frames[0].save(photos / "d.webp", save_all=True, append_images=frames[1:])
    names = ["a.jpg", "b.png", "c.webp", "d.webp"]
    write_csv(photos / "captions.csv", [("image", "caption"), *[(n, "noise") for n in names]])
    assert len(DATASETS.build("folder", path=str(photos)).bad_rows) == 0
    for name in names:
        content = (photos / name).read_bytes()
        (photos / name).write_bytes(content[: len(content) // 2])
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes() + bytes(100_000))
    bad = BadRows("x")
    with pytest.raises(DataError, match=r"4 of 4 rows .*captions.csv:2 \(a.jpg\): truncated JPEG"):
        DATASETS.build("folder", path=str(photos), bad_rows=str(tmp_path / "bad.jsonl"))
    assert len(bad) == 0
    listed = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [row["row"] for row in listed] == names and all("truncated" in row["reason"] for row in listed)


@pytest.mark.skipif(".avif" not in loading.SUFFIXES, reason="this Pillow reads no AVIF")
def test_avif_files_are_checked_without_decoding_them(tmp_path, monkeypatch):
    photos, rng = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for name in ("a.avif", "b.avif"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(photos / name)
    rows = [(name, "noise", "train") for name in ("a.avif", "b.avif")]
    write_csv(photos / "captions.csv", [("image", "caption", "split"), *rows])
    (photos / "b.avif").write_bytes((photos / "b.avif").read_bytes()[:-20])
    with monkeypatch.context() as patch:
        patch.setattr(loading, "to_bytes", None)
        data = DATASETS.build("folder", path=str(photos), max_bad=0.5)
    assert [row.reason for row in data.bad_rows.rows] == ["truncated AVIF, the end of the image is missing"]
    (example,) = data.examples("train")
    assert example.read().startswith(b"\x89PNG")
