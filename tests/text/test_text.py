"""Normalisation and the tokenizer, by property and by hand."""

import hashlib
import os
import random
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from captioner.errors import DataError, ModelError
from captioner.text import Tokenizer, words
from captioner.types import END, PAD, SPECIALS, START, UNK

BY_HAND = [
    ("A black dog is running .", "a black dog is running"),
    ("A boy wearing a red t-shirt , smiling !", "a boy wearing a red t shirt smiling"),
    ("someone's hand", "someone s hand"),
    ("someone 's hand", "someone s hand"),
    ("someone’s hand", "someone s hand"),
    ("don't do n't they're", "do nt do nt they re"),
    ("a five o'clock shadow", "a five oclock shadow"),
    ("slip 'n' slide", "slip n slide"),
    ("the S.C.U.B.A. divers of D.C.", "the scuba divers of dc"),
    ("snow.The end", "snow the end"),
    ("<end> <start> <unk> <pad>", "end start unk pad"),
    ("", ""),
    (" ... !? -- ", ""),
    ("tab\tand\nnew\u2028line", "tab and new line"),
    ("snake_case", "snake case"),
    # other languages
    ("L’homme près de l'eau", "l homme près de l eau"),
    ("un po' d'acqua dell'isola", "un po d acqua dell isola"),
    ("Cafe\u0301 CAFÉ", "café café"),
    ("м'яч", "мяч"),
    ("ΣΟΦΟΣ", "σοφος"),
    ("Straße in İstanbul", "straße in i\u0307stanbul"),
    ("एक कुत्ता दौड़ता है।", "एक कुत्ता दौड़ता है"),
    ("او می\u200cدود", "او می\u200cدود"),
    ("كَلْب", "كَلْب"),
    ("soft\u00adhyphen", "softhyphen"),
    # scripts without spaces: a character and its marks
    ("一只狗在雪地里。", "一 只 狗 在 雪 地 里"),
    ("犬がいます", "犬 が い ま す"),
    ("か\u3099", "が"),
    ("สุนัข", "สุ นั ข"),
    ("一只dog", "一 只 dog"),
    ("개가 눈 속을 달린다", "개가 눈 속을 달린다"),
    # emoji
    ("dog🐕 and 👍🏽🇫🇷🇩🇪", "dog 🐕 and 👍🏽 🇫🇷 🇩🇪"),
    ("👩\u200d👩\u200d👧 ❤️ ❤", "👩\u200d👩\u200d👧 ❤ ❤"),
]


@pytest.mark.parametrize(("text", "expected"), BY_HAND)
def test_words_by_hand(text, expected):
    assert words(text) == expected.split(" ") if expected else words(text) == []


def strange_texts(count, seed=0):
    """Random strings from all of Unicode, with many of the characters that have rules of their own."""
    rng = random.Random(seed)
    anything = [
        chr(c) for c in range(0, sys.maxunicode + 1, 7) if unicodedata.category(chr(c)) not in ("Cn", "Cs")
    ]
    special = "abc's.-dlqun t\u200d\u200c\u200b👍🏽🇫🇷狗ส\u0301\u0307İ<>_"
    for _ in range(count):
        yield "".join(
            rng.choice(anything if rng.random() < 0.4 else special) for _ in range(rng.randint(0, 12))
        )


def test_words_are_idempotent():
    for text in strange_texts(20_000):
        tokens = words(text)
        assert words(" ".join(tokens)) == tokens, ascii(text)
        assert words(Tokenizer.detokenize(tokens)) == tokens, ascii(text)
        for word in tokens:
            assert word and unicodedata.is_normalized("NFC", word), ascii(text)
            kinds = {unicodedata.category(char)[0] for char in word}
            assert not kinds & {"P", "Z"}, ascii(text)


def test_words_does_not_depend_on_unicode_form():
    for text in ("Café près", "が", "Việt Nam", "한국어"):
        assert words(unicodedata.normalize("NFD", text)) == words(text)


