"""The data of a run: examples, vocabulary, and cached features or pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from captioner import bundle
from captioner.cli.progress import progress_bar
from captioner.errors import DataError, ImageError
from captioner.image import tf_decode
from captioner.models import CaptionModel
from captioner.text import Tokenizer
from captioner.text.languages import detect
from captioner.types import SPECIALS
from training.config import Run
from training.data.augment import augmented
from training.data.batches import CaptionGroup, caption_groups
from training.data.datasets import DATASETS, Dataset, Example
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.synthetic_scenes import SyntheticScenes, exact_match
from training.data.feature_cache import encode_split
from training.data.features import StoredFeatures, align
from training.data.sentences import read_sentences
from training.data.transforms import AugmentedView, HorizontalFlip, Subset


class Pixels:
    """Images of a split as uint8 [N, H, W, 3], decoded once and cached in memory if all together are small enough.

    Args:
        examples: the images.
        size: (height, width).
        keep_bytes: float, default 4e9. Images are cached if all together take no more.

    Attributes:
        examples: the images, without those that `drop_unreadable` found.
    """

    def __init__(self, examples: Sequence[Example], size: tuple[int, int], keep_bytes: float = 4e9):
        self.examples = list(examples)
        self._cache = len(self.examples) * size[0] * size[1] * 3 <= keep_bytes
        self._cached: dict[str, np.ndarray] = {}
        self._read = tf_decode.reader(size)
        self._pool = ThreadPoolExecutor(2)

    def drop_unreadable(self, bad: BadRows, split: str) -> None:
        """Decodes every image once; unreadable ones are listed in `bad` and left out.

        Raises:
            DataError: if they are too many.
        """

        def reason(example: Example) -> str | None:
            try:
                self._load(example)
            except DataError as error:
                return str(error)
            return None

        reasons = self._pool.map(reason, self.examples)
        bar = progress_bar(reasons, len(self.examples), desc=f"read {split}")
        readable = []
        for example, error in zip(self.examples, bar, strict=True):
            if error is None:
                readable.append(example)
            else:
                bad.add(split, example.id, error)
        bad.check(len(self.examples))
        self.examples = readable

    def _load(self, example: Example) -> np.ndarray:
        pixels = self._cached.get(example.id)
        if pixels is None:
            try:
                pixels = example.pixels(self._read).astype(np.uint8)
            except ImageError as error:
                raise DataError(f"image {example.id} cannot be read: {error}") from None
            if self._cache:
                self._cached[example.id] = pixels
        return pixels

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return np.stack(
            list(self._pool.map(self._load, [self.examples[i] for i in np.asarray(index).tolist()]))
        )


def _union(tokenizer: Tokenizer, start: Tokenizer) -> Tokenizer:
    """A vocabulary with the words of both, those of the first before the rest."""
    return Tokenizer(list(dict.fromkeys((*tokenizer.vocabulary, *start.vocabulary)))[len(SPECIALS) :])


class Source:
    """The data of a run, ready for training and scoring.

    Args:
        run: Run.
        dataset: Dataset, default None, which is that of `data.source`.

    Attributes:
        tokenizer: fitted on the training captions alone, and the words of `model.init_from` if the run says so.
        caption_words: tuple of str. Words of the training captions that the vocabulary has.
        language: code of the captions' language, detected if the run does not say it.
        key: "features" when the encoder is frozen, else "images".
        caption_groups: training captions as ids, grouped by image.
        sentences: list of str. Those of `xe.text`.
    """

    def __init__(self, run: Run, dataset: Dataset | None = None):
        self.run, data = run, run.data
        plain: Any = dataset or DATASETS.build(data.source)
        if not hasattr(plain, "splits") or not hasattr(plain, "examples"):
            raise DataError(f"expected a dataset from data.source={data.source}, got {type(plain).__name__}")
        self._plain, self._subset = plain, None
        if data.images or data.hold_out:
            plain = self._subset = Subset(plain, data.images, data.hold_out, run.seed)
        self.dataset = plain
        self._scenes = isinstance(self._plain, SyntheticScenes)
        self._splits: dict[str, Any] = {}
        self._encoder: Any = None
        self._augmented: list[StoredFeatures] = []
        self.key = "images" if run.model.train_encoder else "features"
        for split in ("validation", *run.evaluation.tests):
            if split not in self.dataset.splits:
                self.dataset.examples(split)  # raises an error that lists the splits
        # A caption counts once, with horizontal flips too.
        self.training_captions = [c for e in plain.examples("train") for c in e.captions]
        self.sentences = read_sentences(run.xe.text, data.max_bad) if run.xe.text else []
        self.language = detect(self.training_captions) if data.language == "auto" else data.language
        if data.horizontal_flip:
            self.dataset = HorizontalFlip(plain, self.language)
        self.tokenizer = Tokenizer.fit(
            self.training_captions, min_count=data.min_count, max_size=data.max_vocabulary or None
        )
        self.caption_words = self.tokenizer.vocabulary[len(SPECIALS) :]
        if data.vocabulary == "union":
            self.tokenizer = _union(self.tokenizer, bundle.read(run.model.init_from).tokenizer)

    def prepare(self, model: CaptionModel) -> None:
        """Computes or opens the features or the pixels of every split."""
        self._encoder = model.encoder
        for split in {"train": 0, "validation": 0, **dict.fromkeys(self.run.evaluation.tests)}:
            self._open(split)
        count = self.run.data.cached_augmentations
        if count:
            features = [self._open("train"), *(self._encoded("train", view) for view in range(1, count + 1))]
            # An image has the same index in all of them.
            self._splits["train"], *self._augmented = align(
                features, "train", self.run.data.features, self.run.data.max_bad
            )
        self.caption_groups: list[CaptionGroup] = caption_groups(
            self.examples("train"),
            self.tokenizer,
            self.run.data.captions_per_image,
            self.run.model.max_length,
        )

    def _open(self, split: str) -> Any:
        if split not in self._splits:
            if self.key == "images":
                pixels = Pixels(self.dataset.examples(split), self._encoder.image_size)
                bad = BadRows(
                    f"images_{split}", Path("cache", f"unreadable_{split}.jsonl"), self.run.data.max_bad
                )
                pixels.drop_unreadable(bad, split)
                self._splits[split] = pixels
            else:
                self._splits[split] = self._encoded(split)
        return self._splits[split]

    def _encoded(self, split: str, view: int = 0) -> StoredFeatures:
        """Features of a split, or of an augmentation of it.

        A subset is taken from the cached features of all images, so that every subset shares them.
        """
        data = self.run.data
        source, numbers = self._subset.numbers(split) if self._subset else (split, None)
        dataset = HorizontalFlip(self._plain, self.language) if data.horizontal_flip else self._plain
        if view:
            dataset = AugmentedView(dataset, view)
        features = encode_split(self._encoder, dataset, source, data.features, max_bad=data.max_bad)
        if numbers is None:
            return features
        if data.horizontal_flip and split == "train":  # the flipped images come after all others
            numbers = [*numbers, *(number + len(features.all_examples) // 2 for number in numbers)]
        return features.subset(np.intersect1d(features.numbers, numbers))

    def examples(self, split: str) -> list[Example]:
        """The examples of a split whose images can be read."""
        return self._open(split).examples

    def reader(self, split: str) -> Callable[[np.ndarray], np.ndarray]:
        """A function from image numbers [B] to features float32 [B, L, C] or pixels uint8 [B, H, W, 3]."""
        opened = self._open(split)
        if self.key == "images":
            return opened.__getitem__
        return lambda index: opened[index].astype(np.float32)

    def training(self, index: np.ndarray, seed: Sequence[int]) -> np.ndarray:
        """Features or pixels of training images, augmented if the run says so.

        Args:
            index: int [B]. Numbers of the images.
            seed: ints. Which augmentation.

        Returns:
            float32 [B, L, C] or uint8 [B, H, W, 3].
        """
        if not self._augmented:
            inputs = self.reader("train")(index)
            return augmented(inputs, np.array(seed)) if self.run.data.augment else inputs
        choices = [self._open("train"), *self._augmented]
        which = np.random.default_rng(seed).integers(0, len(choices), len(index))
        # Gathered in float16 as stored: converting part by part takes about twice as long as all at once.
        inputs = np.empty((len(index), *choices[0].shape[1:]), np.float16)
        for number, features in enumerate(choices):
            inputs[which == number] = features[index[which == number]]
        return inputs.astype(np.float32)

    def probe(self, count: int = 16, length: int = 12) -> tuple[Any, list[list[int]]]:
        """Inputs of a few training images and one long caption each, always the same, to measure gradients on."""
        captions: list[list[int]] = []
        images: list[int] = []
        limit = min(length, max(len(caption) for group in self.caption_groups for caption in group.captions))
        for group in self.caption_groups:
            long_enough = [caption for caption in group.captions if len(caption) >= limit]
            if long_enough and len(captions) < count:
                captions.append(long_enough[0][:limit])
                images.append(group.image)
        return self.reader("train")(np.array(images)), captions

    def exact_match(self, captions: list[str], split: str) -> float | None:
        """Percentage of captions that are accepted for their image; None unless the dataset lists all accepted ones."""
        if not self._scenes:
            return None
        return exact_match(captions, self.examples(split))
