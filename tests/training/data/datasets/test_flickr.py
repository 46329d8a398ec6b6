"""The Flickr dataset: formats of its captions, bad rows, and errors that say where the input is wrong."""

import gzip
import json
import os

import pytest
from PIL import Image

from captioner.errors import DataError, ImageError
from training.data.datasets import DATASETS


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The list of bad rows goes to the working directory unless told otherwise."""
    monkeypatch.chdir(tmp_path)


def image(path, colour=(9, 9, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def karpathy(entries):
    """Entries of (name, split, captions)."""
    return {
        "images": [
            {"filename": n, "split": s, "sentences": [{"raw": c, "tokens": c.split()} for c in cs]}
            for n, s, cs in entries
        ]
    }


@pytest.fixture
def flickr_entries(tmp_path):
    entries = [
        (f"{i}.jpg", ("train", "val", "test", "restval")[i % 4], [f"dog {i} .", "A dog"]) for i in range(8)
    ]
    for name, _, _ in entries:
        image(tmp_path / "images" / name)
    return entries


def flickr(tmp_path, captions, **options):
    path = tmp_path / "captions.json"
    path.write_text(captions if isinstance(captions, str) else json.dumps(captions))
    return DATASETS.build("flickr", folder=str(tmp_path / "images"), captions=str(path), **options)


def test_karpathy_json_plain_and_gzipped(tmp_path, flickr_entries):
    data = flickr(tmp_path, karpathy(flickr_entries))
    assert data.splits == ("train", "validation", "test")
    assert [e.id for e in data.examples("train")] == ["0.jpg", "3.jpg", "4.jpg", "7.jpg"]
    example = data.examples("validation")[0]
    assert example.captions == ("dog 1 .", "A dog")
    assert example.read() == (tmp_path / "images" / "1.jpg").read_bytes()
    assert len(data.bad_rows) == 0 and not data.bad_rows.path.exists()
    zipped = tmp_path / "captions.json.gz"
    zipped.write_bytes(gzip.compress((tmp_path / "captions.json").read_bytes()))
    again = DATASETS.build("flickr", folder=str(tmp_path / "images"), captions=str(zipped))
    assert again.fingerprint == data.fingerprint
    with pytest.raises(DataError, match="train, validation, test"):
        data.examples("val")


def test_official_token_file_gives_what_karpathy_gives(tmp_path, flickr_entries):
    lines = [f"{name}#{k}\t{c}" for name, _, cs in flickr_entries for k, c in enumerate(cs)]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join([*lines, "unused.jpg.1#0\tin no split\n"]))
    names = {"train": ("train", "restval"), "dev": ("val",), "test": ("test",)}
    for file, parts in names.items():
        listed = [n for n, s, _ in flickr_entries if s in parts]
        (tmp_path / f"Flickr_8k.{file}Images.txt").write_text("\n".join(listed) + "\n")
    spec = {"folder": str(tmp_path / "images"), "captions": str(tmp_path / "Flickr8k.token.txt")}
    data, other = DATASETS.build("flickr", **spec), flickr(tmp_path, karpathy(flickr_entries))
    assert data.fingerprint == other.fingerprint
    for split in data.splits:
        assert [(e.id, e.captions) for e in data.examples(split)] == [
            (e.id, e.captions) for e in other.examples(split)
        ]
    (tmp_path / "Flickr_8k.devImages.txt").unlink()
    with pytest.raises(DataError, match=r"list of validation images in .*Flickr_8k.devImages.txt or val.txt"):
        DATASETS.build("flickr", **spec)


@pytest.mark.parametrize(
    "text, says",
    [
        ('{"images": [', r"captions.json:1: expected a Karpathy JSON"),
        ('{"images": []}', "got the keys images"),
        ('[{"image": 1}]', "got a list"),
        ('{"images": [{"file_name": "a.jpg"}]}', r"images\[0\] with the keys file_name"),
    ],
)
def test_other_json_structure_is_refused(tmp_path, flickr_entries, text, says):
    with pytest.raises(DataError, match=says) as error:
        flickr(tmp_path, text)
    assert "\n" not in str(error.value)


def test_captions_file_that_cannot_be_read(tmp_path, flickr_entries):
    cut = tmp_path / "c.json.gz"
    cut.write_bytes(gzip.compress(json.dumps(karpathy(flickr_entries)).encode())[:-30])
    latin = tmp_path / "latin.json"
    latin.write_bytes(b'{"images":\n "caf\xe9"}')
    for path, says in (
        (cut, "c.json.gz"),
        (latin, "latin.json:2: expected UTF-8"),
        (tmp_path / "no.json", "No such"),
    ):
        with pytest.raises(DataError, match=says):
            DATASETS.build("flickr", folder=str(tmp_path / "images"), captions=str(path))
    with pytest.raises(DataError, match="no such folder"):
        DATASETS.build("flickr", folder=str(tmp_path / "nowhere"), captions=str(latin))


def test_few_bad_rows_are_listed_and_many_refused(tmp_path, flickr_entries, caplog):
    (tmp_path / "images" / "2.jpg").unlink()
    (tmp_path / "images" / "5.jpg").write_text("<html>not found</html>")
    image(tmp_path / "secret.jpg")
    entries = [
        *flickr_entries,
        ("0.jpg", "test", ["again"]),
        ("../secret.jpg", "train", ["out"]),
        (str(tmp_path / "secret.jpg"), "train", ["out"]),
        ("1.jpg ", "moon", ["which"]),
        ("6.jpg", "train", ["", " \n"]),
    ]
    entries[4] = ("4.jpg", "train", ["", "good"])
    reasons = {
        "2.jpg": "no such image",
        "5.jpg": "text",
        "0.jpg": "come before",
        "../secret.jpg": "leads out",
        str(tmp_path / "secret.jpg"): "leads out",
        "1.jpg": "come before",
        "6.jpg": "come before",
        "4.jpg": "the caption is empty",
    }
    with pytest.raises(
        DataError, match=r"at most 1.00% bad rows; flickr: 8 of 13 rows .* no such image"
    ) as error:
        flickr(tmp_path, karpathy(entries), bad_rows=str(tmp_path / "lists" / "bad.jsonl"))
    assert "\n" not in str(error.value) and "lists/bad.jsonl" in str(error.value)
    listed = [json.loads(line) for line in (tmp_path / "lists" / "bad.jsonl").read_text().splitlines()]
    assert {row["row"] for row in listed} == set(reasons)
    for row in listed:
        assert reasons[row["row"]] in row["reason"], row
        assert row["where"].startswith("captions.json: images[")
    data = flickr(tmp_path, karpathy(entries), max_bad=0.9)
    assert [e.id for e in data.examples("train")] == ["0.jpg", "3.jpg", "4.jpg", "7.jpg"]
    assert data.examples("train")[2].captions == ("good",)
    assert len(data.bad_rows) == 8 and data.bad_rows.path.exists()
    assert "8 of 13 rows" in caplog.text


def test_missing_or_broken_image_is_an_image_error(tmp_path, flickr_entries):
    data = flickr(tmp_path, karpathy(flickr_entries))
    first, second = data.examples("train")[:2]
    (tmp_path / "images" / first.id).unlink()
    path = tmp_path / "images" / second.id
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ImageError, match=first.id):
        first.read()
    with pytest.raises(ImageError, match="truncated"):
        second.read()


def test_fingerprint_depends_on_image_content_only(tmp_path, flickr_entries):
    captions = karpathy(flickr_entries)
    before = flickr(tmp_path, captions).fingerprint
    path = tmp_path / "images" / "3.jpg"
    stat, content = path.stat(), path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert flickr(tmp_path, captions).fingerprint != before  # the same size and date
    path.write_bytes(content)
    assert flickr(tmp_path, captions).fingerprint == before  # another date
    assert flickr(tmp_path, karpathy(flickr_entries[:-1])).fingerprint != before
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = DATASETS.build("flickr", folder=str(tmp_path / "moved"), captions=str(tmp_path / "captions.json"))
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    moved = DATASETS.build("flickr", folder=str(tmp_path / "moved"), captions=str(tmp_path / "captions.json"))
    assert moved.fingerprint == before


def test_other_captions_replace_those_of_the_file(tmp_path, flickr_entries, caplog):
    german = {
        "0.jpg": ["Ein Hund"],
        "1.jpg": ["Zwei Hunde", "Hunde"],
        "2.jpg": ["Kein Hund"],
        "99.jpg": ["Nichts"],
    }
    path = tmp_path / "german.json.gz"
    path.write_bytes(gzip.compress(json.dumps(german).encode()))
    data = flickr(tmp_path, karpathy(flickr_entries), other_captions=str(path))
    captions = {s: {e.id: e.captions for e in data.examples(s)} for s in data.splits}
    assert captions == {
        "train": {"0.jpg": ("Ein Hund",)},
        "validation": {"1.jpg": ("Zwei Hunde", "Hunde")},
        "test": {"2.jpg": ("Kein Hund",)},
    }
    assert len(data.bad_rows) == 0 and len(caplog.messages) == 1
    assert "captions of 3 of 8 images" in caplog.text and "1 names of no image" in caplog.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"x.jpg": ["Ein Hund"]}, "expected captions of the 8 images in .*, got others such as 'x.jpg'"),
        ({"0.jpg": "Ein Hund"}, "got '0.jpg' with a str"),
        ({"0.jpg": [1]}, "got '0.jpg' with a list"),
        ([], "got a list"),
        ("{", "got no JSON"),
    ],
)
def test_other_captions_of_another_form_are_refused(tmp_path, flickr_entries, content, says):
    path = tmp_path / "german.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=says):
        flickr(tmp_path, karpathy(flickr_entries), other_captions=str(path))
