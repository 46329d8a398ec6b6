"""Caption files: one reader for training and evaluation, ids that name one image, what `evaluate` says of both."""

import gzip
import itertools
import json
import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captioner
from captioner.caption_files import aligned, parse_json, read_predictions, read_references, read_rows
from captioner.caption_files.image_ids import alike, composed, match, shown
from captioner.cli import main
from captioner.errors import DataError
from training.data.datasets import DATASETS

CAPTIONS = [("1.png", "a dog"), ("1.png", 'the sign says "stop"'), ("sub/2.png", "zwei Katzen,\nmüde 一只猫")]


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def table(rows, separator, names=("image", "caption"), end="\n"):
    lines = [separator.join(names), *(separator.join(map(quoted, row)) for row in rows)]
    return end.join(lines) + end


def forms(rows):
    """(ending, text) of every form that holds the same rows."""
    objects = [dict(zip(("image", "caption"), row, strict=True)) for row in rows]
    texts = {}
    for image, caption in rows:
        texts.setdefault(image, []).append(caption)
    numbers = {image: i for i, image in enumerate(texts)}
    yield from ((".csv", table(rows, ",", end=end)) for end in ("\n", "\r\n", "\r"))
    yield ".csv", "\ufeff" + table(rows, ",", ("file_name", " Text "))
    yield ".csv", table([(c, "x", i) for i, c in rows], ",", ("caption", "", "image_id"))
    yield ".tsv", table(rows, "\t", ("id", "text"))
    yield ".jsonl", "\n\n".join(map(json.dumps, objects))
    yield ".jsonl", "\r\n".join(json.dumps({"filename": i, "captions": c}) for i, c in texts.items())
    yield ".json", json.dumps(objects)
    yield ".json", json.dumps(texts, ensure_ascii=False)
    coco = {"images": [{"id": i, "file_name": name} for name, i in numbers.items()]}
    coco["annotations"] = [{"id": 9, "image_id": numbers[i], "caption": c} for i, c in rows]
    yield ".json", json.dumps(coco)


