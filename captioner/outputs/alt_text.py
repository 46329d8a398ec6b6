"""Alternative texts for the web: a caption as a sentence of bounded length, marked when it is uncertain.

The words of a language are in `captioner.text.languages`; the full stop follows from the script. No TensorFlow here.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from captioner import checks
from captioner.errors import DataError
from captioner.text.languages import ENGLISH, Language, rules
from captioner.types import DECLINED, HEDGED, Caption

LONGEST = 125  # characters; many screen readers read as many without a pause
SHORTEST = 20  # characters; a lower limit leaves no room for a sentence
THRESHOLD = 0.5
_TRAILING = " .,;:。，、；：،؛۔।"  # what may stand at the end of a caption, and is replaced by a full stop
_CLOSED = "!?！？؟"
# Full stops by the first word of a letter's Unicode name, where they are not ".": what ends a sentence is a property of
# the script.
_FULL_STOPS = {
    **dict.fromkeys(["CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "BOPOMOFO"], "。"),
    **dict.fromkeys(["DEVANAGARI", "BENGALI", "GURMUKHI", "ORIYA"], "।"),
    **dict.fromkeys(["THAI", "LAO"], ""),
    "MYANMAR": "။",
    "KHMER": "។",
    "ETHIOPIC": "።",
    "ARMENIAN": "։",
}


@dataclass(frozen=True)
class AltText:
    """An alternative text.

    Attributes:
        text: str. A sentence, with a hedge if it is flagged and `hedge` was set; also the `str()` of the object.
        confidence: float or None. The probability that a person would accept the caption; None where the model was
            never calibrated.
        flagged: bool. Whether the text may well be wrong: the confidence is below the threshold, or the outcome of the
            caption is not "caption" (`captioner.types.OUTCOMES`).
    """

    text: str
    confidence: float | None = None
    flagged: bool = False

    def __str__(self) -> str:
        return self.text


def alt_text(
    caption: Caption,
    max_length: int = LONGEST,
    confidence: float | None = None,
    threshold: float = THRESHOLD,
    hedge: bool = True,
    language: str = ENGLISH,
) -> AltText:
    """Turns a caption into an alternative text: no "an image of", a capital, a full stop, a bounded length.

    A caption that is too long is replaced by the best of its alternatives that fits; if none fits, it is truncated
    after a word that can end a sentence. Only the first letter becomes a capital, in German too: models write nouns in
    lower case, as captions are normalised. The full stop is that of the script ("。" after Chinese, none after Thai).
    The text of an image that the model has declined to caption says so.

    Args:
        caption: `Caption`.
        max_length: int, default 125. Largest number of characters, full stop and hedge included; at least 20.
        confidence: float, default None. The probability that a person would accept the caption; see
            `Captioner.confidence`.
        threshold: float, default 0.5. With a lower confidence the text begins with "Perhaps: ".
        hedge: bool, default True. False for a page that shows `AltText.flagged` separately: the text never begins with
            "Perhaps: ".
        language: str, default "en". The language of the caption; see `captioner.text.languages`. The hedge is
            "Vielleicht: " in German ("de"), "(?) " in a language without rules.

    Returns:
        `AltText`.

    Raises:
        SpecError: if `max_length` or `threshold` is out of range, or `language` is no code.
        DataError: if there is no caption.

    Example:
        >>> caption = Caption("a photo of a dog that runs", words=tuple("a photo of a dog that runs".split()))
        >>> alt_text(caption).text, alt_text(caption, confidence=0.2).text
        ('A dog that runs.', 'Perhaps: A dog that runs.')
        >>> alt_text(caption, confidence=0.2, hedge=False)
        AltText(text='A dog that runs.', confidence=0.2, flagged=True)
        >>> alt_text(Caption("no caption ...", words=("a", "dog"), outcome="declined", sentence="a dog")).text
        'No caption: unlike anything this model was trained on.'
        >>> alt_text(Caption("a dog runs through the snow near a tree"), max_length=24).text
        'A dog runs.'
        >>> alt_text(Caption("auf dem bild ist ein hund zu sehen"), language="de").text
        'Ein hund.'
    """
    spoken = rules(language)
    checks.integer(max_length, "max_length", SHORTEST, unit="characters")
    checks.number(threshold, "threshold", 0, 1)
    if caption.ok and caption.outcome == DECLINED:
        return AltText(_declined(spoken, max_length), confidence, flagged=True)
    if not caption.ok or not caption.caption.strip():
        raise DataError(f"expected a caption to make a text of, got none: {caption.error or 'it is empty'}")
    flagged = caption.outcome == HEDGED or (confidence is not None and confidence < threshold)
    prefix = spoken.hedge if flagged and hedge else ""
    return AltText(prefix + _fitting(caption, max_length - len(prefix), spoken), confidence, flagged)


def _fitting(caption: Caption, limit: int, language: Language) -> str:
    """The first sentence of the n-best list that has at most `limit` characters, or the best one truncated."""
    captions = (candidate.caption for candidate in (caption, *caption.alternatives))
    sentences = [_sentence(text, language) for text in captions if text.strip()]
    return next((s for s in sentences if len(s) <= limit), None) or _truncated(sentences[0], limit, language)


def _declined(language: Language, max_length: int) -> str:
    """What stands in place of a caption, without its reason where that does not fit; a mere sign stays as it is."""
    text = language.declined
    if not any(char.isalpha() for char in text):
        return text
    if len(sentence := _sentence(text, language)) > max_length:
        sentence = _truncated(_sentence(text.partition(":")[0], language), max_length, language)
    return sentence


def _sentence(text: str, language: Language) -> str:
    text = " ".join(text.split())
    plain = text
    for opening, replacement in language.openings:
        plain = opening.sub(replacement, plain)
    plain = plain.strip().rstrip(_TRAILING) or text
    return plain[0].upper() + plain[1:] + _full_stop(plain)


def _truncated(sentence: str, limit: int, language: Language) -> str:
    """The longest prefix of at most `limit` characters that does not end in the middle of a phrase."""
    stop = _full_stop(sentence.rstrip(_TRAILING + _CLOSED))
    room = limit - len(stop)
    words = sentence.rstrip(_TRAILING).split()
    open_words = language.function_words | language.unfinished
    while len(words) > 1 and (
        len(" ".join(words)) > room or words[-1].lower().strip(_TRAILING) in open_words
    ):
        words.pop()
    text = " ".join(words)
    if len(text) > room:  # one long word, or a script without spaces
        while (
            unicodedata.category(text[room])[0] == "M" and room > 1
        ):  # a mark belongs to the letter before it
            room -= 1
        text = text[:room]
    return text.rstrip(_TRAILING) + stop


def _full_stop(text: str) -> str:
    """The full stop after a text: none after "!" or "?", else that of the script of its last letter.

    Example:
        >>> _full_stop("a dog"), _full_stop("一只狗"), _full_stop("who is it ?")
        ('.', '。', '')
    """
    if text[-1:] in _CLOSED:
        return ""
    letter = next((char for char in reversed(text) if unicodedata.category(char)[0] == "L"), "")
    script = unicodedata.name(letter, "").partition(" ")[0] if letter else ""
    return _FULL_STOPS.get(script, ".")
