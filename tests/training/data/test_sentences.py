"""Sentences without images: the files they are read from, and the batches that are made of them."""

import gzip
import json

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.models.packing import unpack
from captioner.text import Tokenizer
from captioner.types import UNK
from training.data.sentences import TextBatches, read_sentences

SENTENCES = ["A dog runs.", 'the sign says "stop"', "一只狗在跑"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The list of bad rows goes to the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.txt", "\n\n".join(SENTENCES)),
        ("text.txt", "\r\n".join(["\ufeff" + SENTENCES[0], *SENTENCES[1:], ""])),
        ("text.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in SENTENCES)),
        (
            "text.jsonl",
            json.dumps({"captions": SENTENCES[:2]}) + "\n" + json.dumps({"caption": SENTENCES[2]}),
        ),
        ("rows.jsonl", "".join(json.dumps({"image": "1.png", "caption": text}) + "\n" for text in SENTENCES)),
        ("rows.json", json.dumps({"1.png": SENTENCES[:2], "2.png": SENTENCES[2:]})),
        ("coco.json", json.dumps({"annotations": [{"image_id": 1, "caption": text} for text in SENTENCES]})),
        ("rows.csv", 'image,caption\n1.png,A dog runs.\n1.png,"the sign says ""stop"""\n2.png,一只狗在跑\n'),
    ],
)
def test_sentences_of_every_kind_of_file(name, content, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert read_sentences(tmp_path / name) == SENTENCES
    if name != "rows.csv":
        with gzip.open(tmp_path / f"{name}.gz", "wb") as file:
            file.write(content.encode())
        assert read_sentences(str(tmp_path / f"{name}.gz")) == SENTENCES


def test_bad_rows_are_listed_and_left_out(tmp_path):
    lines = [
        '{"text": "a dog"}',
        '{"text": "..."}',
        "[1]",
        '{"words": 3}',
        '{"text": "a cat"',
        '{"text": "a cat"}',
    ]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    assert read_sentences(tmp_path / "text.jsonl", max_bad=0.9) == ["a dog", "a cat"]
    rows = [
        json.loads(line) for line in (tmp_path / "cache" / "bad_rows_text.jsonl").read_text().splitlines()
    ]
    assert [row["where"] for row in rows] == [f"text.jsonl:{number}" for number in (2, 3, 4, 5)]
    with pytest.raises(DataError, match="4 of 6 rows") as error:
        read_sentences(tmp_path / "text.jsonl")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.txt", None, "absent.txt"),
        ("empty.txt", b"\n \n", "expected sentences in .*, found none"),
        ("text.txt", b"a dog\ncaf\xe9\n", "not UTF-8"),
        ("text.docx", b"PK\x03\x04", "ends in .txt, .jsonl, .json, .csv, .tsv, got"),
        ("text.txt", b"PK\x03\x04", "expected UTF-8 text, got a zip archive"),
        ("folder", None, "expected a file of sentences"),
    ],
)
def test_wrong_files_are_one_line(name, content, says, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as error:
        read_sentences(tmp_path / name)
    assert "\n" not in str(error.value)


def batches_of(sentences, words=("a", "dog", "runs"), **sizes):
    return TextBatches(
        sentences, Tokenizer(list(words)), 6, (4, 3), **{"batch": 2, "group": 3, "seed": 1, **sizes}
    )


def test_every_sentence_comes_once_with_blank_features():
    tokenizer = Tokenizer(["a", "dog", "runs"])
    sentences = ["a", "a dog", "a dog runs", "dog runs", "runs", "a runs", "dog a"]
    batches = batches_of(sentences)
    for epoch in range(2):
        texts = []
        for batch in batches.epoch(epoch, None, "images"):
            assert batch.inputs["features"].shape == (2, 4, 3) and not batch.inputs["features"].any()
        plan = batches.plan(epoch)
        for chosen in {number: None for numbers in plan for number in numbers}:
            _, packed, _ = batches.packed([chosen])
            texts += [tokenizer.decode(ids.tolist()) for ids in unpack(packed.targets, packed)]
        assert sorted(texts) == sorted(sentences)


def test_unknown_words_are_no_targets():
    batches = batches_of(["a purple dog", "whatever else"])
    assert len(batches.caption_groups) == 1
    (batch,) = batches.epoch(0, None, "features")
    fed = np.concatenate(batch.inputs["steps"])
    assert (batch.targets == UNK).sum() == 1 and (fed == UNK).sum() == 1
    assert batch.weights[batch.targets == UNK].sum() == 0 and batch.weights.sum() == 3, "a, dog and the end"


def test_text_of_another_language_is_refused():
    with pytest.raises(DataError, match="words of the training captions, found none"):
        batches_of(["ein Hund", "zwei Katzen"])
