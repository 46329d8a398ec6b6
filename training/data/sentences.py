"""Sentences without images, for a decoder to learn the language from before it sees any image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.caption_files import Row, make_row, parse_json, read_rows, read_text
from captioner.caption_files.reading import encoding_fault, ending, short
from captioner.errors import DataError
from captioner.models.packing import Packed
from captioner.text import Tokenizer
from captioner.types import END, UNK
from training.data.batches import CaptionGroup, PackedBatches
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import caption_fault

_ENDINGS = (".txt", ".jsonl", ".json", ".csv", ".tsv")


def read_sentences(path: str | Path, max_bad: float = 0.01) -> list[str]:
    """The sentences of a file.

    Args:
        path: str or Path. A `.txt` file with a sentence a line, a `.jsonl` file with `text` or `caption` (or a list of
            them, `captions`) in each line, or any other captions file (`captioner.caption_files.read_rows`); in UTF-8,
            plain or gzipped.
        max_bad: float, default 0.01. Share of rows that may be unusable; these are listed and left out.

    Returns:
        list of str, in the order of the file.

    Raises:
        DataError: if the file cannot be read, is of another kind, too many of its rows are bad, or none is good.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "text.txt")
        >>> _ = path.write_text("A dog runs.\\n\\nTwo cats sleep.\\n")
        >>> read_sentences(path)
        ['A dog runs.', 'Two cats sleep.']
    """
    path = Path(path).expanduser()
    if ending(path) not in _ENDINGS:
        raise DataError(f"expected a file of sentences that ends in {', '.join(_ENDINGS)}, got {path}")
    lines = {".txt": _text_rows, ".jsonl": _json_rows}.get(ending(path))
    rows = list(lines(path)) if lines else read_rows(path).rows
    bad = BadRows("text", max_bad=max_bad)
    sentences = []
    for row in rows:
        faults = [row.fault] if row.fault else [caption_fault(text) for text in row.captions]
        for text, fault in zip(row.captions or [""], faults, strict=True):
            if fault:
                bad.add(row.where, text, fault)
            else:
                sentences.append(text)
    bad.check(len(sentences) + len(bad))
    if not sentences:
        raise DataError(f"expected sentences in {path}, found none")
    return sentences


def _text_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path, "text", strict=False).splitlines(), 1):
        if line.strip():
            yield _row(path, number, {"text": line.strip()}, encoding_fault(line))


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path, "text", strict=False).split("\n"), 1):
        if not line.strip():
            continue
        fields: Any = None
        try:
            fields, fault = parse_json(line), encoding_fault(line)
        except ValueError as error:
            fault = f"not a line of JSON: {' '.join(str(error).split())[:100]}"
        if not fault and not isinstance(fields, dict):
            fault = f"expected an object with text or caption, got {short(fields)}"
        yield _row(path, number, {} if fault else fields, fault)


def _row(path: Path, number: int, fields: dict[str, Any], fault: str) -> Row:
    # Rows of captions files name an image; here none is needed.
    return make_row(f"{path.name}:{number}", {**fields, "image": "none"}, None, fault)


class TextBatches(PackedBatches):
    """Batches of sentences whose features are zeros, as if all images were blank.

    A word that the vocabulary lacks counts nothing as a target: `<unk>` is no word to learn from text. Sentences
    without any known word are left out.

    Args:
        sentences: sequence of str.
        tokenizer: Tokenizer.
        max_length: int. Most ids of a sentence; longer ones are cut.
        features: (L, C). Locations and channels of the features.
        batch: int. B, images of a batch.
        group: int. G, sentences of each of these images.
        seed: int.

    Raises:
        DataError: if the vocabulary has no word of any sentence.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        tokenizer: Tokenizer,
        max_length: int,
        features: tuple[int, int],
        batch: int,
        group: int,
        seed: int,
    ):
        encoded = [tokenizer.encode(sentence, max_length) for sentence in sentences]
        encoded = [ids for ids in encoded if not set(ids) <= {UNK, END}]
        if not encoded:
            raise DataError(
                "expected sentences in xe.text with words of the training captions, found none: they are in another "
                "language"
            )
        # Captions of one image stand beside each other in most files.
        order = np.random.default_rng(seed).permutation(len(encoded))
        encoded = [encoded[number] for number in order]
        groups = [CaptionGroup(0, encoded[i : i + group]) for i in range(0, len(encoded), group)]
        super().__init__(groups, batch, group, seed)
        self._features = np.zeros((self.batch, *features), np.float32)

    def packed(self, chosen: Sequence[int]) -> tuple[np.ndarray, Packed, int]:
        """See `PackedBatches.packed`; every image has the number 0."""
        images, packed, count = super().packed(chosen)
        return images, packed._replace(weights=packed.weights * (packed.targets != UNK)), count

    def epoch(self, epoch: int, read: Any, key: str, skip: int = 0) -> Iterator[Any]:
        """See `PackedBatches.epoch`; nothing is read."""
        return super().epoch(epoch, lambda images, seed: self._features, "features", skip)
