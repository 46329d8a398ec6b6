"""Alternative texts: their form, their length, and flags of low confidence."""

import json

import numpy as np
import pytest

import captioner
from captioner import api
from captioner.cli import caption as caption_command
from captioner.cli import main
from captioner.engines.fake import FakeEngine
from captioner.errors import BundleError, DataError, SpecError
from captioner.outputs.alt_text import alt_text
from captioner.text.languages import rules
from captioner.types import Caption

SURE = {"bias": 3.0, "weights": {"mean_logp": 0.0, "least_logp": 0.0, "words": 0.0}}


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("a dog runs", "A dog runs."),
        ("a photo of a dog .", "A dog."),
        ("this is a picture of two dogs", "Two dogs."),
        ("there is an image of the sea", "The sea."),
        ("a black and white photo of a man", "A man."),
        ("a close up of a cat", "A cat."),
        ("a picture showing three boys", "Three boys."),
        ("the picture shows a white star", "A white star."),
        # These speak of images and are no openings.
        ("a man holds a picture of a dog", "A man holds a picture of a dog."),
        ("a girl drawing with chalk", "A girl drawing with chalk."),
        ("there is a dog in the snow", "There is a dog in the snow."),
        ("a photo of", "A photo of."),
        ("élan of the sea", "Élan of the sea."),
        ("who is it ?", "Who is it ?"),
    ],
)
def test_sentences(caption, text):
    assert alt_text(Caption(caption)).text == text


@pytest.mark.parametrize(
    ("language", "caption", "text"),
    [
        (
            "de",
            "ein hund rennt durch den schnee",
            "Ein hund rennt durch den schnee.",
        ),  # nouns stay in lower case
        ("de", "auf dem bild ist ein hund zu sehen", "Ein hund."),
        ("de", "auf diesem foto sind zwei hunde zu sehen die spielen", "Zwei hunde die spielen."),
        ("de", "das bild zeigt eine frau mit hut", "Eine frau mit hut."),
        # What follows is no nominative: the opening stays.
        ("de", "das bild zeigt einen hund", "Das bild zeigt einen hund."),
        ("de", "ein foto von einem hund", "Ein foto von einem hund."),
        ("de", "a photo of a dog", "A photo of a dog."),
        ("de", "ein mann schaut zu", "Ein mann schaut zu."),
        ("fr", "une photo d un chien", "Une photo d un chien."),
        ("und", "a photo of a dog", "A photo of a dog."),
        ("zh", "一只狗在雪地里奔跑", "一只狗在雪地里奔跑。"),
        ("zh", "一只狗。", "一只狗。"),
        ("zh", "一只 dog", "一只 dog."),
        ("zh", "谁在那里？", "谁在那里？"),
        ("ja", "犬がいます", "犬がいます。"),
        ("ar", "كلب يركض في الثلج", "كلب يركض في الثلج."),
        ("ar", "كلب، ", "كلب."),
        ("ar", "هل هذا كلب؟", "هل هذا كلب؟"),
        ("th", "สุนัขวิ่ง", "สุนัขวิ่ง"),
        ("hi", "एक कुत्ता दौड़ता है", "एक कुत्ता दौड़ता है।"),
    ],
)
def test_sentences_of_other_languages(language, caption, text):
    assert alt_text(Caption(caption), language=language).text == text


@pytest.mark.parametrize(
    ("language", "hedge"),
    [("en", "Perhaps: "), ("de", "Vielleicht: "), ("de-AT", "Vielleicht: "), ("ar", "(?) ")],
)
def test_the_hedge_is_in_the_language(language, hedge):
    unsure = alt_text(Caption("x y z"), confidence=0.1, language=language)
    assert unsure.flagged and unsure.text == hedge + "X y z."


def test_texts_of_other_languages_are_cut_where_they_may_end():
    german = Caption("ein mann mit einem roten hut steht neben einem hund und schaut zu")
    # "neben einem", "und", and words that end sentences but no text that is cut.
    texts = {
        len(text): text for most in range(20, 80) if (text := alt_text(german, most, language="de").text)
    }
    ends = {text.rstrip(".").split()[-1] for text in texts.values()}
    assert ends == {"mann", "roten", "hut", "steht", "hund", "schaut", "zu"}
    chinese = alt_text(Caption("一只狗在雪地里奔跑" * 5), 20, language="zh").text
    assert chinese == ("一只狗在雪地里奔跑" * 5)[:19] + "。"
    # A letter is not parted from its vowel sign.
    thai = alt_text(Caption("กิ" * 20), 21, language="th").text
    assert thai == "กิ" * 10
    arabic = alt_text(Caption("كلب أسود يركض في الثلج الأبيض"), 24, language="ar").text
    assert arabic == "كلب أسود يركض في الثلج."


def test_texts_are_short_and_complete():
    caption = "a man in the red jacket is riding on a bicycle with a dog in the basket near the sea"
    for confidence in (None, 0.1):
        for most in range(20, 120):
            alternative = alt_text(Caption(caption), most, confidence)
            assert len(alternative.text) <= most and alternative.text.endswith(".")
            last = alternative.text.rstrip(".").split()[-1].lower()
            assert last not in rules("en").function_words | rules("en").unfinished
            if most >= 95:
                assert alternative.text.endswith("near the sea.")
    # As much is kept as fits.
    assert alt_text(Caption("two dogs run fast today"), 20).text == "Two dogs run fast."
    assert alt_text(Caption("x" * 50), 20).text == "X" + "x" * 18 + "."


