"""Normalisation: splits captions into words, by the same rules in training, decoding and scoring.

The rules, in order:

1. Unicode NFC, lower case. Accents are kept, and no compatibility folding is done.
2. English clitics are separated, so that `man's` and the pre-tokenised `man 's` give the same words: `man s`,
   `do nt`, `they re`. French and Italian elisions are separated too: `l homme`, `dell acqua`. Any other
   apostrophe is dropped and joins its two sides: `o'clock` is `oclock`, Ukrainian `м'яч` is `мяч`.
3. The dots of an abbreviation of single letters are dropped: `S.C.U.B.A.` is `scuba`.
4. Letters, digits and combining marks of any script make words. Everything else (punctuation, hyphens,
   symbols, white space) separates words and is dropped: `t-shirt` is `t shirt`, `3.5` is `3 5`, `<end>` is
   `end`. A zero-width (non-)joiner inside a word stays, as Persian and the Indic scripts need it; other
   invisible characters go.
5. Scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give one word for each character
   with its combining marks. That needs no dictionary and can be undone without loss; an existing segmentation
   into words is lost.
6. An emoji with its skin tone, a pair of regional indicators (a flag), or a joined sequence of emoji is one word.

On Flickr8k this gives the `tokens` of the Karpathy file for 99.9 % of the captions. In the others that file keeps
an isolated `#`, `&`, `(`, `)`, `:` or `=` as a word, and joins the parts that a dot separates (`statefarmcom`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\uff07\u2032\u00b4`"), "'")
# Clitics that the Penn Treebank separates, at the end of a word.
_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))(?!\w)")
# Articles, pronouns and particles that lose their vowel before another word, at its start.
_ELISION = re.compile(
    r"(?<![\w'])([cdjlmnst]|qu|jusqu|lorsqu|puisqu|un|quell|quest|(?:a|da|de|ne|su)ll)'(?!t\b)(?=[^\W\d_])"
)
_ABBREVIATION = re.compile(r"(?<!\w)[^\W\d_](?:\.[^\W\d_])+(?!\w)")

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_DROPPED = frozenset("'\ufe0e\ufe0f")  # the apostrophe, and variation selectors
_BREAK = "\u200b"  # zero-width space: marks where a word ends in scripts without spaces

# First and last character of blocks written without spaces between words.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark and zero
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # their extensions
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),  # Burmese extensions
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x1AFF0, 0x1B16F),  # kana extensions
    (0x20000, 0x3FFFF),  # Han extensions
)
_EMOJI = (
    (0x231A, 0x231B),
    (0x23CF, 0x23CF),
    (0x23E9, 0x23FA),
    (0x2600, 0x2767),
    (0x2794, 0x27BF),
    (0x2B05, 0x2B07),
    (0x2B1B, 0x2B1C),
    (0x2B50, 0x2B55),
    (0x1F000, 0x1FAFF),
)


def _within(point: int, blocks: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= point <= last for first, last in blocks)


@lru_cache(maxsize=65536)
def _kind(char: str) -> str:
    """The class of a character: letter, mark, single (a word itself), emoji, flag, tone, joiner, none, break."""
    point = ord(char)
    category = unicodedata.category(char)
    if char in _DROPPED:
        return "none"
    if char in (_ZWJ, _ZWNJ):
        return "joiner"
    if 0x1F3FB <= point <= 0x1F3FF or 0xE0020 <= point <= 0xE007F:
        return "tone"
    if 0x1F1E6 <= point <= 0x1F1FF:
        return "flag"
    if category[0] == "M":
        return "mark"
    if category[0] in "LN":
        return "single" if _within(point, _UNSPACED) else "letter"
    if _within(point, _EMOJI) and category[0] == "S":
        return "emoji"
    if category == "Cf" and char != _BREAK:
        return "none"
    return "break"


class _Plain(dict[int, "str | None"]):
    """Translation table, filled lazily: keeps word characters, removes others or turns them into spaces."""

    def __missing__(self, point: int) -> str | None:
        kind = _kind(chr(point))
        self[point] = {"none": None, "break": " "}.get(kind, chr(point))
        return self[point]


_PLAIN = _Plain()


def _split(run: str) -> list[str]:
    """Splits a run of word characters at unspaced scripts and emoji."""
    pieces: list[list[str]] = []
    last = ""  # the kind of the piece being built
    for char in run:
        kind = _kind(char)
        joined = kind in ("mark", "joiner", "tone") and bool(pieces)
        if kind == "letter":
            joined = last == "letter"
        elif kind == "emoji":
            joined = last == "emoji" and pieces[-1][-1] == _ZWJ
        elif kind == "flag":
            joined = last == "flag" and len(pieces[-1]) == 1
        if joined:
            pieces[-1].append(char)
        elif kind not in ("mark", "joiner", "tone"):  # a mark without a base character is dropped
            pieces.append([char])
            last = kind
    return [unicodedata.normalize("NFC", "".join(piece).strip(_ZWJ + _ZWNJ)) for piece in pieces]


def words(text: str) -> list[str]:
    """Splits a caption into normalised words (see the module for the rules).

    Args:
        text: str. A caption in any language.

    Returns:
        list of str, none of them empty; an empty list for a text without words. Idempotent: the words joined by
        spaces give the same words.

    Example:
        >>> words("A man's t-shirt says <end> !")
        ['a', 'man', 's', 't', 'shirt', 'says', 'end']
        >>> words("一只狗 🐕")
        ['一', '只', '狗', '🐕']
    """
    plain = text.lower()
    if not text.isascii():
        # NFC first, so that lower() sees whole letters; again after, as lower() may take some apart.
        plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
        plain = plain.translate(_APOSTROPHES)
    if "'" in plain or "`" in plain:
        plain = _ELISION.sub(r"\1 ", _CLITIC.sub(r" \1", plain.replace("`", "'")))
    if "." in plain:
        plain = _ABBREVIATION.sub(lambda match: match.group().replace(".", ""), plain)
    runs = plain.translate(_PLAIN).split()
    if text.isascii():
        return runs
    return [word for run in runs for word in (_split(run) if not run.isascii() else [run]) if word]


def unspaced(word: str) -> bool:
    """Whether a word is in a script without spaces between words (Chinese, Thai ...).

    Args:
        word: str.

    Returns:
        bool.

    Example:
        >>> unspaced("狗"), unspaced("dog")
        (True, False)
    """
    return bool(word) and _kind(word[0]) == "single"