CAPTIONS = ["A dog runs .", "a dog sleeps", "The dog's ball", "a cat and a ball", "the zebra"]


def test_fit_orders_by_count_then_word():
    tok = Tokenizer.fit(CAPTIONS, min_count=1)
    assert tok.vocabulary == (
        *SPECIALS, "a", "dog", "ball", "the", "and", "cat", "runs", "s", "sleeps", "zebra",
    )  # fmt: skip
    shuffled = CAPTIONS[::-1]
    assert Tokenizer.fit(shuffled, min_count=1) == tok
    assert Tokenizer.fit(shuffled, min_count=1).fingerprint == tok.fingerprint


def test_fit_keeps_the_most_frequent_words():
    tok = Tokenizer.fit(CAPTIONS, min_count=2)
    assert tok.vocabulary[4:] == ("a", "dog", "ball", "the")
    assert Tokenizer.fit(CAPTIONS, min_count=1, max_size=2).vocabulary[4:] == ("a", "dog")
    assert tok.id("zebra") == UNK
    assert tok.decode(tok.encode("the zebra")) == "the <unk>"


def test_fit_takes_an_iterator():
    assert len(Tokenizer.fit((c for c in CAPTIONS), min_count=2)) == 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Tokenizer.fit(["a dog", " . "], min_count=1), "caption 1"),
        (lambda: Tokenizer.fit(["a dog"]), "no word occurs 5 times"),
        (lambda: Tokenizer.fit([]), "no word occurs"),
        (lambda: Tokenizer.fit("a dog"), "got one string"),
        (lambda: Tokenizer.fit(["a dog"], min_count=0), "min_count"),
        (lambda: Tokenizer.fit(["a dog"], max_size=0, min_count=1), "max_size"),
        (lambda: Tokenizer.fit([None], min_count=1), "NoneType"),
        (lambda: Tokenizer([]), "empty vocabulary"),
        (lambda: Tokenizer("dog"), "got one string"),
        (lambda: Tokenizer(["a", "dog", "a"]), "word 3 of 3, 'a', is also word 1"),
        (lambda: Tokenizer(["a", ""]), "word 2 of 2 is ''"),
        (lambda: Tokenizer(["ice cream"]), "white space"),
        (lambda: Tokenizer(["a\n"]), "white space"),
        (lambda: Tokenizer(["<end>"]), "special"),
        (lambda: Tokenizer([3]), "int"),
        (lambda: Tokenizer(["\ud800"]), "UTF-8"),
        (lambda: Tokenizer(["a"]).encode(" ! "), "empty caption"),
        (lambda: Tokenizer(["a"]).encode(None), "NoneType"),
        (lambda: Tokenizer(["a"]).encode("a", max_length=0), "max_length"),
    ],
)  # fmt: skip
def test_invalid_vocabularies_and_captions_are_one_line(call, message):
    with pytest.raises(DataError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_never_reaches_a_special_id_but_unk():
    tok = Tokenizer(["end", "a"])
    for special in SPECIALS:
        assert tok.id(special) == UNK
        assert not set(tok.encode(f"a {special} a")[:-1]) & {PAD, START, END}
    assert tok.encode("a <end> a") == [5, 4, 5, END]
    for text in strange_texts(2_000, seed=1):
        if words(text):
            ids = tok.encode(text)
            assert ids[-1] == END and not set(ids[:-1]) & {PAD, START, END}


def test_encode_ends_unless_cut():
    tok = Tokenizer(["a", "dog"])
    assert tok.encode("a dog") == [4, 5, END]
    assert tok.encode("a dog", max_length=3) == [4, 5, END]
    assert tok.encode("a dog", max_length=2) == [4, 5]
    assert tok.encode("a dog", max_length=1) == [4]


def test_decode_stops_at_the_end_token():
    tok = Tokenizer(["a", "dog"])
    assert tok.decode([START, 4, PAD, 5, END, 4, 4]) == "a dog"
    assert tok.decode(np.array([4, 5, END, PAD], np.int32)) == "a dog"
    assert tok.words([4, UNK, 5]) == ("a", "<unk>", "dog")
    assert tok.decode([]) == tok.decode([END]) == ""
    for beyond in (6, -1):
        with pytest.raises(ModelError, match=r"from 0 to 5, got"):
            tok.decode([4, beyond])


def test_ids_and_words_are_inverse():
    tok = Tokenizer.fit(CAPTIONS, min_count=1)
    for i in range(4, len(tok)):
        assert tok.id(tok.word(i)) == i
        assert tok.vocabulary[i] == tok.word(i)


def test_captions_survive_encode_and_decode_in_any_language():
    texts = [text for text, _ in BY_HAND if words(text)]
    texts += [text for text in strange_texts(2_000, seed=2) if words(text)]
    tok = Tokenizer.fit(texts, min_count=1)
    for text in texts:
        ids = tok.encode(text)
        assert list(tok.words(ids)) == words(text)
        assert tok.encode(tok.decode(ids)) == ids


def test_sentences_of_unspaced_scripts_have_no_spaces():
    for sentence in ("一只狗在雪地里", "สุนัขวิ่ง", "犬 abc 犬"):
        assert Tokenizer.detokenize(words(sentence)) == sentence


def test_save_and_load_give_the_same_vocabulary(tmp_path):
    texts = [text for text in strange_texts(2_000, seed=3) if words(text)]
    tok = Tokenizer.fit(texts, min_count=1)
    tok.save(tmp_path / "vocab")
    assert Tokenizer.load(tmp_path / "vocab") == tok
    assert Tokenizer.load(tmp_path / "vocab").fingerprint == tok.fingerprint
    content = (tmp_path / "vocab").read_bytes()
    assert hashlib.sha256(content).hexdigest() == tok.fingerprint
    assert content.decode("utf-8").split("\n")[:-1] == list(tok.vocabulary[4:])
    assert os.listdir(tmp_path) == ["vocab"]


def test_save_takes_words_that_look_strange(tmp_path):
    tok = Tokenizer(["#", "<END>", "--", "\\n", "'s", "\x00", "a\u200db", "Ａ"])
    tok.save(str(tmp_path / "v"))
    assert Tokenizer.load(str(tmp_path / "v")) == tok


def test_save_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "vocab"
    Tokenizer(["old"]).save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        Tokenizer(["new"]).save(path)
    monkeypatch.undo()
    assert Tokenizer.load(path) == Tokenizer(["old"])
    assert os.listdir(tmp_path) == ["vocab"]
    Tokenizer(["new"]).save(path)
    assert Tokenizer.load(path) == Tokenizer(["new"])


def test_load_reads_files_from_other_editors(tmp_path):
    (tmp_path / "v").write_bytes(b"\xef\xbb\xbfa\r\ndog")
    assert Tokenizer.load(tmp_path / "v") == Tokenizer(["a", "dog"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "empty vocabulary"),
        (b"a\n\ndog\n", "word 2 of 3"),
        (b"a\ndog\na\n", "duplicate"),
        (b"a\n\xff\n", "UTF-8"),
        (b"<pad>\n<start>\n", "special"),
    ],
)
def test_load_errors_are_one_line(tmp_path, content, message):
    path = tmp_path / "vocab"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Tokenizer.load(path)
    assert str(path) in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_save_below_a_file_is_one_line(tmp_path):
    (tmp_path / "no").write_text("a file")
    with pytest.raises(DataError, match="^cannot write.*(File exists|Not a directory)"):
        Tokenizer(["a"]).save(tmp_path / "no" / "vocab")


def test_other_vocabularies_have_other_fingerprints():
    prints = {Tokenizer(v).fingerprint for v in (["a", "b"], ["b", "a"], ["ab"], ["a"])}
    assert len(prints) == 4


def test_text_needs_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import captioner.text.normalize; "
        "print({m.split('.')[0] for m in set(sys.modules) - before} & {'tensorflow', 'keras', 'nltk'})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
