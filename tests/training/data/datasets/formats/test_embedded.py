"""Captions inside photos: XMP in three formats, IPTC in two encodings, languages, and hostile XML."""

import random
import time
from contextlib import suppress

import pytest

from captioner.errors import CaptionerError, DataError, ImageError
from tests.support.training.dataset_folders import add_segment, draw, draw_with_xmp, iptc_segment, xmp
from training.data.datasets import DATASETS
from training.data.datasets.formats.photo_captions import photo_captions, xmp_captions

TEXT = "ein Café, 狗 &amp; 'cat'"
PLAIN = "ein Café, 狗 & 'cat'"
DESCRIPTION = [("en", "a dog"), ("x-default", "a dog, by default"), ("de-AT", "ein Hund")]


def build(photos, **options):
    return DATASETS.build("embedded", path=str(photos), **{"validation": 0, "test": 0, **options})


def captions_of(data):
    return {e.id: e.captions for split in data.splits for e in data.examples(split)}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_xmp_in_every_format(photos, ending):
    path = draw_with_xmp(photos / f"1.{ending}", xmp([("x-default", TEXT)], [("x-default", "alt\n text")]))
    assert photo_captions(path) == ["alt text", PLAIN]


@pytest.mark.parametrize("encoding, utf8", [("utf-8", True), ("utf-8", False), ("cp1252", False)])
def test_iptc_in_utf8_and_windows_1252(photos, encoding, utf8):
    path = draw(photos / "1.jpg")
    add_segment(path, iptc_segment("Käse – ein Café".encode(encoding), utf8))
    assert photo_captions(path) == ["Käse – ein Café"]
    assert photo_captions(path, "de") == []  # IPTC does not say its language


def test_the_same_text_in_xmp_and_iptc_counts_once(photos):
    path = draw_with_xmp(photos / "1.jpg", xmp([("x-default", "a dog")]))
    add_segment(path, iptc_segment(b"a  dog"))
    draw_with_xmp(photos / "2.jpg", xmp([("x-default", "OLYMPUS DIGITAL CAMERA")]))
    assert captions_of(build(photos)) == {"1.jpg": ("a dog",)}


@pytest.mark.parametrize(
    "language, text", [(None, "a dog, by default"), ("en", "a dog"), ("DE", "ein Hund"), ("fr", None)]
)
def test_a_language_of_several(language, text):
    assert xmp_captions(xmp(DESCRIPTION), language) == ([text] if text else [])


def test_xmp_in_other_forms_and_of_other_images():
    rdf = (
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    )
    attribute = b'<rdf:RDF %s><rdf:Description dc:description="a dog"/></rdf:RDF>' % rdf
    assert xmp_captions(attribute) == ["a dog"]
    plain = b"<rdf:RDF %s><rdf:Description><dc:description>a cat</dc:description></rdf:Description></rdf:RDF>"
    assert xmp_captions(plain % rdf) == ["a cat"]
    # A photo that this one was made from.
    nested = xmp(inside="<x:from><rdf:Description dc:description='of another'/></x:from>")
    assert xmp_captions(nested) == []


BOMB = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "ha"}">' for i in range(12))


@pytest.mark.parametrize(
    "packet, words",
    [
        (f"<!DOCTYPE x [{BOMB}]><x>&e11;</x>", "DTD"),
        ('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', "DTD"),
        ('<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>', "DTD"),
        ("<x>", "damaged"),
        ("", "damaged"),
        ("<x>&unknown;</x>", "damaged"),
        ('<?xml version="1.0" encoding="klingon"?><x/>', "damaged"),
        ("<x>" * 200_000, "damaged"),
        ("a" * 9_000_000, "more than 8 MB"),
    ],
)
def test_hostile_xml_is_refused_in_one_line(packet, words):
    start = time.monotonic()
    with pytest.raises(ImageError, match=words) as error:
        xmp_captions(packet.encode())
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
    assert time.monotonic() - start < 5


def test_deep_xml_is_read_without_recursion():
    deep = "<x:a>" * 100_000 + "</x:a>" * 100_000
    assert xmp_captions(xmp([("x-default", "a dog")], inside=deep)) == ["a dog"]


def test_damaged_metadata_is_a_bad_row_and_none_is_counted(photos, caplog):
    draw_with_xmp(photos / "train" / "1.jpg", xmp([("x-default", "a dog")]))
    draw_with_xmp(photos / "train" / "2.jpg", b"<!DOCTYPE x><x/>")
    add_segment(draw(photos / "train" / "3.jpg"), iptc_segment(b"a cat").replace(b"\x1c\x02", b"\x1d\x02"))
    for name in ("4.jpg", "5.gif", "._1.jpg", "6.CR2"):
        draw(photos / "4.jpg").with_name(name).write_bytes((photos / "4.jpg").read_bytes())
    data = build(photos, max_bad=0.9)
    assert captions_of(data) == {"train/1.jpg": ("a dog",)} and data.splits == ("train",)
    reasons = {row.row: row.reason for row in data.bad_rows.rows}
    assert reasons == {
        "train/2.jpg": "its XMP has a DTD, which is refused",
        "train/3.jpg": "its metadata cannot be read: invalid IPTC/NAA file",
    }
    assert "no captions for 3 of the image files, such as 4.jpg" in caplog.text


def test_random_damage_never_ends_in_another_error(photos):
    generator = random.Random(0)
    originals = {}
    for name in ("1.jpg", "2.png", "3.webp", "4.tif"):
        originals[name] = draw_with_xmp(photos / name, xmp([("x-default", "a dog")]))
    add_segment(originals["1.jpg"], iptc_segment(b"a cat"))
    originals = {path: path.read_bytes() for path in originals.values()}
    for path, intact in originals.items():
        for _ in range(150):
            content = bytearray(intact)
            for _ in range(generator.choice((1, 4, 40))):
                content[generator.randrange(len(content))] = generator.randrange(256)
            path.write_bytes(content[: generator.choice((len(content), len(content) // 2))])
            with suppress(CaptionerError):
                photo_captions(path)


def test_no_caption_says_how_many_were_looked_at(photos):
    draw(photos / "1.jpg")
    with pytest.raises(DataError, match="in XMP or IPTC in .*photos, found none in 1 images"):
        build(photos)
    draw_with_xmp(photos / "1.jpg", xmp(DESCRIPTION))
    assert captions_of(build(photos, language="de")) == {"1.jpg": ("ein Hund",)}
    with pytest.raises(DataError, match="captions in 'fr' in XMP"):
        build(photos, language="fr")
