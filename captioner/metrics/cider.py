"""CIDEr-D (Vedantam et al. 2015, "CIDEr: consensus-based image description evaluation", section 6).

For n-grams of order n with term frequency h_k(c) in caption c and idf log(N / df), N images, df the images in
whose references the n-gram occurs, with sigma 6:

    g_n(c) = h(c) idf                          clipped = min(g_n(c), g_n(s))
    sim_n(c, s) = (clipped . g_n(s)) / (|g_n(c)| |g_n(s)|)  exp(-(l(c) - l(s))^2 / (2 sigma^2))
    CIDEr-D(c, S) = 10 times the mean of sim_n(c, s) over s in S and n = 1 ... 4

as coco-caption's "Cider" computes it. Over a single image every idf is log 1 = 0, so that every caption would score 0:
CIDEr-D is undefined for one image, and is NaN here.

The references are indexed once as sorted arrays; scoring a batch takes a few searches and sums in NumPy, fast enough
for the reward of self-critical training (Rennie et al. 2017).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from captioner.checks import integer, number
from captioner.errors import DataError
from captioner.metrics.base import Candidates, References, Scores, check
from captioner.metrics.ngrams import extend, index_orders, look_up, row_numbers
from captioner.types import END, PAD, START, UNK

# Internal tokens: the end of a caption, and `<unk>`, which is in no reference.
_END_TOKEN, _UNKNOWN_TOKEN = 0, 1
# Number of images below which document frequencies are unreliable.
ROUGH_BELOW = 50


class CiderD:
    """CIDEr-D, averaged over images.

    Args:
        corpus: sequence of lists of lists of words, or None. Images whose captions give the document
            frequencies; by default the evaluated references, as coco-caption does.
        count_end: bool, defaults to False. Count the end token as one more word on both sides, as a reward
            should: without it a model learns to end its captions too early.
        n: int, defaults to 4. The longest n-gram.
        sigma: float, defaults to 6. Width of the length penalty.

    If all n-grams have the same document frequency (one image, or the same references for all) the score is NaN, with
    a warning, as every caption would score 0.

    Example:
        >>> words = [["a", "dog", "runs"], ["two", "cats", "sleep"]]
        >>> CiderD(n=2).score(words, [[w] for w in words]).corpus["CIDEr-D"]
        1000.0
    """

    def __init__(
        self, corpus: References | None = None, count_end: bool = False, n: int = 4, sigma: float = 6.0
    ):
        self.n, self.sigma = (
            integer(n, "n of CIDEr-D", 1, 20),
            number(sigma, "sigma of CIDEr-D", 0, above=True),
        )
        self.corpus, self.count_end = corpus, count_end

    def score(self, candidates: Candidates, references: References) -> Scores:
        """Scores one candidate an image: lists of words [B], lists of lists of words [B]."""
        check(candidates, references)
        reward = self.prepare(references)
        per_image = 100 * reward.words(candidates)
        if not reward.defined:
            per_image = np.full(len(per_image), np.nan)
            warnings.warn(undefined(len(self.corpus or references)), stacklevel=2)
        return Scores({"CIDEr-D": float(per_image.mean())}, {"CIDEr-D": per_image})

    def prepare(self, references: References, vocabulary: Sequence[str] | None = None) -> CiderReward:
        """Indexes references once, to score any number of candidates against them.

        Args:
            references: sequence of lists of lists of words. Words, not ids: a word outside the vocabulary must
                not become `<unk>` in a reference, as candidates would then be rewarded for `<unk>`.
            vocabulary: sequence of str or None. `Tokenizer.vocabulary`, special tokens included; needed to
                score ids.

        Returns:
            A `CiderReward`.
        """
        return CiderReward(references, vocabulary, self.corpus, self.count_end, self.n, self.sigma)


def undefined(images: int) -> str:
    """The message for an undefined CIDEr-D.

    Args:
        images: int. Number of images that the document frequencies come from.
    """
    got = "one" if images == 1 else f"{images} whose references all have the same n-grams"
    return (
        f"no CIDEr-D: it needs several images, as its document frequencies come from the references of those that are "
        f"scored, got {got}; score {ROUGH_BELOW} or more together"
    )


def rough(images: int) -> str:
    """The message for an unreliable CIDEr-D; empty from `ROUGH_BELOW` images on.

    Args:
        images: int. Number of images that the document frequencies come from.
    """
    if images >= ROUGH_BELOW:
        return ""
    return (
        f"CIDEr-D of {images} images is rough: its document frequencies come from their references alone; "
        f"score {ROUGH_BELOW} or more together"
    )


class CiderReward:
    """CIDEr-D of candidates against indexed references; made by `CiderD.prepare`.

    Scores are not x100: good captions score about 1, a copied reference up to 10. Memory is about 22 bytes
    for each n-gram of each reference: 26 MB for the training captions of Flickr8k.

    Example:
        >>> captions = [[["a", "dog"], ["a", "brown", "dog"]], [["a", "cat"]]]
        >>> vocabulary = ["<pad>", "<start>", "<end>", "<unk>", "a", "dog", "cat"]
        >>> reward = CiderD(count_end=True).prepare(captions, vocabulary)
        >>> ids = np.array([[4, 5, 2], [4, 6, 2], [4, 6, 2]])  # a dog, a cat, a cat
        >>> [round(float(r), 2) for r in reward(ids, images=[0, 0, 1])]
        [5.12, 0.0, 7.5]
    """

    def __init__(
        self,
        references: References,
        vocabulary: Sequence[str] | None,
        corpus: References | None,
        count_end: bool,
        n: int,
        sigma: float,
    ):
        self._count_end, self._n, self._sigma = count_end, n, sigma
        self._tokens: dict[str, int] = {}
        captions = [caption for image in references for caption in image]
        counts = np.array([len(image) for image in references], np.int64)
        if not len(counts) or not counts.min():
            raise DataError("expected at least one image with references, and a reference for every image")
        if corpus is not None and not len(corpus):
            raise DataError("expected at least one image in the corpus of document frequencies, got none")
        # Index of each image's first reference, and the total.
        self._first = np.concatenate([[0], np.cumsum(counts)])
        images = np.repeat(np.arange(len(counts)), counts)
        if corpus is None:
            tokens, lengths = self._intern(captions)
            documents, number = images, len(counts)
        else:
            more = [caption for image in corpus for caption in image]
            tokens, lengths = self._intern(captions + more)
            sizes = [len(image) for image in corpus]
            documents = np.concatenate([np.full(len(captions), -1), np.repeat(np.arange(len(sizes)), sizes)])
            number = len(sizes)
        self._lookup = None
        if vocabulary is not None:
            self._lookup = np.array([self._token(word) for word in vocabulary], np.int64)
            self._lookup[UNK] = _UNKNOWN_TOKEN
        self._lengths = lengths[: len(captions)]
        self._log_number = np.log(number)
        size, extra = len(self._tokens) + 2, corpus is not None
        self._orders = index_orders(tokens, lengths, size, n, documents, images, number, extra)

    @property
    def defined(self) -> bool:
        """Whether any n-gram of the references has a weight above 0; otherwise every score is 0."""
        return any(bool(order.norm.any()) for order in self._orders)

    def words(self, candidates: Candidates, images: Iterable[int] | None = None) -> np.ndarray:
        """Scores candidates given as words.

        Args:
            candidates: sequence of lists of words, [N].
            images: the image of each candidate as an index into the references, [N]; by default 0, 1, 2 ...

        Returns:
            float64 [N].
        """
        fresh: dict[str, int] = {}  # tokens of words that are in no reference, for this call only
        flat: list[int] = []
        for candidate in candidates:
            for word in candidate:
                token = self._tokens.get(word)
                if token is None:
                    token = fresh.setdefault(word, len(self._tokens) + 2 + len(fresh))
                flat.append(token)
            if self._count_end:
                flat.append(_END_TOKEN)
        lengths = np.array([len(c) + self._count_end for c in candidates], np.int64)
        chosen = np.arange(len(lengths)) if images is None else np.asarray(images, np.int64)
        return self._score(np.array(flat, np.int64), lengths, chosen)

    def __call__(self, ids: np.ndarray, images: Iterable[int]) -> np.ndarray:
        """Scores candidates given as ids.

        Args:
            ids: int [N, T]. What follows the first `END` is ignored; a row without `END` is an unfinished
                caption and, if the end counts, lacks that token. `PAD` and `START` are skipped, `UNK` matches
                nothing.
            images: int [N]. The image of each row, an index into the references.

        Returns:
            float64 [N].

        Raises:
            DataError: if there is no vocabulary, or the shapes or values do not fit.
        """
        ids, images = np.asarray(ids), np.asarray(images, np.int64)
        if self._lookup is None:
            raise DataError("scoring ids needs a vocabulary: call CiderD.prepare(references, vocabulary)")
        if ids.ndim != 2 or images.shape != ids.shape[:1]:
            raise DataError(
                f"expected ids [N, T] and images [N], got {list(ids.shape)} and {list(images.shape)}"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self._lookup):
            raise DataError(
                f"expected ids from 0 to {len(self._lookup) - 1}, got {ids.min()} to {ids.max()}: "
                "the ids come from another vocabulary"
            )
        ended = np.cumsum(ids == END, axis=1)
        kept = (ended == 0) & (ids != PAD) & (ids != START)
        tokens = self._lookup[ids]
        if self._count_end:
            last = (ids == END) & (ended == 1)
            kept |= last
            tokens = np.where(last, _END_TOKEN, tokens)
        return self._score(tokens[kept], kept.sum(axis=1), images)

    def _token(self, word: str) -> int:
        return self._tokens.setdefault(word, len(self._tokens) + 2)

    def _intern(self, captions: Candidates) -> tuple[np.ndarray, np.ndarray]:
        flat: list[int] = []
        for caption in captions:
            flat.extend(map(self._token, caption))
            if self._count_end:
                flat.append(_END_TOKEN)
        return np.array(flat, np.int64), np.array([len(c) + self._count_end for c in captions], np.int64)

    def _score(self, tokens: np.ndarray, lengths: np.ndarray, images: np.ndarray) -> np.ndarray:
        """CIDEr-D of N captions laid end to end, of `lengths` [N], against the references of `images` [N]."""
        if images.shape != lengths.shape:
            raise DataError(f"expected an image for each of {len(lengths)} candidates, got {images.size}")
        if not len(lengths):
            return np.zeros(0)
        if images.min() < 0 or images.max() >= len(self._first) - 1:
            raise DataError(
                f"expected images from 0 to {len(self._first) - 2}, got {images.min()} to {images.max()}"
            )
        # One pair for each candidate and each reference of its image.
        sizes = self._first[images + 1] - self._first[images]
        pair_start = np.cumsum(sizes) - sizes
        pair_row = row_numbers(sizes)
        pair_reference = np.arange(len(pair_row)) + (self._first[images] - pair_start)[pair_row]
        similarity = np.zeros(len(pair_row))
        rows, grams = row_numbers(lengths), tokens
        for k, order in enumerate(self._orders):
            if k:
                rows, keys, tokens = extend(rows, grams, tokens)
                grams = look_up(order.table, keys)
            similarity += order.similarity(
                rows,
                grams,
                images,
                pair_row,
                pair_reference,
                pair_start - self._first[images],
                self._log_number,
            )
        # coco-caption measures length in bigrams, so that 0 and 1 words have the same length.
        difference = np.maximum(lengths[pair_row] - 1, 0) - np.maximum(self._lengths[pair_reference] - 1, 0)
        similarity *= np.exp(-(difference.astype(np.float64) ** 2) / (2 * self._sigma**2))
        return 10 * np.bincount(pair_row, similarity, len(lengths)) / (sizes * self._n)
