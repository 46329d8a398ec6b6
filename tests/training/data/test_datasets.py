"""Datasets: images that match their captions, splits that stay put, bad input that says where it is bad."""

import csv
import gzip
import io
import json
import os
import re
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from captioner.errors import DataError, ImageError, SpecError
from training.data.datasets import DATASETS, BadRows, scenes
from training.data.datasets.drawing import draw, to_png
from training.data.datasets.example import Example
from training.data.datasets.synthetic_scenes import SyntheticScenes, exact_match
from training.data.transforms import Mirrored, mirrored, swap_sides

SMALL = {"train": 60, "validation": 20, "test": 40, "test_unseen": 60}
HUES = {"red": 0, "yellow": 56, "green": 122, "blue": 218, "purple": 284}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The list of bad rows goes to the working directory unless told otherwise."""
    monkeypatch.chdir(tmp_path)


# --- synthetic_scenes: what the image shows, measured in its pixels ---


def blobs(image):
    """Boolean masks of what stands out from an evenly lit ground, found without knowing the scene."""
    size = len(image)
    y, x = np.mgrid[:size, :size]
    plane = np.stack([x.ravel(), y.ravel(), np.ones(size * size)], 1)
    pixels = image.reshape(-1, 3).astype(float)
    ground = np.abs(pixels - np.median(pixels, 0)).max(1) < 60
    for _ in range(6):
        known = plane * ground[:, None]
        fit = np.linalg.solve(known.T @ known, known.T @ pixels)
        ground = np.abs(pixels - plane @ fit).max(1) < 24
    left = ~ground.reshape(size, size)
    found = []
    while left.any():
        mask, front = np.zeros_like(left), [tuple(np.argwhere(left)[0])]
        left[front[0]] = False
        while front:
            a, b = front.pop()
            mask[a, b] = True
            for c, d in ((a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)):
                if 0 <= c < size and 0 <= d < size and left[c, d]:
                    left[c, d] = False
                    front.append((c, d))
        if mask.sum() > 60:
            found.append(mask)
    return found


def look(image, mask):
    """Colour, shape, centre (x, y) and area of one blob."""
    red, green, blue = np.median(image[mask].astype(float), 0) / 255
    if max(red, green, blue) - min(red, green, blue) < 0.2:
        colour = "white"
    else:
        hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
        colour = min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))
    places = np.argwhere(mask)
    y, x = places.mean(0)
    # How far it reaches in 24 directions: a triangle repeats three times a turn, a square four, a star five.
    angle = np.arctan2(places[:, 0] - y, places[:, 1] - x)
    reach = np.hypot(places[:, 0] - y, places[:, 1] - x)
    bins = ((angle / (2 * np.pi) + 0.5) * 24).astype(int) % 24
    wave = np.abs(np.fft.rfft([reach[bins == k].max() for k in range(24)]))
    times = int(wave[3:6].argmax()) + 3
    swing = wave[times] / wave[0]
    if not mask[round(y), round(x)]:
        shape = "ring"
    elif swing < 0.04:
        shape = "circle"
    else:
        shape = {3: "triangle", 4: "square" if swing < 0.12 else "cross", 5: "star"}[times]
    return (colour, shape), (x, y), mask.sum() / mask.size


def read_sentence(text):
    """Size, count, names and relation, by a grammar written apart from the templates."""
    text = re.sub(r"^(there is|there are|the image shows) ", "", text)
    shape = "|".join(f"{one}|{many}" for one, many in scenes.SHAPES.items())
    singular = {many: one for one, many in scenes.SHAPES.items()}
    text = re.sub(rf"({shape}) (?:in|that are) (\w+)$", r"\2 \1", text)
    text = re.sub(r"^a (\w+) (\w+) that is (small|large)$", r"a \3 \1 \2", text)
    names = [
        (c, singular.get(s, s)) for c, s in re.findall(rf"({'|'.join(scenes.COLOURS)}) ({shape})\b", text)
    ]
    relation = None
    if len(names) == 2:
        gap = text.split(names[0][1], 1)[1]
        back = "with" in gap
        relation = next(r for r in ("left", "right", "above", "below") if r in gap)
        if back:
            names.reverse()
    number = next((n for n, word in scenes.NUMBERS.items() if word in text.split()), len(names))
    size = next((s for s in ("small", "large") if s in text.split()), None)
    return size, number, names, relation


@pytest.mark.parametrize(("split", "mirror"), [("train", False), ("train", True), ("test_unseen", False)])
def test_every_caption_is_true_of_the_pixels(split, mirror):
    for index in range(30):
        scene = scenes.make_scene(5, split, index)
        example = Example("", tuple(scenes.captions(scene)), lambda scene=scene: draw(scene, 128))
        if mirror:
            example = mirrored(example)
        image = np.asarray(example.pixels(tf.constant))
        seen = [look(image, mask) for mask in blobs(image)]
        for text in example.captions:
            size, number, names, relation = read_sentence(text)
            assert sorted(name for name, _, _ in seen) == sorted(names * (number // len(names))), text
            if size:
                assert (seen[0][2] > 0.085) == (size == "large"), text
            if relation:
                place = {name: np.array(centre) for name, centre, _ in seen}
                dx, dy = place[names[1]] - place[names[0]]
                ahead = {"left": dx, "right": -dx, "above": dy, "below": -dy}
                assert ahead[relation] == max(ahead.values()), text


def test_the_mirror_doubles_the_training_split_alone():
    plain = DATASETS.build("synthetic_scenes(train=9, validation=4)")
    both = Mirrored(plain)
    assert (both.splits, both.fingerprint) == (plain.splits, plain.fingerprint)
    assert [e.id for e in both.examples("validation")] == [e.id for e in plain.examples("validation")]
    once, twice = list(plain.examples("train")), both.examples("train")
    assert [e.id for e in twice[:9]] == [e.id for e in once] and len({e.id for e in twice}) == 18
    assert [e.mirrored for e in twice] == [False] * 9 + [True] * 9


@pytest.mark.parametrize(
    ("caption", "seen"),
    [
        ("a dog on the left, a cat on the right", "a dog on the right, a cat on the left"),
        ("LEFT of the Right-hand door", "RIGHT of the Left-hand door"),
        ("the leftmost one looks rightwards", "the rightmost one looks leftwards"),
        ("bright and upright, a lefty", "bright and upright, a lefty"),
    ],
)
def test_sides_are_swapped_and_nothing_else(caption, seen):
    assert swap_sides(caption) == seen and swap_sides(seen) == caption


def test_scenes_of_every_kind_have_six_wordings_in_a_small_vocabulary():
    kinds, vocabulary = set(), set()
    for index in range(300):
        scene = scenes.make_scene(0, "train", index)
        texts = scenes.captions(scene)
        assert len(set(texts)) == 6
        kinds.add(scene.kind)
        vocabulary.update(word for text in texts for word in text.split())
    assert kinds == {"one", "several", "two"}
    assert 35 <= len(vocabulary) <= 45


def test_held_out_pairs_appear_in_test_unseen_only():
    held = {f"{c} {s}" for c, s in scenes.HELD_OUT}
    assert {c for c, _ in scenes.HELD_OUT} == set(scenes.COLOURS)
    assert {s for _, s in scenes.HELD_OUT} == set(scenes.SHAPES)
    for split in scenes.SPLITS:
        for index in range(200):
            names = {t.name for t in scenes.make_scene(1, split, index).things}
            assert len(names & held) == (split == "test_unseen")


def test_an_example_depends_on_nothing_but_seed_split_and_place():
    small, large = SyntheticScenes(**SMALL), SyntheticScenes(train=200, test=3)
    for a, b in zip(small.examples("train")[:5], large.examples("train")[:5], strict=True):
        assert (a.id, a.captions, a.read()) == (b.id, b.captions, b.read())
    first = [SyntheticScenes(seed=s, train=1).examples("train")[0].read() for s in (0, 1)]
    assert first[0] != first[1] != large.examples("test")[0].read()


def test_image_bytes_are_a_lossless_png_of_the_size_asked_for():
    example = SyntheticScenes(train=1, size=40).examples("train")[0]
    image = np.asarray(Image.open(io.BytesIO(example.read())))
    np.testing.assert_array_equal(image, draw(scenes.make_scene(0, "train", 0), 40))
    odd = np.random.default_rng(0).integers(0, 256, (7, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_png(odd)))), odd)


def test_exact_match_wants_every_fact():
    examples = SyntheticScenes(**SMALL).examples("test")
    assert exact_match([e.captions[i % 6].upper() + "." for i, e in enumerate(examples)], examples) == 100
    assert exact_match([e.captions[0].rsplit(" ", 1)[0] for e in examples], examples) == 0
    constant = max(
        {c for e in examples for c in e.captions}, key=lambda c: sum(c in e.captions for e in examples)
    )
    assert exact_match([constant] * len(examples), examples) < 15
    with pytest.raises(DataError, match="one caption for each example"):
        exact_match(["a"], examples)


def test_scene_options_are_checked():
    for options in ({"seed": -1}, {"size": 8}, {"train": 1.5}, {"test": "many"}):
        with pytest.raises(DataError, match=next(iter(options))):
            SyntheticScenes(**options)
    with pytest.raises(SpecError, match="did you mean 'train'"):
        DATASETS.build("synthetic_scenes(trian=3)")
    with pytest.raises(DataError, match="in the split 'test'"):
        SyntheticScenes(test=0).examples("test")


def test_scene_fingerprint_changes_with_the_images():
    options = [{}, {"seed": 1}, {"size": 32}, {"train": 7}]
    prints = {SyntheticScenes(**o).fingerprint for o in options}
    assert len(prints) == len(options)
    assert SyntheticScenes().fingerprint == SyntheticScenes().fingerprint


# --- images in folders ---


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
def test_a_file_of_another_structure_is_refused_at_once(tmp_path, flickr_entries, text, says):
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


def test_an_image_that_goes_away_or_breaks_is_an_image_error(tmp_path, flickr_entries):
    data = flickr(tmp_path, karpathy(flickr_entries))
    first, second = data.examples("train")[:2]
    (tmp_path / "images" / first.id).unlink()
    path = tmp_path / "images" / second.id
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ImageError, match=first.id):
        first.read()
    with pytest.raises(ImageError, match="truncated"):
        second.read()


def test_fingerprint_sees_any_change_of_an_image_and_nothing_else(tmp_path, flickr_entries):
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


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(dict(zip(rows[0], r, strict=True))) + "\n" for r in rows[1:]))


ROWS = [
    ("image", "caption", "split"),
    ("a.png", 'a "red" one, you see', "train"),
    ("sub/b.png", "ein Hündchen\nbellt", "dev"),
]
ROWS += [("./a.png", "another", "train"), ("c.png", "一只狗", "test")]


def folder_of_images(tmp_path):
    for name in ("a.png", "sub/b.png", "c.png"):
        image(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.mark.parametrize("name, write", [("captions.csv", write_csv), ("captions.jsonl", write_jsonl)])
def test_folder_reads_csv_and_jsonl_alike(tmp_path, name, write):
    photos = folder_of_images(tmp_path)
    write(photos / name, ROWS)
    data = DATASETS.build("folder", path=str(photos))
    got = {split: [(e.id, e.captions) for e in data.examples(split)] for split in data.splits}
    assert got == {
        "train": [("a.png", ('a "red" one, you see', "another"))],
        "validation": [("sub/b.png", ("ein Hündchen bellt",))],
        "test": [("c.png", ("一只狗",))],
    }
    assert data.examples("validation")[0].read() == (photos / "sub" / "b.png").read_bytes()


def test_splits_by_hash_are_stable_and_near_their_shares(tmp_path):
    photos = tmp_path / "photos"
    source = image(photos / "source.png")
    names = [f"{i}.png" for i in range(400)]
    for name in names:
        os.link(source, photos / name)
    write_csv(photos / "captions.csv", [("image", "caption"), *[(n, "one") for n in names[:200]]])
    half = DATASETS.build("folder", path=str(photos), validation=0.2, test=0.1)
    write_csv(
        photos / "captions.csv", [("image", "caption"), *[(n, c) for n in names for c in ("one", "two")]]
    )
    full = DATASETS.build("folder", path=str(photos), validation=0.2, test=0.1)
    for split in half.splits:
        assert {e.id for e in half.examples(split)} <= {e.id for e in full.examples(split)}
    sizes = [len(full.examples(split)) for split in full.splits]
    assert sum(sizes) == 400 and 50 < sizes[1] < 110 and 20 < sizes[2] < 65
    with pytest.raises(DataError, match="leave some for train"):
        DATASETS.build("folder", path=str(photos), validation=0.5, test=0.5)


@pytest.mark.parametrize(
    "name, content, says",
    [
        (
            "captions.csv",
            b"file,text\na.png,dog\n",
            "captions.csv:1: expected the columns image, caption .* got: file, text",
        ),
        (
            "captions.csv",
            "image,caption\na.png,dog\n".encode("utf-16"),
            "captions.csv: expected UTF-8 text, got UTF-16 text: save it as UTF-8",
        ),
        ("captions.csv", b"", "captions.csv:1: expected the columns .* got: none"),
        (
            "captions.csv",
            b'image,caption\na.png,"dog\nc.png,cat\n',
            "captions.csv:2: expected CSV.* is not closed",
        ),
        ("captions.csv", b"image,caption\n", "found none"),
        ("captions.jsonl", b'{"image": "a.png"}\n', "captions.jsonl:1: expected the columns .* got: image"),
        ("captions.jsonl", b'[{"image": "a.png", "caption": "dog"}]\n', "no object"),
        ("captions.txt", b"a.png dog", "ends in .json, .jsonl, .csv, .tsv"),
    ],
)
def test_wrong_columns_stop_at_once(tmp_path, name, content, says):
    photos = folder_of_images(tmp_path)
    (photos / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as error:
        DATASETS.build("folder", path=str(photos), captions=str(photos / name))
    assert "\n" not in str(error.value)


def test_bad_rows_of_a_folder(tmp_path):
    photos = folder_of_images(tmp_path)
    good = [{"image": "a.png", "caption": f"dog {i}"} for i in range(90)]
    bad = {
        91: (b'{"image": "a.png", "image": "c.png", "caption": "dog"}', "'image' comes twice"),
        92: (b'{"image": "a.png", "caption": ', "not a line of JSON"),
        93: (b'{"image": "a.png", "caption": "caf\xe9"}', "not UTF-8"),
        94: (b'{"image": "a.png", "caption": "\\ud800"}', "not UTF-8"),
        95: (b'{"image": "a.png", "caption": "..."}', "is empty"),
        96: (b'{"image": "gone.png", "caption": "dog"}', "no such image"),
        97: (b'{"image": "sub/../../x.png", "caption": "dog"}', "leads out"),
        98: (b'{"image": "a.png", "caption": null}', "not both there"),
        99: (b'{"image": "C:\\\\x.png", "caption": "dog"}', "leads out"),
        100: (b'{"image": "a.png", "caption": "dog", "split": "moon"}', "unknown split 'moon'"),
    }
    text = b"\n".join([json.dumps(row).encode() for row in good] + [line for line, _ in bad.values()])
    (photos / "captions.jsonl").write_bytes(text)
    with pytest.raises(DataError, match="10 of 100 rows"):
        DATASETS.build("folder", path=str(photos), max_bad=0.09)
    data = DATASETS.build("folder", path=str(photos), max_bad=0.1)
    assert len(data.examples(data.splits[0])[0].captions) == 90
    for row in data.bad_rows.rows:
        number = int(row.where.removeprefix("captions.jsonl:"))
        assert bad.pop(number)[1] in row.reason
    assert not bad


def test_the_same_caption_twice_is_dropped_and_said_and_nothing_is_bad(tmp_path, caplog):
    photos = folder_of_images(tmp_path)
    rows = [
        ("image", "caption", "split"),
        ("a.png", "a dog runs", "train"),
        ("./a.png", "a  dog runs ", "train"),
    ]
    write_csv(photos / "captions.csv", [*rows, ("sub/b.png", "a dog runs", "train"), ("c.png", "b", "dev")])
    data = DATASETS.build("folder", path=str(photos), max_bad=0.0)
    assert len(data.bad_rows) == 0 and data.repeated == 1
    assert [(e.id, e.captions) for e in data.examples("train")] == [
        ("a.png", ("a dog runs",)),
        ("sub/b.png", ("a dog runs",)),
    ]
    assert "1 captions repeat one of their image, and count once" in caplog.text


def test_images_that_no_row_names_are_said(tmp_path, caplog):
    photos = folder_of_images(tmp_path)
    for name in ("IMG_1.HEIC", "._a.png", "notes.txt", "sub/other.jpg"):
        (photos / name).write_bytes(b"x")
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    write_csv(
        photos / "captions.csv",
        [("image", "caption"), *[(n, "a dog") for n in ("a.png", "sub/b.png", "c.png")]],
    )
    DATASETS.build("folder", path=str(photos))
    assert (
        f"captions.csv names no captions for 3 of the image files in {photos}, such as ._a.png" in caplog.text
    )


@pytest.mark.parametrize("form, other", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_in_another_unicode_form(tmp_path, form, other):
    name = "sü\u00df/caf\u00e9.png"
    on_disk = unicodedata.normalize(other, name)
    image(tmp_path / "photos" / on_disk)
    rows = [(unicodedata.normalize(form, name), "a cup"), (on_disk, "a cup of tea")]
    write_csv(tmp_path / "photos" / "captions.csv", [("image", "caption"), *rows])
    data = DATASETS.build("folder", path=str(tmp_path / "photos"), max_bad=0.0)
    (split,) = data.splits
    (example,) = data.examples(split)
    assert (example.id, example.captions) == (on_disk, ("a cup", "a cup of tea"))
    assert example.read() == (tmp_path / "photos" / on_disk).read_bytes()
    # The split does not depend on the form either.
    image(tmp_path / "others" / unicodedata.normalize(form, name))
    write_csv(tmp_path / "others" / "captions.csv", [("image", "caption"), rows[0]])
    assert DATASETS.build("folder", path=str(tmp_path / "others")).splits == (split,)
    captions = karpathy([(rows[0][0], split, ["a cup"])])
    (tmp_path / "k.json").write_text(json.dumps(captions))
    again = DATASETS.build("flickr", folder=str(tmp_path / "photos"), captions=str(tmp_path / "k.json"))
    assert [e.id for e in again.examples(split)] == [on_disk]


def test_a_name_in_other_capitals_is_hinted_at(tmp_path):
    image(tmp_path / "photos" / "Beach.JPG")
    write_csv(tmp_path / "photos" / "captions.csv", [("image", "caption"), ("beach.jpg", "a beach")])
    with pytest.raises(
        DataError, match=r"no such image in .*photos \(there is 'Beach.JPG': capitals count\)"
    ):
        DATASETS.build("folder", path=str(tmp_path / "photos"))


def test_images_cut_off_are_found_before_anything_is_encoded(tmp_path):
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


@pytest.mark.parametrize("has_splits", [False, True])
def test_an_empty_split_says_what_to_do(tmp_path, has_splits):
    photos = folder_of_images(tmp_path)
    rows = [(f"{name}.png", "a dog", "train")[: 2 + has_splits] for name in ("a", "c")]
    write_csv(photos / "captions.csv", [("image", "caption", "split")[: 2 + has_splits], *rows])
    data = DATASETS.build("folder", path=str(photos), validation=0.001, test=0.0)
    with pytest.raises(DataError) as error:
        data.examples("validation")
    words = "no row of captions.csv says validation in its column split"
    if not has_splits:
        words = (
            "add images, or a column split to captions.csv, or set validation=0.35 of the dataset (now 0.001)"
        )
        better = DATASETS.build("folder", path=str(photos), validation=0.35, test=0.0)
        assert better.splits == ("train", "validation")
    assert str(error.value) == (
        f"no image of the folder dataset is in the split 'validation'; splits with images: train; {words}"
    )


def test_csv_rows_with_too_many_or_too_few_fields(tmp_path):
    photos = folder_of_images(tmp_path)
    (photos / "captions.csv").write_text(
        "image,caption,split\na.png,a dog,train\na.png,a dog, wet,train\n"
        "c.png\nc.png,cat,test\na.png,cat,test\n"
    )
    data = DATASETS.build("folder", path=str(photos), max_bad=0.6)
    assert [(r.where, r.reason[:20]) for r in data.bad_rows.rows] == [
        ("captions.csv:3", "4 fields for 3 colum"),
        ("captions.csv:4", "1 field for 3 column"),
        ("captions.csv:6", "this image is in t"),
    ]


def test_bad_rows_class(tmp_path):
    with pytest.raises(DataError, match="max_bad expects a number from 0 to 1, got 5"):
        BadRows("x", max_bad=5)
    bad = BadRows("photos", tmp_path / "list.jsonl", max_bad=0.01)
    bad.check(0)
    assert not bad.path.exists()
    bad.add("f:1", "a.jpg", "a reason\nof two lines")
    bad.check(100)
    assert json.loads(bad.path.read_text()) == {
        "where": "f:1",
        "row": "a.jpg",
        "reason": "a reason of two lines",
    }
    with pytest.raises(DataError, match="1 of 99 rows"):
        bad.check(99)
    (tmp_path / "file").write_text("")
    nowhere = BadRows("photos", tmp_path / "file" / "list.jsonl")
    nowhere.add("f:1", "a.jpg", "reason")
    with pytest.raises(DataError, match="cannot write the list of 1 bad rows"):
        nowhere.check(1000)


# --- tensorflow-datasets ---


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
        DataError, match="image_key to be one of image in synthetic_scenes/little/1.0.0, got 'image'"
    ):
        DATASETS.build("tfds", name="synthetic_scenes/little", data_dir=str(tmp_path), image_key="image")
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


def test_coco_captions_in_the_features_of_tensorflow_datasets_own_builder(tfds, tmp_path, monkeypatch):
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
    with pytest.raises(DataError, match="ends within one"):
        DATASETS.build("coco", data_dir=str(tmp_path)).examples("train")


def test_every_row_of_the_table_imports_and_says_what_it_is():
    described = DATASETS.describe()
    assert list(described) == ["synthetic_scenes", "flickr", "folder", "coco", "tfds"]
    assert all(described.values())