def test_an_alternative_that_fits_comes_before_cutting():
    long = "a brown dog is running through the deep green grass"
    caption = Caption(long, alternatives=(Caption(long + " fast"), Caption("a dog runs through grass")))
    assert alt_text(caption, 40).text == "A dog runs through grass."
    assert alt_text(caption, 60).text.startswith("A brown dog")


def test_low_confidence_is_flagged():
    caption = Caption("a dog runs")
    known = alt_text(caption, confidence=0.49)
    assert known.flagged and str(known) == "Perhaps: A dog runs." and known.confidence == 0.49
    assert not alt_text(caption, confidence=0.5).flagged
    assert not alt_text(caption, confidence=0.49, threshold=0.4).flagged
    # Without a hedge the text is the sentence only, of the full length.
    beside = alt_text(caption, confidence=0.49, hedge=False)
    assert beside.flagged and beside.text == "A dog runs." and beside.confidence == 0.49
    long = Caption("two dogs run fast today")
    assert alt_text(long, 24, 0.1, hedge=False).text == "Two dogs run fast today."
    assert len(alt_text(long, 24, 0.1).text) <= 24
    unknown = alt_text(caption)
    assert unknown.confidence is None and not unknown.flagged


@pytest.mark.parametrize(
    ("caption", "options", "error", "says"),
    [
        (Caption("a dog"), {"max_length": 19}, SpecError, "at least 20 characters, got 19"),
        (Caption("a dog"), {"max_length": True}, SpecError, "got True"),
        (Caption("a dog"), {"language": "German"}, SpecError, "language expects a code"),
        (Caption("a dog"), {"threshold": 1.5}, SpecError, "from 0 to 1, got 1.5"),
        (Caption("", error="not an image"), {}, DataError, "got none: not an image"),
        (Caption(""), {}, DataError, "it is empty"),
    ],
)
def test_mistakes_are_one_line(caption, options, error, says):
    with pytest.raises(error, match=says):
        captioner.alt_text(caption, **options)


class Calibrated(FakeEngine):
    def __init__(self, calibration):
        super().__init__()
        self.calibration = calibration

    def describe(self):
        return super().describe() | {"confidence": self.calibration}


class German(Calibrated):
    def describe(self):
        return super().describe() | {"language": "de"}


IMAGE = np.zeros((8, 8, 3), np.uint8)


def test_a_captioner_makes_texts_of_images():
    plain = api.Captioner(FakeEngine()).alt_text(IMAGE)
    assert plain.confidence is None and plain.text[0] == "A" and plain.text[-1] == "."
    sure = api.Captioner(Calibrated(SURE)).alt_text(IMAGE)
    assert sure.confidence == pytest.approx(0.9526, abs=1e-4) and not sure.flagged
    unsure = api.Captioner(Calibrated({**SURE, "bias": -3.0})).alt_text(IMAGE)
    assert unsure.flagged and unsure.text == "Perhaps: " + sure.text
    assert not api.Captioner(Calibrated({**SURE, "bias": -3.0})).alt_text(IMAGE, threshold=0.01).flagged
    german = api.Captioner(German({**SURE, "bias": -3.0}))
    assert german.language == "de" and german.alt_text(IMAGE).text.startswith("Vielleicht: ")
    assert german.alt_text(IMAGE, language="en").text == unsure.text
    assert api.Captioner(FakeEngine()).language == "en"
    with pytest.raises(BundleError, match="damaged calibration"):
        api.Captioner(Calibrated({"bias": 1})).alt_text(IMAGE)


@pytest.fixture
def unsure(monkeypatch, tmp_path):
    import PIL.Image

    monkeypatch.setattr(
        caption_command, "load", lambda source: api.Captioner(Calibrated({**SURE, "bias": -3.0}))
    )
    for name in ("a.png", "b.png"):
        PIL.Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    (tmp_path / "c.png").write_text("no image")
    return tmp_path


def test_the_command_line(unsure, capsys):
    assert main(["caption", str(unsure / "a.png"), "--alt-text"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Perhaps: A ") and out.endswith(".\n")
    assert main(["caption", str(unsure), "--alt-text", "--json", "--max-chars", "30"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["flagged"] for row in rows] == [True, True, False]
    assert all(len(row["alt_text"]) <= 30 for row in rows) and rows[2]["alt_text"] == ""
    assert rows[0]["confidence"] == pytest.approx(0.0474, abs=1e-4) and rows[2]["confidence"] is None
    assert main(["caption", str(unsure / "a.png"), "--alt-text", "--language", "de"]) == 0
    assert capsys.readouterr().out.startswith("Vielleicht: A ")
    # The caption itself is untouched.
    assert rows[0]["caption"] == " ".join(rows[0]["words"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--language", "de"], "pass --alt-text too"),
        (["--alt-text", "--language", "German"], "--language expects a code"),
        (["--max-chars", "50"], "pass --alt-text too"),
        (["--alt-text", "--max-chars", "0"], "got 0"),
    ],
)
def test_mistakes_on_the_command_line(unsure, capsys, options, says):
    assert main(["caption", str(unsure / "a.png"), *options]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
