"""Tokenizer: the vocabulary, words to ids and back."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from captioner import atomic, checks
from captioner.errors import DataError, ModelError
from captioner.text.normalize import unspaced
from captioner.text.normalize import words as normalize
from captioner.types import END, PAD, SPECIALS, START, UNK


class Tokenizer:
    """Turns captions into ids and ids into sentences.

    Ids 0 to 3 are the special tokens of `captioner.types`; the word `vocabulary[i]` has id `i + 4`. Text is never
    encoded as a special token other than `<unk>`: the text `<end>` is the ordinary word `end`.

    Args:
        vocabulary: sequence of str. The words, without special tokens, each once; no white space in them.

    Raises:
        DataError: if there is no word, or one is repeated, empty, holds white space or is a special token.

    Example:
        >>> tok = Tokenizer.fit(["A dog runs .", "A dog sleeps ."], min_count=2)
        >>> tok.encode("a dog barks")
        [4, 5, 3, 2]
        >>> tok.decode([4, 5, 2, 0, 0])
        'a dog'
        >>> len(tok)
        6
    """

    def __init__(self, vocabulary: Sequence[str]):
        if isinstance(vocabulary, str):
            raise DataError(f"expected a sequence of words as vocabulary, got one string {vocabulary[:40]!r}")
        entries = tuple(vocabulary)
        _check(entries)
        self._words: tuple[str, ...] = (*SPECIALS, *entries)
        self._ids = {word: i for i, word in enumerate(entries, start=len(SPECIALS))}

    @classmethod
    def fit(cls, captions: Iterable[str], min_count: int = 5, max_size: int | None = None) -> Tokenizer:
        """Builds the vocabulary of captions: of training captions, never of test captions.

        Args:
            captions: iterable of str. Raw captions; they are normalised here.
            min_count: int, defaults to 5. Rarer words become `<unk>`.
            max_size: int or None. Largest number of words, the most frequent first; special tokens do not count.

        Returns:
            A `Tokenizer`. Words are ordered by falling count, then alphabetically; the order of the captions has no
            influence.

        Raises:
            DataError: if a caption holds no word, or no word is frequent enough.
        """
        if isinstance(captions, str):
            raise DataError(f"expected an iterable of captions, got one string {captions[:40]!r}")
        checks.integer(min_count, "min_count", 1, error=DataError)
        if max_size is not None:
            checks.integer(max_size, "max_size", 1, error=DataError)
        counts: Counter[str] = Counter()
        for i, caption in enumerate(captions):
            try:
                counts.update(_caption_words(caption))
            except DataError as error:
                raise DataError(f"caption {i} (from 0): {error}") from None
        kept = sorted((w for w in counts if counts[w] >= min_count), key=lambda w: (-counts[w], w))
        if not kept:
            raise DataError(
                f"no word occurs {min_count} times among {len(counts)} different words: "
                f"give more captions or a smaller min_count"
            )
        return cls(kept[:max_size])

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """Turns a caption into ids.

        Args:
            text: str. A raw caption.
            max_length: int or None. Largest number of ids; a truncated caption has no end token.

        Returns:
            list of int: the words' ids and `END`, without `START`.

        Raises:
            DataError: if the caption holds no word.
        """
        if max_length is not None:
            checks.integer(max_length, "max_length", 1, error=DataError)
        ids = [self.id(word) for word in _caption_words(text)]
        return [*ids, END][:max_length]

    def decode(self, ids: Iterable[Any]) -> str:
        """Turns ids into a sentence.

        Args:
            ids: iterable of int, numpy array or tensor, [T]. Ids after the first `END` are ignored, and so
                are `PAD` and `START`.

        Returns:
            str.

        Raises:
            ModelError: if an id is outside the vocabulary.
        """
        return self.detokenize(self.words(ids))

    def words(self, ids: Iterable[Any]) -> tuple[str, ...]:
        """The words of ids, as in `decode`; `<unk>` for `UNK`."""
        caption = []
        for value in ids:
            number = int(value)
            if number == END:
                break
            if number not in (PAD, START):
                caption.append(self.word(number))
        return tuple(caption)

    @staticmethod
    def detokenize(words: Iterable[str]) -> str:
        """Joins words into a sentence: one space between them, none between two of an unspaced script.

        Example:
            >>> Tokenizer.detokenize(["一", "只", "狗", "and", "a", "cat"])
            '一只狗 and a cat'
        """
        sentence, last_is_unspaced = "", True
        for word in words:
            is_unspaced = unspaced(word)
            sentence += word if not sentence or (last_is_unspaced and is_unspaced) else f" {word}"
            last_is_unspaced = is_unspaced
        return sentence

    def id(self, word: str) -> int:
        """The id of a normalised word; `UNK` when it is not in the vocabulary, special tokens included."""
        return self._ids.get(word, UNK)

    def word(self, id: int) -> str:
        """The word, or special token, of an id; ModelError when there is none."""
        if not 0 <= id < len(self._words):
            raise ModelError(
                f"expected a word id from 0 to {len(self._words) - 1}, got {id}: "
                f"the ids come from a model with another vocabulary"
            )
        return self._words[id]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words in the order of their ids, the four special tokens first."""
        return self._words

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the vocabulary in hex: also that of the file that `save` writes."""
        return hashlib.sha256(self._content()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the vocabulary: UTF-8, one word a line, no special tokens; line `i` (from 0) has id `i + 4`.

        The file is replaced atomically.
        """
        try:
            atomic.write_bytes(path, self._content(), DataError)
        except DataError as error:
            raise DataError(f"cannot write the vocabulary: {error}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Reads a vocabulary that `save` wrote, or any word list with one word a line.

        Args:
            path: str or Path.

        Returns:
            A `Tokenizer`.

        Raises:
            DataError: if the file is missing, empty, not UTF-8, or its words are not a vocabulary.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise DataError(f"cannot read the vocabulary {str(path)!r}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"expected the vocabulary {str(path)!r} to be UTF-8 text, one word a line; "
                f"byte {error.start} is not UTF-8"
            ) from None
        lines = text.replace("\r\n", "\n").split("\n")
        try:
            return cls(lines[:-1] if lines[-1] == "" else lines)
        except DataError as error:
            raise DataError(f"cannot use the vocabulary {str(path)!r}: {error}") from None

    def _content(self) -> bytes:
        return "".join(f"{word}\n" for word in self._words[len(SPECIALS) :]).encode("utf-8")

    def __len__(self) -> int:
        return len(self._words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._words == other._words

    def __hash__(self) -> int:
        return hash(self._words)

    def __repr__(self) -> str:
        return f"Tokenizer({len(self)} entries, {self.fingerprint[:12]})"


def _caption_words(text: str) -> list[str]:
    if not isinstance(text, str):
        raise DataError(f"expected a caption as a string, got {type(text).__name__}")
    words_ = normalize(text)
    if not words_:
        raise DataError(f"empty caption: expected at least one word, got {text[:40]!r}")
    return words_


def _check(words: tuple[str, ...]) -> None:
    """Raises DataError unless the words make a vocabulary: strings, unique, without white space, valid UTF-8."""
    if not words:
        raise DataError("empty vocabulary: expected at least one word")
    index_of: dict[str, int] = {}
    for i, word in enumerate(words):
        where = f"word {i + 1} of {len(words)}"
        if not isinstance(word, str):
            raise DataError(
                f"expected strings in the vocabulary, but {where} is of type {type(word).__name__}"
            )
        if word in SPECIALS:
            raise DataError(
                f"special tokens are added by the tokenizer: leave them out, but {where} is {word!r}"
            )
        if not word or "\ufeff" in word or any(char.isspace() for char in word):
            raise DataError(f"expected words without white space in the vocabulary, but {where} is {word!r}")
        if word in index_of:
            raise DataError(
                f"duplicate word in the vocabulary: {where}, {word!r}, is also word {index_of[word] + 1}"
            )
        index_of[word] = i
        try:
            word.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"expected words that UTF-8 can hold, but {where} is {word!r}") from None
