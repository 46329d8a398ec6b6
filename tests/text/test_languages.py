"""The rules of languages, and captions of scripts without spaces and from right to left."""

import pytest

from captioner.errors import SpecError
from captioner.text import Tokenizer, words
from captioner.text.languages import LANGUAGES, detect, function_word_shares, rules
from captioner.types import END, UNK
from tests.support.captions_of_languages import CAPTIONS

WITH_RULES = [code for code, language in LANGUAGES.items() if language.function_words]


@pytest.mark.parametrize("code", CAPTIONS)
def test_languages_are_detected_and_others_are_neutral(code):
    expected = code if code in WITH_RULES else "und"
    assert detect(CAPTIONS[code]) == expected
    assert detect([caption.upper() for caption in CAPTIONS[code]] * 2000) == expected


def test_what_is_not_clear_is_neutral():
    assert detect([]) == "und" and detect(["", " ."]) == "und"
    assert detect(["rose", "yellow lily", "red tulip"]) == "und"
    assert detect([*CAPTIONS["en"], *CAPTIONS["de"]]) == "und"  # as much English as German
    # Some captions of another language do not change that of all others.
    assert detect([*CAPTIONS["de"] * 9, *CAPTIONS["en"]]) == "de"


def test_one_word_is_no_language():
    """The most frequent function word does not count: other languages have it too."""
    shares = function_word_shares(["a " * 50 + "dog"])
    assert shares == {"en": 0, "de": 0}
    assert function_word_shares(["in the a dog"])["en"] == 0.5


@pytest.mark.parametrize("code", LANGUAGES)
def test_words_of_rules_are_normalised_words(code):
    language = LANGUAGES[code]
    for word in language.function_words | language.unfinished | language.without_content:
        assert words(word) == [word]
    assert not language.function_words & language.unfinished
    assert {language.opposites[other] for other in language.opposites.values()} == set(language.opposites)
    assert bool(language.opposites) == (language.sides is not None)


def test_rules_are_those_of_the_first_part_of_a_code():
    assert rules("de-CH") is rules("de") is LANGUAGES["de"]
    assert rules("fr") is rules("zh-Hant") is LANGUAGES["und"]
    for wrong in ("German", "DE", "", "de_DE", None, "en\n"):
        with pytest.raises(SpecError, match="language expects a code such as 'en'"):
            rules(wrong)


@pytest.mark.parametrize(
    ("code", "decoded"),
    [
        ("zh", "一只狗在雪地里奔跑"),
        ("ar", "كلب يركض في الثلج"),
        ("de", "ein hund rennt durch den schnee"),
    ],
)
def test_a_vocabulary_of_any_script_gives_its_captions_back(tmp_path, code, decoded):
    tokenizer = Tokenizer.fit(CAPTIONS[code], min_count=1)
    encoded = tokenizer.encode(CAPTIONS[code][0])
    assert encoded[-1] == END and UNK not in encoded and len(encoded) == len(words(decoded)) + 1
    assert tokenizer.decode(encoded) == decoded and Tokenizer.detokenize(words(decoded)) == decoded
    tokenizer.save(tmp_path / "vocab.txt")
    assert Tokenizer.load(tmp_path / "vocab.txt").vocabulary == tokenizer.vocabulary


def test_arabic_marks_and_digits_are_parts_of_words():
    # Vowel signs stay with their letters, and punctuation of the script separates words.
    assert words("كَلْبٌ، وَقِطَّةٌ؟") == ["كَلْبٌ", "وَقِطَّةٌ"]
    assert words("٣ كلاب") == ["٣", "كلاب"]
    # A direction mark is no part of a word.
    assert words("\u200fكلب\u200e") == ["كلب"]