@pytest.fixture
def photos(tmp_path):
    for name in ("1.png", "sub/2.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return tmp_path / "photos"


def of_training(photos, file, **options):
    bad = str(photos.parent / "bad.jsonl")
    data = DATASETS.build("folder", path=str(photos), captions=str(file), bad_rows=bad, **options)
    return data, {e.id: list(e.captions) for split in data.splits for e in data.examples(split)}


@pytest.mark.parametrize("ending, text", forms(CAPTIONS))
@pytest.mark.parametrize("zipped", [False, True])
def test_training_and_evaluation_read_the_same_from_every_form(photos, ending, text, zipped):
    data = text.encode()
    file = photos / f"c{ending}{'.gz' * zipped}"
    file.write_bytes(gzip.compress(data) if zipped else data)
    expected = {"1.png": [c for i, c in CAPTIONS if i == "1.png"], "sub/2.png": [CAPTIONS[2][1]]}
    assert read_references(file) == expected
    assert of_training(photos, file)[1] == {
        i: [" ".join(c.split()) for c in cs] for i, cs in expected.items()
    }


def test_no_character_of_a_caption_breaks_a_row(tmp_path):
    odd = [
        "\u2028",
        "\u2029",
        "\x85",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x1e",
        "\ufeff",
        "\u202e",
        '"',
        ",",
        ";",
        "|",
        "\t",
    ]
    odd += ["\n", "\r", "\r\n", "\\", "\\n", "'", "=1+1", "{", "[", "𝒳", "é", "e\u0301"]
    rng = random.Random(3)
    rows = [(f"{i}.jpg", "a" + "b".join(rng.choices(odd, k=4)) + "c") for i in range(60)]
    for separator, ending in ((",", "csv"), ("\t", "tsv")):
        (tmp_path / f"c.{ending}").write_bytes(table(rows, separator).encode())
        assert read_references(tmp_path / f"c.{ending}") == {image: [text] for image, text in rows}
    (tmp_path / "c.jsonl").write_bytes(
        "\n".join(json.dumps({"image": i, "caption": c}, ensure_ascii=False) for i, c in rows).encode()
    )
    assert read_references(tmp_path / "c.jsonl") == {image: [text] for image, text in rows}
    # Unquoted, whatever is neither a line's end nor the separator is text.
    plain = [mark for mark in odd if mark not in (",", "\n", "\r", "\r\n", '"')]
    text = "image,caption\n" + "".join(f"{i}.jpg,a{mark}b\n" for i, mark in enumerate(plain))
    (tmp_path / "c.csv").write_bytes(text.encode())
    assert read_references(tmp_path / "c.csv") == {f"{i}.jpg": [f"a{mark}b"] for i, mark in enumerate(plain)}


ROW = "1.png,a dog\n"
BAD_ROWS = [
    # (ending, text, number of lines before the bad one, what is said)
    (
        ".csv",
        "image,caption\n" + ROW + "1.png,a dog, wet\n",
        2,
        "3 fields for 2 columns: a caption with a comma needs",
    ),
    (".tsv", "image\tcaption\n1.png\ta\tb\n", 1, "3 fields for 2 columns: a caption with a tab needs"),
    (".csv", "image,caption\n\n1.png\n" + ROW, 2, "1 field for 2 columns: image, caption"),
    (".csv", 'image,caption\n1.png,"a\nb"\n1.png\n', 3, "1 field for 2 columns"),
    (".csv", "image,caption\n" + ROW + "image,caption\n", 2, "the header line comes again"),
    (".csv", 'image,caption\n1.png,"a dog\n1.png,a cat"\n', 1, "a quote that is not closed on its line"),
    (".csv", 'caption,image\n"a dog,1.png\na cat",1.png\n', 1, "a quote that is not closed on its line"),
    (".csv", 'image,caption\n1,"a dog\n2,a cat"\n', 1, "a quote that is not closed on its line"),
    (
        ".csv",
        'image,caption,split\nx1,"a dog,test\nx1,a cat",test\nx1,b,test\n',
        1,
        "a quote that is not closed on its line",
    ),
    (".tsv", 'image\tcaption\nq.heic\t"a\r\nr.heic\tb"\n', 1, "a quote that is not closed on its line"),
    (
        ".csv",
        b"image,caption\n1.png,caf\xe9\n",
        1,
        "not UTF-8: the byte 0xe9 (Windows-1252 or Latin-1?); save the file",
    ),
    (".csv", b"image,caption\n" + ROW.encode() + b"1.png,a \0 dog\n", 2, "a NUL byte"),
    (".csv", "image,caption\n,a dog\n", 1, "no image is named"),
    (".csv", "image,caption\n1.png," + "a" * 100_001 + "\n", 1, "a caption of 100,001 characters"),
    (".jsonl", '{"image": "1.png", "caption": "a"}\n\n{"image": "1.png"', 2, "not a line of JSON"),
    (".jsonl", '{"image": "1.png", "caption": "a", "caption": "b"}', 0, "the key 'caption' comes twice"),
    (".jsonl", '{"image": "1.png", "caption": "a", "logp": NaN}', 0, "NaN is no number that JSON has"),
    (".jsonl", '{"image": "1.png", "caption": "a", "logp": 1e999}', 0, "the number 1e999 is too large"),
    (".jsonl", '{"image": ' + "1" * 5000 + ', "caption": "a"}', 0, "a number of 5,000 digits"),
    (".jsonl", '{"image": "1.png", "caption": ' + "[" * 100_000, 0, "nested too deeply"),
    (".jsonl", '{"image": "1.png", "caption": ["a"]}', 0, "not both there as text, got ['a'] as caption"),
    (".jsonl", '{"image": "1.png", "captions": ["a", 7]}', 0, "not both there as text, got 7 as caption"),
    (".jsonl", '{"image": "1.png", "captions": []}', 0, "an empty list of captions"),
    (".jsonl", '[{"image": "1.png", "caption": "a"}]', 0, "(a whole list must be in a .json file)"),
    (".jsonl", '{"image": true, "caption": "a"}', 0, "no image is named"),
    (".jsonl", '{"image": "1.png", "caption": "\\ud800"}', 0, "the caption is not UTF-8"),
    (".jsonl", '{"image": "1.png", "caption": "a\\u0000"}', 0, "a NUL in the caption"),
]


@pytest.mark.parametrize("ending, text, before, words", BAD_ROWS)
def test_a_bad_row_is_refused_by_one_and_counted_by_the_other_in_the_same_words(
    photos, ending, text, before, words
):
    file = photos / f"c{ending}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (read_predictions, read_references):
        if read is read_predictions and before > 1:
            continue  # a second prediction of the same image comes first
        with pytest.raises(DataError) as error:
            read(file)
        assert str(error.value).startswith(f"{file}:{before + 1}: ") and words in str(error.value)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
    with pytest.raises(DataError, match=f"first, c{ending}:{before + 1} ") as error:
        of_training(photos, file, max_bad=0.0)
    assert words.split(" a caption")[0] in str(error.value)


FILES = [
    # (name, content, what is said)
    ("c.csv", table(CAPTIONS, ",").encode("utf-16"), "got UTF-16 text: save it as UTF-8"),
    ("c.csv", table(CAPTIONS, ",").encode("utf-16-le"), "got UTF-16, UTF-32 or no text: save it as UTF-8"),
    ("c.json", b'{"1.png": ["a dog"]}'.decode().encode("utf-16-be"), "got UTF-16, UTF-32 or no text"),
    ("c.jsonl", table(CAPTIONS, ",").encode("utf-32"), "got UTF-32 text: save it as UTF-8"),
    ("c.csv", b"PK\x03\x04....", "a zip archive or a spreadsheet: save it as CSV in UTF-8"),
    ("c.csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ("c.json", b'{"a":\n "caf\xe9"}', "c.json:2: expected UTF-8 text, got the byte 0xe9 (Windows-1252"),
    ("c.json", b'{"a": "b",\n"a": "c"}', "the key 'a' comes twice"),
    ("c.json", b"[" * 100_000, "expected JSON, got lists or objects nested too deeply"),
    ("c.json", b'{"a":\n', "c.json:2: expected JSON"),
    ("c.json", b" \n", "expected JSON, got an empty file"),
    (
        "c.json",
        b"image,caption\n",
        "c.json:1: expected JSON, got something else at column 1 (expecting value)",
    ),
    (
        "c.json",
        b'{"images": [{"filename": "1.png", "sentences": []}]}',
        "got Karpathy's format, which only training",
    ),
    ("c.json", b'{"images": [{"id": 1, "file_name": "1.png"}]}', "a list of images without annotations"),
    ("c.jsonl", b'{"1.png": ["a dog"]}\n', "an object of images and their captions must be in a .json file"),
    ("c.csv", b'{"1.png": ["a dog"]}\n', "this is JSON: name the file .json"),
    ("c.csv", b"sep=,\nimage,caption\n1.png,a\n", "must name the columns, with nothing before them"),
    ("c.csv", b'"image", "caption"\n1.png,a\n', "no space may stand between a separator and a quote"),
    ("c.json", b"7", "expected a JSON object or list, got int"),
    ("c.json", b'["a"]', "entry 1: expected an object with image and caption, got 'a'"),
    ("c.json", b"[[" + b"[" * 900 + b"]" * 900 + b"]]", "expected an object with image and caption"),
    ("c.json", b"[]", "found none"),
    ("c.csv", b"image,caption\n\n", "found none"),
    ("c.csv", b"", "c.csv:1: expected the columns image, caption and optionally split, got: none"),
    (
        "c.csv",
        b"image;caption\n1.png;a\n",
        "got: image;caption: its columns are separated by ';': save it with commas",
    ),
    ("c.csv", b"image_name| comment_number| comment\n1.png| 0| a\n", "separated by '|': save it with commas"),
    ("c.csv", b"image\tcaption\n1.png\ta\n", "separated by tabs: name the file .tsv"),
    ("c.tsv", b"image,caption\n1.png,a\n", "separated by commas: name the file .csv"),
    ("c.csv", b"1.png,a dog\n", "the first line must name the columns, as in image,caption"),
    (
        "c.csv",
        b"image,words\n1.png,a\n",
        "got: image, words; image may be called image_id, file_name, filename, id",
    ),
    ("c.csv", b"image,caption,caption\n1.png,a,b\n", "expected each column once, got 'caption' twice"),
    ("c.csv", b'image,caption\n1.png,a\n1.png,"a\n1.png,b "c"\n', "c.csv:3: expected CSV"),
    (
        "c.csv",
        b'image,caption\n1.png,"' + b"a " * 100_000 + b'"\n',
        "c.csv:2: a field that is far too long: is a quote",
    ),
    (
        "c.json",
        b'{"image": "1.png", "caption": "a"}\n' * 2,
        "c.json:2: expected JSON, got extra data; a file",
    ),
    ("captions.txt", b"image,caption\n1.png,a dog\n", "ends in .json, .jsonl, .csv, .tsv, got"),
    ("captions.txt", b"image,caption\n1.png,a dog\n", "rename it to captions.csv"),
    ("t.token.txt", b"1.png#0\ta dog\n", "as flickr(folder=..., captions=...)"),
    ("c.csv.gz", b"\x1f\x8b\x08\x00\x00\x00", "cannot read the captions file"),
]


@pytest.mark.parametrize("name, content, words", FILES)
def test_a_file_of_another_kind_is_refused_by_both_with_what_to_do(photos, name, content, words):
    (photos / name).write_bytes(content)
    messages = set()
    for read in (read_predictions, read_references, lambda file: of_training(photos, file)):
        with pytest.raises(DataError) as error:
            read(photos / name)
        messages.add(str(error.value))
    assert len(messages) == 1 and words in messages.pop()


def test_damaged_files_are_told_in_one_line_or_read(tmp_path):
    rng = random.Random(7)
    pieces = [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"{", b"[", b"\t"]
    pieces += [b"\\ud800", b"NaN", b"\xef\xbb\xbf", b"1e999", b"\\"]
    files = [(ending, text.encode()) for ending, text in forms(CAPTIONS)]
    told = 0
    for number in range(1000):
        ending, data = rng.choice(files)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data) + 1)
            end = min(len(data), at + rng.choice([0, 0, 1, 1, 5, 1000]))
            data = data[:at] + rng.choice([*pieces, bytes([rng.randrange(256)]), b""]) + data[end:]
        path = tmp_path / f"c{ending}"
        path.write_bytes(data)
        outcomes = set()
        for read in (read_rows, read_predictions, read_references):
            try:
                read(path)
            except DataError as error:
                told += 1
                assert "\n" not in str(error) and str(path) in str(error), number
                outcomes.add(read)
        # What the rows' reader refuses, nobody reads.
        assert read_rows not in outcomes or len(outcomes) == 3
    assert 500 < told < 3000


def test_what_is_no_file(tmp_path):
    for path in (tmp_path / "no.csv", tmp_path, "a\0.csv"):
        for file in (path, Path(str(path) + ".csv")):
            with pytest.raises(DataError) as error:
                read_references(file)
            assert "\n" not in str(error.value)


def test_strict_json():
    assert parse_json('{"a": [1, 2.5, true, null, "\\udc85"]}') == {"a": [1, 2.5, True, None, "\udc85"]}
    for text in (
        "NaN",
        "[Infinity]",
        '{"a": -Infinity}',
        "1e400",
        '{"a": 1, "b": {"c": 1, "c": 2}}',
        "1 2",
        "",
    ):
        with pytest.raises(ValueError) as error:
            parse_json(text)
        assert "\n" not in str(error.value)


def test_names_that_no_terminal_can_show_are_read_back(tmp_path, capsys):
    # `captioner caption --json` escapes what is no UTF-8 in a file's name.
    rows = [
        {"image": name, "caption": f"a dog {i}"}
        for i, name in enumerate(["a\udc85.jpg", "../../x", "b\0c", "/e/f"])
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = [row["image"] for row in rows]
    assert list(read_predictions(tmp_path / "p.jsonl")) == names
    (tmp_path / "r.json").write_text(json.dumps({name: ["a dog"] for name in names}))
    assert main(["evaluate", str(tmp_path / "p.jsonl"), str(tmp_path / "r.json"), "--metric", "bleu"]) == 0
    capsys.readouterr()
    (tmp_path / "r.json").write_text(json.dumps({name: ["a dog"] for name in names[1:]}))
    assert main(["evaluate", str(tmp_path / "p.jsonl"), str(tmp_path / "r.json")]) == 2
    assert "1 predictions without references: 'a\\udc85.jpg'" in capsys.readouterr().err


# --- which ids are the same image ---


@pytest.mark.parametrize(
    "left, right, way",
    [
        ("1.jpg", "1.jpg", "name"),
        (1, "1", "name"),
        (unicodedata.normalize("NFD", "süß/café.jpg"), "süß/café.jpg", "name in another Unicode form"),
        ("./a//b.jpg", "a/b.jpg", "path"),
        ("a\\b.jpg", "a/b.jpg", "path"),
        ("7.0", 7, "number"),
        ("7", "000000000007", "number"),
        ("7", "COCO_val2014_000000000007.jpg", "number"),
        ("images/000000000007.jpg", 7.0, "number"),
        ("0", "000", "number"),
        ("val/one.jpg", "one.jpg", "base name"),
        ("/x/one.jpg", "photos/one.jpg", "base name"),
        ("7.5", "7", None),
        ("17", "7", None),
        ("²", "2", None),
        ("one.jpg", "One.jpg", None),
        ("one.jpg", "one.png", None),
        ("", "a", None),
        ("..", "../..", None),
    ],
)
def test_which_spellings_name_the_same_image(left, right, way):
    for one, other in ((left, right), (right, left)):
        found = match([one, "x"], [other, "x"])
        assert found.pairs == ({one: other, "x": "x"} if way else {"x": "x"})
        assert found.ways == ({"name": 2} if way == "name" else {"name": 1} | ({way: 1} if way else {}))


def test_what_is_not_unique_is_not_matched():
    assert match(["a/1.jpg", "b/1.jpg"], ["1.jpg"]).pairs == {}
    assert match(["1.jpg"], ["a/1.jpg", "b/1.jpg"]).pairs == {}
    assert match(["a/1.jpg", "b/1.jpg"], ["a/1.jpg", "c/1.jpg"]).pairs == {"a/1.jpg": "a/1.jpg"}
    assert match(["7", "007"], ["COCO_val2014_000000000007.jpg"]).pairs == {}
    # Whatever the names are, no two share a partner and nothing is made up.
    rng = random.Random(1)
    parts = ["1", "01", "a", "A", "é", "e\u0301", "..", "1.jpg", "COCO_val2014_000000000001.jpg"]
    names = ["/".join(rng.choices(parts, k=rng.randint(1, 3))) for _ in range(400)]
    for _ in range(200):
        left, right = (list(dict.fromkeys(rng.choices(names, k=8))) for _ in "ab")
        pairs = match(left, right, left_folder="x", right_folder="y").pairs
        assert len(set(pairs.values())) == len(pairs) and set(pairs) <= set(left)
        assert set(pairs.values()) <= set(right)
        assert all(name in pairs and pairs[name] == name for name in set(left) & set(right))


def test_a_path_is_of_the_same_file_wherever_each_side_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = ["data/photos/a/1.jpg", "data/photos/b/1.jpg", str(tmp_path / "data/photos/c/1.jpg")]
    found = match(left, ["c/1.jpg", "b/1.jpg", "./a/1.jpg"], left_folder="", right_folder="data/photos")
    assert found.pairs == dict(zip(left, ["./a/1.jpg", "b/1.jpg", "c/1.jpg"], strict=True))
    assert found.ways == {"path": 3}


def test_spellings():
    assert composed("a/../b/./c") == "b/c" and composed("../a") == "../a" and composed("/../a") == "/a"
    assert alike("Beach.JPG", ["x", "beach.jpg"]) == "beach.jpg" and alike("a.jpg", ["a.png"]) == "a.png"
    assert alike("a", ["b", "a"]) is None and alike("", [""]) is None
    assert shown("e\u0301") != shown("é") and len(shown("x" * 999)) <= 120 and "\n" not in shown("a\nb")


# --- evaluate ---


def written(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def run(capsys, *options):
    code = main(["evaluate", *options])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err.splitlines()


def world(count):
    rng = random.Random(count)
    words = ["a", "dog", "cat", "runs", "sleeps", "red", "blue", "on", "the", "grass", "with", "two", "men"]
    return {f"{i}.jpg": [" ".join(rng.choices(words, k=7)) for _ in range(3)] for i in range(count)}


def test_the_captions_one_trains_with_are_references(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = world(60)
    rows = [(i, c, "test" if int(i[:-4]) < 50 else "train") for i, cs in texts.items() for c in cs]
    references = written(tmp_path, "photos/captions.csv", table(rows, ",", ("image", "caption", "split")))
    of_test = {f"photos/{image}": cs[0] for image, cs in texts.items() if int(image[:-4]) < 50}
    spoken = dict(zip(of_test, np.roll(list(of_test.values()), 1).tolist(), strict=True))
    expected = captioner.evaluate(spoken, {name: texts[name[7:]] for name in spoken})
    predictions = written(tmp_path, "p.json", spoken)
    code, out, err = run(capsys, predictions, references, "--json")
    assert code == 0 and json.loads(out) == pytest.approx(expected)
    assert err == [
        "captioner: references: those of the split test alone, 50 of 60 images",
        "captioner: 50 images matched by path ('photos/0.jpg' with '0.jpg')",
    ]
    code, out, err = run(capsys, predictions, references, "--json", "--split", "test")
    assert code == 0 and json.loads(out) == pytest.approx(expected) and "50 of 60 images" in err[0]
    code, out, err = run(capsys, predictions, references, "--split", "train")
    assert code == 2 and "no prediction and no reference are of the same image" in err[-1]
    code, out, err = run(capsys, predictions, references, "--split", "val")
    assert code == 2 and "no image of the split 'val'" in err[-1] and "it has: test, train" in err[-1]
    # All splits where predictions are of several; what is missing is told.
    some = {**spoken, "photos/55.jpg": "a dog"}
    code, out, err = run(capsys, written(tmp_path, "p.json", some), references)
    assert (
        code == 2
        and "9 images with references but no prediction: '50.jpg', '51.jpg', '52.jpg', ..." in err[-1]
    )
    assert err[-1].endswith("the others matched (51 by path)")


def test_coco_is_matched_by_number_and_by_file_name(tmp_path, capsys):
    texts = world(3)
    coco = {"images": [{"id": 70 + i, "file_name": f"COCO_{name}"} for i, name in enumerate(texts)]}
    coco["annotations"] = [
        {"id": k, "image_id": 70 + i, "caption": c}
        for i, cs in enumerate(texts.values())
        for k, c in enumerate(cs)
    ]
    for images in (coco["images"], []):
        references = written(tmp_path, "captions.json", coco | {"images": images})
        rows = "".join(f"{70 + i}.0,{cs[1]}\n" for i, cs in enumerate(texts.values()))
        results = [
            written(
                tmp_path,
                "p.json",
                [{"image_id": 70 + i, "caption": c[1]} for i, c in enumerate(texts.values())],
            ),
            written(tmp_path, "floats.csv", "image_id,caption\n" + rows),
        ]
        if images:
            by_path = {f"some/where/COCO_{name}": cs[1] for name, cs in texts.items()}
            results.append(written(tmp_path, "paths.json", by_path))
        figures = []
        for predictions in results:
            code, out, err = run(capsys, predictions, references, "--json", "--metric", "rouge_l")
            assert code == 0, err
            figures.append(json.loads(out))
        assert figures.count({"ROUGE-L": pytest.approx(100)}) == len(results)


def test_nothing_or_little_that_matches_shows_both_sides(tmp_path, capsys):
    references = written(tmp_path, "r.json", {"one.jpg": ["a dog"], "Beach.JPG": ["a beach"]})
    code, out, err = run(capsys, written(tmp_path, "p.json", {"x": "a", "y": "b"}), references)
    assert (code, out, len(err)) == (2, "", 1)
    assert "predictions have 'x', references 'one.jpg'" in err[0]
    code, out, err = run(
        capsys, written(tmp_path, "p.json", {"v/one.jpg": "a", "beach.jpg": "b"}), references
    )
    assert (code, out, len(err)) == (2, "", 1)
    assert "1 predictions without references: 'beach.jpg'; 1 images with references but" in err[0]
    assert (
        "(is 'beach.jpg' the same image as 'Beach.JPG'? rename one); the others matched (1 by base name)"
        in err[0]
    )


def test_a_second_model_may_spell_its_images_otherwise(tmp_path, capsys):
    pytest.importorskip("matplotlib"), pytest.importorskip("jinja2")
    texts = world(5)
    references = written(tmp_path, "r.json", texts)
    first = written(tmp_path, "a.json", {f"x/{n}": cs[0] for n, cs in texts.items()})
    second = written(tmp_path, "b.json", {f"y/z/{n}": cs[1] for n, cs in reversed(texts.items())})
    page = tmp_path / "page.html"
    code, out, err = run(capsys, first, references, "--baseline", second, "--html", str(page))
    assert code == 0, err
    data = json.loads(page.with_suffix(".json").read_text())
    assert [row["image"] for row in data["images"]] == [f"x/{n}" for n in texts]
    both = next(row for row in data["scores"] if row["name"] == "ROUGE-L")["models"]
    assert [model["value"] for model in both] == pytest.approx([100.0, 100.0])


def test_columns_by_another_name_are_said(tmp_path, capsys):
    references = written(tmp_path, "r.csv", "caption,file_name,id\na dog,1.jpg,5\na cat,2.jpg,6\n")
    predictions = written(tmp_path, "p.json", {"1.jpg": "a dog", "2.jpg": "a cat"})
    code, out, err = run(capsys, predictions, references, "--metric", "bleu")
    assert (
        code == 0
        and err[0] == "captioner: references: images by the column 'file_name', captions by 'caption'"
    )


@pytest.mark.parametrize("html", [False, True])
def test_cider_of_one_image_is_left_out_and_said(tmp_path, capsys, html):
    if html:
        pytest.importorskip("matplotlib"), pytest.importorskip("jinja2")
    more = ["--html", str(tmp_path / "r.html"), "--overwrite"] if html else []
    predictions = written(tmp_path, "p.json", {"1.jpg": "a dog runs fast"})
    references = written(tmp_path, "r.jsonl", '{"image": "1.jpg", "caption": "a dog runs fast"}')
    code, out, err = run(capsys, predictions, references, *more)
    assert code == 0 and "CIDEr-D" not in out and "BLEU-4" in out
    said = [line for line in err if "CIDEr-D" in line]
    assert len(said) == 1 and "no CIDEr-D: it needs several images" in said[0] and "got one" in said[0]
    code, out, err = run(capsys, predictions, references, "--json", *more)
    figures = json.loads(out)
    assert code == 0 and figures["CIDEr-D"] is None and figures["BLEU-4"] == pytest.approx(100)
    # The same file with more images: a figure, and a word that it is rough; with 50 none.
    for count, words in ((2, "CIDEr-D of 2 images is rough"), (49, "49 images is rough"), (50, None)):
        texts = world(count)
        predictions = written(tmp_path, "p.json", {n: cs[0] for n, cs in texts.items()})
        code, out, err = run(capsys, predictions, written(tmp_path, "refs.json", texts), *more)
        assert code == 0 and "CIDEr-D" in out
        assert [words in line for line in err if "rough" in line] == [True] * bool(words)
        code, out, err = run(
            capsys, predictions, tmp_path.joinpath("refs.json").as_posix(), "--metric", "rouge_l"
        )
        assert not [line for line in err if "CIDEr" in line]


def test_mixed_ways_are_counted(tmp_path, capsys):
    references = written(tmp_path, "r.json", {"1.jpg": ["a dog"], "b/two.jpg": ["a cat"], "3": ["a bird"]})
    spoken = {"1.jpg": "a dog", "c/two.jpg": "a cat", "3.0": "a bird"}
    found = aligned(spoken, read_references(references))
    assert found.names == {"1.jpg": "1.jpg", "c/two.jpg": "b/two.jpg", "3.0": "3"}
    assert found.references == {"1.jpg": ["a dog"], "c/two.jpg": ["a cat"], "3.0": ["a bird"]}
    code, out, err = run(capsys, written(tmp_path, "p.json", spoken), references)
    assert code == 0 and err[:2] == [
        "captioner: 1 image matched by base name",
        "captioner: 1 image matched by number",
    ]


def test_an_image_in_two_splits_is_refused(tmp_path):
    file = written(tmp_path, "r.csv", "image,caption,split\n1.jpg,a,train\n1.jpg,b,test\n")
    with pytest.raises(DataError, match="r.csv:3: image '1.jpg' is in the split 'train' already, got 'test'"):
        read_references(file)


def test_rows_of_a_file_are_all_there(tmp_path):
    rows = [("1.jpg", "a"), ("2.jpg", "b, c"), ("3.jpg", "d")]
    text = "image,caption\n" + "".join(f"{i},{c}\n" for i, c in rows)
    found = read_rows(written(tmp_path, "c.csv", text), "c.csv").rows
    assert [bool(row.fault) for row in found] == [False, True, False]
    assert list(itertools.chain(*(row.captions for row in found))) == ["a", "d"]


def test_references_take_names_of_splits_and_spellings_of_images_as_training_does(photos):
    rows = [("1.png", "a dog", "val"), ("./1.png", "a cat", "Validation"), ("sub/2.png", "a car", " TEST ")]
    file = photos / "s.csv"
    file.write_text("image,caption,split\n" + "".join(f"{','.join(row)}\n" for row in rows))
    references = read_references(file)
    assert references == {"1.png": ["a dog", "a cat"], "sub/2.png": ["a car"]}
    assert references.splits == {"1.png": "validation", "sub/2.png": "test"}
    for split in ("val", "dev", "validation"):
        assert aligned(["1.png"], references, split).names == {"1.png": "1.png"}
    training, _ = of_training(photos, file)
    assert [list(e.captions) for e in training.examples("validation")] == [references["1.png"]]


def test_a_caption_of_several_lines_is_no_swallowed_row(tmp_path):
    text = 'image,caption\n1.jpg,"a dog, wet\nand a cat, dry\n2, or 3, of them"\n2.jpg,b\n'
    (tmp_path / "c.csv").write_text(text)
    assert read_references(tmp_path / "c.csv")["1.jpg"] == ["a dog, wet\nand a cat, dry\n2, or 3, of them"]
