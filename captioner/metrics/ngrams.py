"""Vectorised n-gram counting for CIDEr-D: n-grams of many captions as sorted arrays, and their tf-idf.

Captions lie end to end in one array of tokens (whole numbers); `rows` names the caption of each item. An
n-gram's id is its place in a sorted table of keys, and a key packs the id of the (n-1)-gram before it with
its last token. So equal ids mean equal n-grams: nothing is hashed and nothing collides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NgramIndex:
    """The references' n-grams of one order.

    Attributes:
        table: int64 [G], sorted. The key of every known n-gram; its place is the n-gram's id.
        documents: int64 [G]. In the captions of how many images the n-gram occurs.
        idf: float64 [G]. log(images / documents), that of a single image where there is none.
        norm: float64 [R]. Length of each reference's vector.
        keys: int64 [E], sorted. `image * G + n-gram` of each n-gram of each reference.
        reference: int32 [E]. The reference of each entry.
        count: float32 [E]. How often the n-gram occurs there.
    """

    table: np.ndarray
    documents: np.ndarray
    idf: np.ndarray
    norm: np.ndarray
    keys: np.ndarray
    reference: np.ndarray
    count: np.ndarray

    @classmethod
    def build(cls, table, rows, grams, documents, images, log_number, apart) -> NgramIndex:
        """Indexes n-grams `grams` of captions `rows`; the first captions are the references, of `images`.

        `documents` is the image that a caption counts for in the document frequencies, -1 for none (only if
        `apart`).
        """
        size, references = len(table), len(images)
        row, gram, count = count_ngrams(rows, grams, size)
        of = documents[row]
        frequency = np.bincount(np.unique(of[of >= 0] * size + gram[of >= 0]) % size, minlength=size)
        idf = log_number - np.log(np.maximum(1.0, frequency))
        if apart:
            inside = row < references
            row, gram, count = row[inside], gram[inside], count[inside]
        _, norm = tf_idf(count, idf[gram], row, references)
        keys = images[row] * size + gram
        by_key = np.argsort(keys, kind="stable")
        row, count = row[by_key].astype(np.int32), count[by_key].astype(np.float32)
        return cls(table, frequency, idf, norm, keys[by_key], row, count)

    def unit_vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The references' tf-idf vectors at unit length, entry by entry [E]: image, n-gram and value."""
        images, grams = self.keys // len(self.table), self.keys % len(self.table)
        values, norm = tf_idf(self.count, self.idf[grams], self.reference, len(self.norm))
        norm = norm[self.reference]
        return images, grams, np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)

    def similarity(self, rows, grams, images, pair_row, pair_reference, shift, log_number) -> np.ndarray:
        """The clipped cosine of every pair [P], from the candidates' n-grams `grams` in captions `rows`.

        `shift` [N] added to a reference's number gives the number of its pair with that candidate.
        """
        size = len(self.table)
        beyond = max(size, int(grams.max(initial=0)) + 1)
        row, gram, count = count_ngrams(rows, grams, beyond)
        known = gram < size
        idf = np.full(len(gram), log_number)
        idf[known] = self.idf[gram[known]]
        value, norm = tf_idf(count, idf, row, len(images))
        row, gram, value = row[known], gram[known], value[known]
        wanted = images[row] * size + gram
        left = np.searchsorted(self.keys, wanted, "left")
        number = np.searchsorted(self.keys, wanted, "right") - left
        source = row_numbers(number)  # the candidate's n-gram that each match belongs to
        entry = np.arange(len(source)) + (left - np.cumsum(number) + number)[source]
        theirs = self.count[entry] * self.idf[gram[source]]
        product = np.minimum(value[source], theirs) * theirs
        dot = np.bincount(self.reference[entry] + shift[row[source]], product, len(pair_row))
        dot = dot.astype(np.float64)  # bincount of nothing gives whole numbers
        lengths = norm[pair_row] * self.norm[pair_reference]
        return np.divide(dot, lengths, out=np.zeros_like(dot), where=lengths > 0)


def index_orders(
    tokens: np.ndarray,
    lengths: np.ndarray,
    size: int,
    n: int,
    documents: np.ndarray,
    images: np.ndarray,
    number: int,
    apart: bool = False,
) -> list[NgramIndex]:
    """Indexes the n-grams of captions that lie end to end.

    Args:
        tokens: int [sum of lengths], from 0 to `size` - 1.
        lengths: int [N]. Words of each caption.
        size: int. Different tokens.
        n: int. The longest n-gram.
        documents: int [N]. The image that a caption counts for in the document frequencies, -1 for none.
        images: int [R]. The images of the first captions, which are the references.
        number: int. Images that the document frequencies come from.
        apart: bool, default False. Whether there are captions besides the references.

    Returns:
        list of `NgramIndex`, order by order.
    """
    orders: list[NgramIndex] = []
    rows, grams = row_numbers(lengths), tokens
    table = np.arange(size)
    for order in range(1, n + 1):
        if order > 1:
            rows, keys, tokens = extend(rows, grams, tokens)
            table, grams = np.unique(keys, return_inverse=True)
        orders.append(NgramIndex.build(table, rows, grams, documents, images, np.log(number), apart))
    return orders


def tf_idf(count: np.ndarray, idf: np.ndarray, row: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of n-grams weighted by tf-idf (Vedantam et al. 2015, eq. 1), and their lengths.

    Args:
        count: float [E]. How often an n-gram occurs in a caption.
        idf: float64 [E]. Of that n-gram.
        row: int [E]. The caption.
        rows: int. Number of captions.

    Returns:
        float64 [E] and [rows].
    """
    value = count * idf
    return value, np.sqrt(np.bincount(row, value**2, rows))


def row_numbers(lengths: np.ndarray) -> np.ndarray:
    """[2, 0, 1] -> [0, 0, 2]: the row of each item of a ragged array laid end to end."""
    return np.repeat(np.arange(len(lengths)), lengths)


def extend(
    rows: np.ndarray, grams: np.ndarray, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From n-grams to those one longer: their rows, keys (prefix id, last token) and last tokens.

    `tokens[i]` is the last token of n-gram i; the next n-gram of the same row starts one token later, so its
    last token is the one to append.
    """
    inside = rows[1:] == rows[:-1]
    last = tokens[1:][inside]
    return rows[:-1][inside], (grams[:-1][inside] << 32) | last, last


def look_up(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Ids of keys: the place in the table, or a number beyond it, the same for the same unknown key."""
    if not len(table):
        return np.unique(keys, return_inverse=True)[1]
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    unknown = table[place] != keys
    place[unknown] = len(table) + np.unique(keys[unknown], return_inverse=True)[1]
    return place


def count_ngrams(rows: np.ndarray, grams: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each n-gram occurs in each row: rows, n-grams below `size`, and counts, sorted."""
    keys, count = np.unique(rows * max(size, 1) + grams, return_counts=True)
    return keys // max(size, 1), keys % max(size, 1), count.astype(np.float64)
