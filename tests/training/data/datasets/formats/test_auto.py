"""What `auto` takes a folder for: every format, the order among several, and what it says of nothing."""

import json
import shutil

import pytest

from captioner.errors import DataError
from tests.support.training.dataset_folders import (
    CAPTIONS,
    WRITERS,
    coco_value,
    draw,
    draw_all,
    draw_with_xmp,
    karpathy_value,
    samples,
    write_csv,
    write_tar,
    xmp,
)
from training.data.datasets import DATASETS

LABELS = {
    "folder": "captions file captions.csv",
    "image_folder": "Hugging Face ImageFolder",
    "flickr": "Karpathy's captions dataset_drawn.json",
    "coco_json": "COCO captions JSON",
    "webdataset": "tar files (webdataset)",
    "text_files": ".txt files beside images",
    "embedded": "captions inside the photos (XMP, IPTC)",
}


def build(path, **options):
    return DATASETS.build("auto", path=str(path), **options)


def contents(data):
    return {(split, e.id): e.captions for split in data.splits for e in data.examples(split)}


@pytest.mark.parametrize("name", LABELS)
def test_every_format_is_recognised_and_read_by_its_dataset(name, photos, capsys):
    expected = DATASETS.build(name, **WRITERS[name](photos))
    data = build(photos)
    assert capsys.readouterr().out == f"recognised: {LABELS[name]}, 5 images, 7 captions\n"
    assert contents(data) == contents(expected) and data.fingerprint == expected.fingerprint


def test_the_more_explicit_of_several_is_used(photos, capsys, caplog):
    """Every format in one folder, taken away one by one from the most explicit on."""
    draw_all(photos)
    draw_with_xmp(photos / "f.png", xmp([("x-default", "a dog")]))
    (photos / "a.txt").write_text("a dog")
    write_csv(photos / "labels.csv", [("image", "caption"), ("a.png", "a dog")])
    (photos / "config.json").write_text('{"epochs": 3}')
    (photos / "dataset_infos.json").write_text('{"default": {"features": {}}}')
    write_tar(photos / "0.tar", samples(photos, ["a.png"]))
    (photos / "captions_mine.json").write_text(json.dumps(coco_value(list(CAPTIONS))))
    (photos / "dataset_drawn.json").write_text(json.dumps(karpathy_value()))
    (photos / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a dog"}')
    write_csv(photos / "captions.csv", [("image", "caption"), ("a.png", "a dog")])
    order = {
        "captions.csv": "captions file captions.csv",
        "metadata.jsonl": LABELS["image_folder"],
        "dataset_drawn.json": LABELS["flickr"],
        "captions_mine.json": LABELS["coco_json"],
        "0.tar": LABELS["webdataset"],
        "labels.csv": "captions file labels.csv",
        "a.txt": LABELS["text_files"],
        "f.png": LABELS["embedded"],
    }
    labels = list(order.values())
    for number, file in enumerate(order):
        caplog.clear()
        build(photos)
        assert capsys.readouterr().out.startswith(f"recognised: {labels[number]}, ")
        others = ", ".join(labels[number + 1 :])
        assert (f"{labels[number]} is used; {others} not;" in caplog.text) == bool(others)
        (photos / file).unlink()
    with pytest.raises(DataError) as error:
        build(photos)
    assert str(error.value).startswith(f"expected captions in {photos}; looked for captions.csv (.tsv")
    assert str(error.value).endswith("found 5 images and 2 other files: config.json, dataset_infos.json")


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "Labels.jsonl", "labels.json.gz"])
def test_one_captions_file_of_any_name_with_images_in_a_folder_beside_it(photos, name, capsys):
    import gzip

    draw_all(photos / "images")
    rows = [(image, text) for image, texts in CAPTIONS.items() for text in texts]
    objects = [{"image": image, "caption": text} for image, text in rows]
    path = photos / name
    if name.endswith("sv"):
        separator = "\t" if name.endswith(".tsv") else ","
        lines = [
            ("image", "caption"),
            *[(image, '"' + text.replace('"', '""') + '"') for image, text in rows],
        ]
        path.write_text("\r\n".join(map(separator.join, lines)))
    elif name.endswith(".jsonl"):
        path.write_text("\n".join(map(json.dumps, objects)))
    else:
        path.write_bytes(gzip.compress(json.dumps(objects).encode()))
    for source in (photos, path):
        data = build(source, validation=0, test=0)
        assert {e.id: sorted(e.captions) for e in data.examples("train")} == {
            image: sorted(texts) for image, texts in CAPTIONS.items()
        }
        assert capsys.readouterr().out == f"recognised: captions file {name}, 5 images, 7 captions\n"
    shutil.copy(path, photos / f"more_{name}")
    with pytest.raises(
        DataError, match="expected one captions file in .*, found 2: .*; say which with captions="
    ):
        build(photos)
    assert len(build(photos, captions=str(path), validation=0, test=0).examples("train")) == 5


def test_files_and_tar_files_as_the_path(photos, capsys):
    WRITERS["coco_json"](photos)
    data = build(photos / "annotations" / "captions_val2017.json", validation=0, test=0)
    assert [example.id for example in data.examples("train")] == ["val2017/c.png"]
    write_tar(photos / "0.tar", samples(draw_all(photos), ["a.png"]))
    for path in ("0.tar", "*.tar"):
        assert len(build(photos / path, validation=0, test=0).examples("train")) == 1
    (photos / "k.json").write_text(json.dumps(karpathy_value()))
    assert build(photos / "k.json").splits == ("train", "validation", "test")
    assert capsys.readouterr().out.count("recognised: ") == 4


def test_official_token_files_of_flickr(photos, capsys):
    draw(photos / "Flicker8k_Dataset" / "1.jpg")
    (photos / "Flickr8k.token.txt").write_text("1.jpg#0\ta dog .\n1.jpg#1\ta cat .\n")
    for part, name in (("train", "1.jpg\n"), ("dev", ""), ("test", "")):
        (photos / f"Flickr_8k.{part}Images.txt").write_text(name)
    assert contents(build(photos)) == {("train", "1.jpg"): ("a dog .", "a cat .")}
    assert "recognised: Flickr's captions Flickr8k.token.txt, 1 images, 2 captions" in capsys.readouterr().out


def test_a_broken_captions_file_is_reported_where_it_would_be_used(photos, caplog):
    draw(photos / "1.png")
    (photos / "captions.json").write_text('{"1.png": ')
    with pytest.raises(DataError, match="captions.json:1: expected JSON"):
        build(photos)
    (photos / "captions.csv").write_text("image,caption\n1.png,a dog\n")
    (photos / "dataset_x.json").write_text('{"images": [')
    assert len(build(photos, validation=0, test=0).examples("train")) == 1


def test_other_paths_are_errors_in_one_line(photos):
    (photos / "photos.zip").write_bytes(b"PK\x03\x04")
    for path, words in (
        ("photos.zip", "expected a captions file that ends in"),
        ("nowhere", "found no such folder"),
        ("x.tar", "expected a tar file"),
        (".", "found 0 images and 1 other files: photos.zip"),
    ):
        with pytest.raises(DataError, match=words) as error:
            build(photos / path)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="expected a captions file at .*gone.csv, found no such file"):
        build(photos, captions=str(photos / "gone.csv"))
