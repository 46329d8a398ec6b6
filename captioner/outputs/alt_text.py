"""Alternative texts for the web: a caption as a sentence of bounded length that states its uncertainty.

English only. No TensorFlow here. The module is not called after its function; see `captioner.outputs.heatmap`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from captioner import checks
from captioner.errors import DataError
from captioner.metrics.endings import FUNCTION_WORDS
from captioner.types import Caption

LONGEST = 125  # characters; what many screen readers read in one go
SHORTEST = 20  # a bound below it leaves no sentence
THRESHOLD = 0.5
_HEDGE = "Perhaps: "
# A screen reader has already said that there is an image.
_OPENING = re.compile(
    r"^(?:(?:this|here|there|it) is )?(?:an? |the )?"
    r"(?:(?:close ?-?up|blurry|blurred|old|color|colou?red|black[ -]and[ -]white|aerial|overhead|still) )?"
    r"(?:(?:image|picture|photo|photograph|snapshot|shot|view|drawing|painting|close ?-?up) of"
    r"|(?:image|picture|photo|photograph) (?:shows|showing|depicts|with)) ",
    re.I,
)
# Words that leave a sentence hanging in the air.
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
        text: str. A sentence, hedged where it is flagged unless that was not wanted; `str()` gives it too.
        confidence: float or None. The chance, from 0 to 1, that a person would accept the caption; None where the
            model was never calibrated.
        flagged: bool. Whether the confidence is known and too low to state the caption as a fact.
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
    """Makes an alternative text of a caption: no "an image of", a capital, a full stop, not too long.

    A caption that is too long gives way to the best of its alternatives that fits; where none does, it is cut behind a
    word that can end a sentence.

    Args:
        caption: `Caption`.
        max_length: int, default 125. Most characters, full stop and hedge included; at least 20.
        confidence: float, default None. The chance that a person would accept the caption; see
            `Captioner.confidence`.
        threshold: float, default 0.5. A confidence below it is too low: the text then begins with "Perhaps: ".
        hedge: bool, default True. False for a table or a page that shows `AltText.flagged` in a place of its own: the
            text is then the sentence alone, whatever the confidence.

    Returns:
        `AltText`.

    Raises:
        SpecError: if `max_length` or `threshold` is out of range.
        DataError: if there is no caption.

    Example:
        >>> said = Caption("a photo of a dog that runs", words=tuple("a photo of a dog that runs".split()))
        >>> alt_text(said).text, alt_text(said, confidence=0.2).text
        ('A dog that runs.', 'Perhaps: A dog that runs.')
        >>> alt_text(said, confidence=0.2, hedge=False)
        AltText(text='A dog that runs.', confidence=0.2, flagged=True)
        >>> alt_text(Caption("a dog runs through the snow near a tree"), max_length=24).text
        'A dog runs.'
    """
    checks.integer(max_length, "max_length", SHORTEST, unit="characters")
    checks.number(threshold, "threshold", 0, 1)
    if not caption.ok or not caption.text.strip():
        raise DataError(f"expected a caption to make a text of, got none: {caption.error or 'it is empty'}")
    flagged = confidence is not None and confidence < threshold
    opening = _HEDGE if flagged and hedge else ""
    room = max_length - len(opening)
    sentences = [
        _sentence(candidate.text) for candidate in (caption, *caption.alternatives) if candidate.text.strip()
    ]
    fitting = next((s for s in sentences if len(s) <= room), None) or _cut(sentences[0], room)
    return AltText(opening + fitting, confidence, flagged)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    plain = _OPENING.sub("", text).rstrip(" .,;:") or text
    return plain[0].upper() + plain[1:] + ("" if plain[-1] in "!?" else ".")


def _cut(sentence: str, room: int) -> str:
    """The longest beginning that fits and does not stop in the middle of a phrase."""
    words = sentence.split()
    while len(words) > 1 and (len(" ".join(words)) >= room or words[-1].lower().strip(".,;") in _OPEN):
        words.pop()
    return " ".join(words)[: room - 1].rstrip(" .,;:") + "."
