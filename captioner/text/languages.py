"""The rules of languages: words that cannot end a sentence, openings of alternative texts, left and right.

One row for each language whose rules are known, and the neutral row `und` (BCP 47: undetermined) without any word of
a language. A language without a row has the rules of `und`: its captions are trained, scored and shown like all others,
but no bad endings are counted, no opening is dropped, and left and right cannot be swapped.

Normalised captions are in lower case (`captioner.text.normalize`), so models write German nouns without capitals, and
`captioner.alt_text` gives a capital to the first letter only: "Ein hund rennt durch den schnee." To write the others
as well it would have to know which words are nouns.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from captioner import checks
from captioner.text.normalize import words

ENGLISH, GERMAN, NEUTRAL = "en", "de", "und"
_SAMPLE = 2000  # captions that `detect` reads
_CLEAR = 0.15  # share of words


@dataclass(frozen=True, eq=False)
class Language:
    """The rules of a language; the defaults are those of `und`.

    Attributes:
        name: str. In English.
        function_words: words that begin a phrase and cannot end a caption; see `captioner.metrics.endings`.
        unfinished: further words that cannot end a text which is cut.
        without_content: further words that name nothing visible, left out of word confusions.
        openings: pairs of an expression and its replacement. What alternative texts drop, as screen readers announce
            images themselves; only where the rest is a sentence or phrase in the right case.
        hedge: str. What a text begins with that may well be wrong.
        declined: str. What stands in place of a caption for an image unlike anything that the model was trained on.
        sides: expression for the stems of the words for left and right; None where they are not known.
        opposites: mapping of stems in lower case, left to right and right to left.
    """

    name: str
    function_words: frozenset[str] = frozenset()
    unfinished: frozenset[str] = frozenset()
    without_content: frozenset[str] = frozenset()
    openings: Sequence[tuple[re.Pattern[str], str]] = ()
    hedge: str = "(?) "
    declined: str = "(?)"
    sides: re.Pattern[str] | None = None
    opposites: Mapping[str, str] = field(default_factory=dict)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of `function_words`, about 1 % of the captions that people write in English end on one ("a dog with a hat on"), and
# 0.1 % in German: compare with the share of the references.
LANGUAGES: dict[str, Language] = {
    ENGLISH: Language(
        name="English",
        # Articles, prepositions, forms of "be", determiners and conjunctions.
        function_words=_words(
            "a an the this that his her their its of with in on at to for from by near upon before after "
            "is are am and or"
        ),
        unfinished=_words(
            "through over into behind down up beside around across along between under above against during while as "
            "wearing holding carrying who which some"
        ),
        without_content=_words(
            "as be been being it he she they them him himself herself itself was were has have there these those which "
            "who while into onto some other another s through over around along up down out off"
        ),
        openings=(
            (
                re.compile(
                    r"^(?:(?:this|here|there|it) is )?(?:an? |the )?"
                    r"(?:(?:close ?-?up|blurry|blurred|old|color|colou?red|black[ -]and[ -]white|aerial|overhead"
                    r"|still) )?"
                    r"(?:(?:image|picture|photo|photograph|snapshot|shot|view|drawing|painting|close ?-?up) of"
                    r"|(?:image|picture|photo|photograph) (?:shows|showing|depicts|with)) ",
                    re.I,
                ),
                "",
            ),
        ),
        hedge="Perhaps: ",
        declined="no caption: unlike anything this model was trained on",
        sides=re.compile(r"\b(?:left|right)(?=\b|most\b|ward|-)", re.I),
        opposites={"left": "right", "right": "left"},
    ),
    GERMAN: Language(
        name="German",
        # Without an, auf, aus, durch, nach, um, unter, vor and zu: as parts of separable verbs they end sentences
        # ("er schaut zu"), as forms of "sein" end clauses ("der im Wasser ist").
        function_words=_words(
            "ein eine einem einen einer eines der die das dem den des kein keine keinem keinen "
            "sein seine seinem seinen seiner seines ihre ihrem ihren ihrer ihres "
            "in im am mit bei beim von vom zum zur ins ans aufs fürs durchs übers unterm vorm für gegen neben zwischen "
            "hinter über ohne wegen während und oder sowie als wie dass weil wobei wenn"
        ),
        unfinished=_words(
            "an auf aus durch nach um unter vor zu bis seit ihr welche welcher welches deren dessen wo sehr "
            "zwei drei vier mehrere einige viele trägt hält dieser diese dieses diesem diesen"
        ),
        without_content=_words(
            "an auf aus durch nach um unter vor zu ist sind war waren hat haben wird werden sich er sie es ihn ihm ihr "
            "man da dort hier dabei darauf davor auch noch nur etwas einige andere anderen anderer welche welcher "
            "welches entlang herum hoch ab s"
        ),
        # Not "ein Foto von" and "man sieht": what follows is in the dative or accusative ("einem Hund", "einen Hund").
        # "das Bild zeigt" only before words that are the same in the nominative.
        openings=(
            (
                re.compile(
                    r"^(?:(?:auf|in) (?:dem|diesem|einem) (?:bild|foto) |hier )?(?:ist|sind) (.+?) zu sehen\b",
                    re.I,
                ),
                r"\1",
            ),
            (
                re.compile(
                    r"^(?:das|dieses|ein) (?:bild|foto) zeigt "
                    r"(?=(?:eine|das|die|zwei|drei|vier|fünf|mehrere|viele|einige) )",
                    re.I,
                ),
                "",
            ),
        ),
        hedge="Vielleicht: ",
        declined="keine Beschreibung: anders als alles, woran dieses Modell gelernt hat",
        sides=re.compile(
            r"\b(?:(?:links|rechts)(?=\b|kurve|seitig|außen|herum|händ|abbieg)|(?:link|recht)(?=e[mnrs]?\b|erhand\b))",
            re.I,
        ),
        opposites={"links": "rechts", "rechts": "links", "link": "recht", "recht": "link"},
    ),
    NEUTRAL: Language(name="undetermined"),
}


def rules(code: str) -> Language:
    """The rules of a language: those of its code, of its first part ("de" of "de-AT"), or the neutral ones.

    Args:
        code: str. A tag of BCP 47, with a row in `LANGUAGES` or without.

    Returns:
        `Language`.

    Raises:
        SpecError: if it is no code.

    Example:
        >>> rules("de-AT").hedge, rules("fr").hedge
        ('Vielleicht: ', '(?) ')
    """
    return LANGUAGES.get(checks.language_code(code).partition("-")[0], LANGUAGES[NEUTRAL])


def detect(captions: Sequence[str]) -> str:
    """The language of captions, by the shares of function words in a sample of about 2,000 of them.

    Args:
        captions: sequence of str.

    Returns:
        str: a code of `LANGUAGES`; "und" where no language has 15 % of the words, or half as many are words of another.

    Example:
        >>> detect(["A dog runs through the snow .", "Two men sit on a bench in the park ."])
        'en'
        >>> detect(["Ein Hund rennt durch den Schnee.", "Zwei Männer sitzen auf einer Bank."])
        'de'
        >>> detect(["Un chien court dans la neige.", "Deux hommes sont assis sur un banc."])
        'und'
    """
    shares = sorted(((share, code) for code, share in function_word_shares(captions).items()), reverse=True)
    (best, code), (second, _) = shares[:2]
    return code if best >= _CLEAR and best >= 2 * second else NEUTRAL


def function_word_shares(captions: Sequence[str]) -> dict[str, float]:
    """The share of words that are function words of each language, without the most frequent one.

    A single word says little: "a" is the article of Hungarian, "die" that of Afrikaans.

    Args:
        captions: sequence of str.

    Returns:
        dict of a code of `LANGUAGES` to float, 0 to 1; languages without rules are left out.

    Example:
        >>> function_word_shares(["a dog in the big and deep snow"])
        {'en': 0.375, 'de': 0.0}
    """
    # Drawn, as every so many captions may be the first of their images.
    sample = captions if len(captions) <= _SAMPLE else random.Random(0).sample(captions, _SAMPLE)
    counts = Counter(word for caption in sample for word in words(caption))
    shares = {}
    for code, language in LANGUAGES.items():
        function_words = [counts[word] for word in language.function_words | language.unfinished]
        if function_words:
            shares[code] = (sum(function_words) - max(function_words)) / max(1, counts.total())
    return shares
