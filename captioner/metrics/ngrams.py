"""Vectorised n-gram counting for CIDEr-D: n-grams of many captions as sorted arrays, and their tf-idf.

Captions are concatenated in one array of integer tokens; `rows` holds the caption index of each item. The id of an
n-gram is its index in a sorted table of keys, and a key packs the id of its (n-1)-gram prefix with its last token. So
equal ids mean equal n-grams; there is no hashing and no collision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NgramIndex:
    """The references' n-grams of one order.

    Attributes:
        table: int64 [G], sorted. The keys of all known n-grams; the index of a key is the n-gram's id.
        documents: int64 [G]. Document frequency: the number of images whose captions contain the n-gram.
        idf: float64 [G]. log(images / documents), with a document frequency of at least 1.
        norm: float64 [R]. Length of each reference's vector.
        keys: int64 [E], sorted. `image * G + n-gram` of each n-gram of each reference.
        reference: int32 [E]. The reference of each entry.
        count: float32 [E]. Term frequency of the n-gram in the reference.
    """

    table: np.ndarray
    documents: np.ndarray
    idf: np.ndarray
    norm: np.ndarray
    keys: np.ndarray
    reference: np.ndarray
    count: np.ndarray

    @classmethod
    def build(cls, table, rows, grams, documents, images, log_number, extra) -> NgramIndex:
        """Indexes n-grams `grams` of captions `rows`; the first captions are the references, of `images`.

        `documents` is the image that a caption counts for in the document frequencies, -1 for none (only if there
        are `extra` captions).
        """
        size, references = len(table), len(images)
        row, gram, count = count_ngrams(rows, grams, size)
        image = documents[row]
        counted = image >= 0
        frequency = np.bincount(np.unique(image[counted] * size + gram[counted]) % size, minlength=size)
        idf = log_number - np.log(np.maximum(1.0, frequency))
        if extra:
            inside = row < references
            row, gram, count = row[inside], gram[inside], count[inside]
        _, norm = tf_idf(count, idf[gram], row, references)
        keys = images[row] * size + gram
        by_key = np.argsort(keys, kind="stable")
        row, count = row[by_key].astype(np.int32), count[by_key].astype(np.float32)
        return cls(table, frequency, idf, norm, keys[by_key], row, count)

    def unit_vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The tf-idf vectors of the references at unit length, as entries [E]: image, n-gram and value."""
        images, grams = self.keys // len(self.table), self.keys % len(self.table)
        values, norm = tf_idf(self.count, self.idf[grams], self.reference, len(self.norm))
        norm = norm[self.reference]
        return images, grams, np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)

    def similarity(self, rows, grams, images, pair_row, pair_reference, shift, log_number) -> np.ndarray:
        """The clipped cosine of each pair [P], from the candidates' n-grams `grams` in captions `rows`.

        The index of a reference plus `shift` [N] of a candidate is the index of their pair.
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
        source = row_numbers(number)  # index of the candidate's n-gram of each match
        entry = np.arange(len(source)) + (left - np.cumsum(number) + number)[source]
        theirs = self.count[entry] * self.idf[gram[source]]
        product = np.minimum(value[source], theirs) * theirs
        dot = np.bincount(self.reference[entry] + shift[row[source]], product, len(pair_row))
        dot = dot.astype(np.float64)  # bincount of an empty array gives integers
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
    extra: bool = False,
) -> list[NgramIndex]:
    """Indexes the n-grams of concatenated captions.

    Args:
        tokens: int [sum of lengths], from 0 to `size` - 1.
        lengths: int [N]. Number of tokens of each caption.
        size: int. Number of different tokens.
        n: int. The longest n-gram.
        documents: int [N]. The image that a caption counts for in the document frequencies, -1 for none.
        images: int [R]. The images of the first captions, which are the references.
        number: int. Number of images that the document frequencies come from.
        extra: bool, default False. Whether there are captions other than the references.

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
        orders.append(NgramIndex.build(table, rows, grams, documents, images, np.log(number), extra))
    return orders


def tf_idf(count: np.ndarray, idf: np.ndarray, row: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of n-grams weighted by tf-idf (Vedantam et al. 2015, eq. 1), and their lengths.

    Args:
        count: float [E]. Term frequency of an n-gram in a caption.
        idf: float64 [E]. Inverse document frequency of the n-gram.
        row: int [E]. Index of the caption.
        rows: int. Number of captions.

    Returns:
        float64 [E] and [rows].
    """
    value = count * idf
    return value, np.sqrt(np.bincount(row, value**2, rows))


def row_numbers(lengths: np.ndarray) -> np.ndarray:
    """[2, 0, 1] -> [0, 0, 2]: the row of each item of a concatenated ragged array."""
    return np.repeat(np.arange(len(lengths)), lengths)


def extend(
    rows: np.ndarray, grams: np.ndarray, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Extends n-grams by one token: the rows, keys (prefix id, last token) and last tokens of the longer n-grams.

    `tokens[i]` is the last token of n-gram i; the next n-gram of the same row starts one token later, so its
    last token is the one to append.
    """
    inside = rows[1:] == rows[:-1]
    last = tokens[1:][inside]
    return rows[:-1][inside], (grams[:-1][inside] << 32) | last, last


def look_up(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Ids of keys: the index in the table, or a number above all indices for an unknown key, equal for equal keys."""
    if not len(table):
        return np.unique(keys, return_inverse=True)[1]
    index = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    unknown = table[index] != keys
    index[unknown] = len(table) + np.unique(keys[unknown], return_inverse=True)[1]
    return index


def count_ngrams(rows: np.ndarray, grams: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts each n-gram in each row: rows, n-grams below `size`, and counts, sorted."""
    keys, count = np.unique(rows * max(size, 1) + grams, return_counts=True)
    return keys // max(size, 1), keys % max(size, 1), count.astype(np.float64)
