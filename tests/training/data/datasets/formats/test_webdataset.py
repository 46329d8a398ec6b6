"""Tar files: samples by key, images read in place, and tar files that are damaged or hostile."""

import gzip
import io
import json
import random
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from captioner.errors import CaptionerError, DataError
from tests.support.training.dataset_folders import CAPTIONS, draw, draw_all, samples, write_tar
from training.data.datasets import DATASETS


@pytest.fixture
def image(tmp_path):
    return draw(tmp_path / "one.png").read_bytes()


def build(path, **options):
    return DATASETS.build("webdataset", path=str(path), **{"validation": 0, "test": 0, **options})


def captions_of(data):
    return {e.id: e.captions for split in data.splits for e in data.examples(split)}


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_come_together_by_their_key(tmp_path, image, form):
    long = "sub/" + "ü" * 120
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT if len(long) > 90 else form) as tar:
        contents = {
            "./k1.txt": "a café, closed\r\n\r\nanother".encode(),
            "./k1.JPG": image,
            "./k1.cls": b"7",
            "k.2.png": image,
            "k.2.json": json.dumps({"text": "a dog", "width": 3}).encode(),
            f"{long}.png": image,
            f"{long}.json": json.dumps({"captions": ["x y", "z"], "url": "http://x/y.png"}).encode(),
            f"{long}.txt": b"z",
            "no_text.png": image,
        }
        tar.addfile(member("sub", tarfile.DIRTYPE))
        for name, content in contents.items():
            info = member(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = build(tmp_path / "x.tar", max_bad=0.0)
    assert captions_of(data) == {
        "x.tar/./k1.JPG": ("a café, closed", "another"),
        "x.tar/k.2.png": ("a dog",),
        f"x.tar/{long}.png": ("x y", "z"),
    }
    assert all(example.read() == image for example in data.examples("train"))


def test_splits_by_folder_by_name_and_in_the_json(tmp_path):
    images = draw_all(tmp_path / "images")
    names = list(CAPTIONS)
    for shard, part in {"train/0.tar": names[:2], "val/0.tar": names[2:4]}.items():
        write_tar(tmp_path / "folders" / shard, samples(images, part))
    data = build(tmp_path / "folders")
    assert {split: len(data.examples(split)) for split in data.splits} == {"train": 2, "validation": 2}
    for shard, part in {"x-train-0001.tar": names[:2], "x-train-0002.tar": names[2:3]}.items():
        write_tar(tmp_path / "named" / shard, samples(images, part))
    assert build(tmp_path / "named" / "*.tar").splits == ("train",)
    write_tar(tmp_path / "named" / "x_val.tar", samples(images, names[3:]))
    assert build(tmp_path / "named" / "*.tar", validation=0.5).splits == ("train", "validation")
    content = (images / "a.png").read_bytes()
    rows = {"1": "train", "2": "dev", "3": "test"}
    members = [
        pair
        for key, split in rows.items()
        for pair in (
            (f"{key}.png", content),
            (f"{key}.json", json.dumps({"caption": "x", "split": split}).encode()),
        )
    ]
    assert build(write_tar(tmp_path / "json.tar", members)).splits == ("train", "validation", "test")


def test_the_same_key_in_two_tar_files_is_two_images(tmp_path, image):
    for number in (0, 1):
        write_tar(tmp_path / f"{number}.tar", [("1.png", image), ("1.txt", f"caption {number}".encode())])
    data = build(tmp_path)
    assert captions_of(data) == {"0.tar/1.png": ("caption 0",), "1.tar/1.png": ("caption 1",)}


def test_what_is_no_file_or_leads_out_is_a_bad_row(tmp_path, image):
    secret = tmp_path / "secret.png"
    secret.write_bytes(image)
    names = ["good.png", "../out.png", "/etc/abs.png", "html.png", "cut.png", "empty.png"]
    contents = dict.fromkeys(names, image) | {"html.png": b"<html>", "cut.png": image[:-30], "empty.png": b""}
    members = list(contents.items())
    for kind, name in ((tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "hard"), (tarfile.FIFOTYPE, "pipe")):
        members.append((member(f"{name}.png", kind, str(secret)), b""))
        names.append(f"{name}.png")
    members += [(f"{name.removesuffix('.png')}.txt", b"a dog") for name in names]
    members += [
        ("good.png", image),
        ("alone.txt", b"a dog"),
        ("big.png", image),
        ("big.txt", b"x" * 2_000_000),
        ("bad.png", image),
        ("bad.json", b'{"caption": '),
        ("list.png", image),
        ("list.json", b"[1]"),
        ("none.png", image),
        ("none.json", b'{"caption": null}'),
    ]
    before = sorted(tmp_path.rglob("*"))
    data = build(write_tar(tmp_path / "x.tar", members), max_bad=1.0, bad_rows=str(tmp_path / "bad.jsonl"))
    assert captions_of(data) == {"x.tar/good.png": ("a dog",)}
    reasons = {row.where.removeprefix("x.tar: ").partition(":")[0]: row.reason for row in data.bad_rows.rows}
    expected = {
        "../out.txt": "leads out",
        "/etc/abs.txt": "leads out",
        "html.txt": "text",
        "cut.txt": "truncated PNG",
        "empty.txt": "empty file",
        "link.txt": "a link or device",
        "hard.txt": "a link or device",
        "pipe.txt": "a link or device",
        "good.png": "comes twice",
        "alone.txt": "no image of this name",
        "big.txt": "more than 1 MB",
        "bad.json": "not JSON",
        "list.json": "expected a JSON object",
        "none.json": "not both there as text",
    }
    assert reasons.keys() == expected.keys()
    for where, part in expected.items():
        assert part in reasons[where], where
    assert set(tmp_path.rglob("*")) - set(before) == {tmp_path / "x.tar", tmp_path / "bad.jsonl"}


def test_damaged_and_compressed_tar_files_are_one_line(tmp_path, image):
    intact = write_tar(
        tmp_path / "x.tar", [(f"{i}.{end}", image) for i in range(3) for end in ("png", "txt")]
    ).read_bytes()
    cases = {
        "cut in an image": (intact[: 512 + len(image) // 2], "damaged or cut off"),
        "a header overwritten": (intact[:2048] + b"\xff" * 512 + intact[2560:], "damaged or cut off"),
        "gzip": (gzip.compress(intact), "not compressed.* use gunzip on it"),
        "text": (b"no tar at all " * 100, "damaged or cut off"),
        "empty": (b"", "damaged or cut off"),
    }
    for what, (content, words) in cases.items():
        (tmp_path / "x.tar").write_bytes(content)
        with pytest.raises(DataError, match=words) as error:
            build(tmp_path / "x.tar")
        assert "\n" not in str(error.value) and "x.tar" in str(error.value), what


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_sizes_that_a_header_claims_are_not_believed(tmp_path, image, kind):
    info = member("1.png", kind)
    info.size = 1 << 40
    header = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(header + image + bytes(2048))
    with pytest.raises(DataError, match="cut off|no file in it"):
        build(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_long_chain_of_headers_is_one_line(tmp_path, kind):
    info = member("1.png", kind)
    info.size = 20
    content = b"20 path=aaaaaaaaaaa\n".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + content) * 5000 + bytes(1024))
    with pytest.raises(DataError, match="damaged or cut off") as error:
        build(tmp_path / "x.tar")
    assert "\n" not in str(error.value)


def test_random_damage_never_ends_in_another_error(tmp_path, image):
    intact = write_tar(
        tmp_path / "x.tar",
        [("1.png", image), ("1.txt", b"a dog"), ("2.png", image), ("2.json", b'{"text": "x"}')],
    ).read_bytes()
    generator = random.Random(0)
    for _ in range(300):
        content = bytearray(intact)
        for _ in range(generator.choice((1, 4, 40))):
            content[generator.randrange(len(content))] = generator.randrange(256)
        (tmp_path / "x.tar").write_bytes(content[: generator.choice((len(content), 3000))])
        with suppress(CaptionerError):
            data = build(tmp_path / "x.tar", max_bad=1.0, bad_rows=str(tmp_path / "bad.jsonl"))
            for example in data.examples("train"):
                example.read()


def test_no_tar_file_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"expected a tar file, .* got no file by .*/\*.tar$"):
        build(tmp_path / "*.tar")
    with pytest.raises(DataError, match=r"write \* for the numbers in braces"):
        build(tmp_path / "{000..009}.tar")


def test_a_tar_file_that_becomes_shorter_is_an_image_error(tmp_path, image):
    path = write_tar(tmp_path / "x.tar", [("1.txt", b"a dog"), ("1.png", image)])
    (example,) = build(path).examples("train")
    path.write_bytes(path.read_bytes()[:1600])
    with pytest.raises(CaptionerError, match="x.tar/1.png: cannot read it: .* has become shorter"):
        example.read()
    assert not list(Path(tmp_path).glob("1.*"))  # nothing was extracted


def test_a_caption_in_both_texts_is_no_repetition(tmp_path, image, caplog):
    texts = [("1.json", b'{"caption": "a dog", "url": "http://x/1.png"}'), ("1.txt", b"a dog")]
    data = build(write_tar(tmp_path / "x.tar", [("1.png", image), *texts]))
    assert captions_of(data) == {"x.tar/1.png": ("a dog",)} and data.repeated == 0 and not caplog.text
