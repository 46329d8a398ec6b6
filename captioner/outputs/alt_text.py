"""Alternative texts for the web: a caption as a sentence of bounded length, marked when it is uncertain.

English only. No TensorFlow here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from captioner import checks
from captioner.errors import DataError
from captioner.metrics.endings import FUNCTION_WORDS
from captioner.types import Caption

LONGEST = 125  # characters; many screen readers read as many without a pause
SHORTEST = 20  # characters; a lower limit leaves no room for a sentence
THRESHOLD = 0.5
_HEDGE = "Perhaps: "
# Screen readers announce images themselves.
_OPENING = re.compile(
    r"^(?:(?:this|here|there|it) is )?(?:an? |the )?"
    r"(?:(?:close ?-?up|blurry|blurred|old|color|colou?red|black[ -]and[ -]white|aerial|overhead|still) )?"
    r"(?:(?:image|picture|photo|photograph|snapshot|shot|view|drawing|painting|close ?-?up) of"
    r"|(?:image|picture|photo|photograph) (?:shows|showing|depicts|with)) ",
    re.I,
)
# Words that cannot end a sentence.
_OPEN = FUNCTION_WORDS | set(
    [
        "through",
        "over",
        "into",
        "behind",
        "down",
        "up",
        "beside",
        "around",
        "across",
        "along",
        "between",
        "under",
    ]
    + ["above", "against", "during", "while", "as", "wearing", "holding", "carrying", "who", "which", "some"]
)


@dataclass(frozen=True)
class AltText:
    """An alternative text.

    Attributes:
        text: str. A sentence, with a hedge if it is flagged and `hedge` was set; also the `str()` of the object.
        confidence: float or None. The probability that a person would accept the caption; None where the model was
            never calibrated.
        flagged: bool. Whether the confidence is known and below the threshold.
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
) -> AltText:
    """Turns a caption into an alternative text: no "an image of", a capital, a full stop, a bounded length.

    A caption that is too long is replaced by the best of its alternatives that fits; if none fits, it is truncated
    after a word that can end a sentence.

    Args:
        caption: `Caption`.
        max_length: int, default 125. Largest number of characters, full stop and hedge included; at least 20.
        confidence: float, default None. The probability that a person would accept the caption; see
            `Captioner.confidence`.
        threshold: float, default 0.5. With a lower confidence the text begins with "Perhaps: ".
        hedge: bool, default True. False for a page that shows `AltText.flagged` separately: the text never begins with
            "Perhaps: ".

    Returns:
        `AltText`.

    Raises:
        SpecError: if `max_length` or `threshold` is out of range.
        DataError: if there is no caption.

    Example:
        >>> caption = Caption("a photo of a dog that runs", words=tuple("a photo of a dog that runs".split()))
        >>> alt_text(caption).text, alt_text(caption, confidence=0.2).text
        ('A dog that runs.', 'Perhaps: A dog that runs.')
        >>> alt_text(caption, confidence=0.2, hedge=False)
        AltText(text='A dog that runs.', confidence=0.2, flagged=True)
        >>> alt_text(Caption("a dog runs through the snow near a tree"), max_length=24).text
        'A dog runs.'
    """
    checks.integer(max_length, "max_length", SHORTEST, unit="characters")
    checks.number(threshold, "threshold", 0, 1)
    if not caption.ok or not caption.text.strip():
        raise DataError(f"expected a caption to make a text of, got none: {caption.error or 'it is empty'}")
    flagged = confidence is not None and confidence < threshold
    prefix = _HEDGE if flagged and hedge else ""
    limit = max_length - len(prefix)
    sentences = [
        _sentence(candidate.text) for candidate in (caption, *caption.alternatives) if candidate.text.strip()
    ]
    sentence = next((s for s in sentences if len(s) <= limit), None) or _truncated(sentences[0], limit)
    return AltText(prefix + sentence, confidence, flagged)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    plain = _OPENING.sub("", text).rstrip(" .,;:") or text
    return plain[0].upper() + plain[1:] + ("" if plain[-1] in "!?" else ".")


def _truncated(sentence: str, limit: int) -> str:
    """The longest prefix of at most `limit` characters that does not end in the middle of a phrase."""
    words = sentence.split()
    while len(words) > 1 and (len(" ".join(words)) >= limit or words[-1].lower().strip(".,;") in _OPEN):
        words.pop()
    return " ".join(words)[: limit - 1].rstrip(" .,;:") + "."
