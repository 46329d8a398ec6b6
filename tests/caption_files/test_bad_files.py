"""Damaged and unsupported caption files: the same message in training and evaluation."""

import random
from pathlib import Path

import pytest

from captioner.caption_files import parse_json, read_predictions, read_references, read_rows
from captioner.errors import DataError
from tests.support.caption_tables import CAPTIONS, forms, read_by_training, table

ROW = "1.png,a dog\n"
BAD_ROWS = [
    # (ending, text, number of lines before the bad one, the message)
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
    (".jsonl", '{"image": "1.png", "caption": ["a", 3]}', 0, "not both there as text, got 3 as caption"),
    (".jsonl", '{"image": "1.png", "captions": ["a", 7]}', 0, "not both there as text, got 7 as caption"),
    (".jsonl", '{"image": "1.png", "captions": []}', 0, "an empty list of captions"),
    (".jsonl", '[{"image": "1.png", "caption": "a"}]', 0, "(a whole list must be in a .json file)"),
    (".jsonl", '{"image": true, "caption": "a"}', 0, "no image is named"),
    (".jsonl", '{"image": "1.png", "caption": "\\ud800"}', 0, "the caption is not UTF-8"),
    (".jsonl", '{"image": "1.png", "caption": "a\\u0000"}', 0, "a NUL in the caption"),
]


@pytest.mark.parametrize("ending, text, before, words", BAD_ROWS)
def test_a_bad_row_has_the_same_message_everywhere(photos, ending, text, before, words):
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
        read_by_training(photos, file, max_bad=0.0)
    assert words.split(" a caption")[0] in str(error.value)


FILES = [
    # (name, content, the message)
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
def test_a_file_of_another_kind_is_refused(photos, name, content, words):
    (photos / name).write_bytes(content)
    messages = set()
    for read in (read_predictions, read_references, lambda file: read_by_training(photos, file)):
        with pytest.raises(DataError) as error:
            read(photos / name)
        messages.add(str(error.value))
    assert len(messages) == 1 and words in messages.pop()


def test_damaged_files_are_one_line(tmp_path):
    rng = random.Random(7)
    pieces = [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"{", b"[", b"\t"]
    pieces += [b"\\ud800", b"NaN", b"\xef\xbb\xbf", b"1e999", b"\\"]
    files = [(ending, text.encode()) for ending, text in forms(CAPTIONS)]
    refused = 0
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
                refused += 1
                assert "\n" not in str(error) and str(path) in str(error), number
                outcomes.add(read)
        # A file that `read_rows` refuses is refused by all readers.
        assert read_rows not in outcomes or len(outcomes) == 3
    assert 500 < refused < 3000


def test_missing_files_are_one_line(tmp_path):
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
