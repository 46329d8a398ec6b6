"""What a run reads: examples, vocabulary, and features from the cache or pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from captioner.cli.progress import progress_bar
from captioner.errors import DataError, ImageError
from captioner.image import tf_decode
from captioner.models import CaptionModel
from captioner.text import Tokenizer
from training.config import Run
from training.data.augment import augmented
from training.data.batches import Visit, visits
from training.data.datasets import DATASETS, Example
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.synthetic_scenes import SyntheticScenes, exact_match
from training.data.feature_cache import Features, Joined, align, encode_split
from training.data.transforms import Mirrored, Viewed


class Pixels:
    """Images of a split as uint8 [N, H, W, 3], each decoded once and kept while they are small enough.

    Args:
        examples: the images.
        size: (height, width).
        keep_bytes: float. Images are kept if all together take no more.

    Attributes:
        examples: the images, without those that `drop_unreadable` found.
    """

    def __init__(self, examples: Sequence[Example], size: tuple[int, int], keep_bytes: float = 4e9):
        self.examples = list(examples)
        self._keep = len(self.examples) * size[0] * size[1] * 3 <= keep_bytes
        self._kept: dict[str, np.ndarray] = {}
        self._read = tf_decode.reader(size)
        self._pool = ThreadPoolExecutor(2)

    def drop_unreadable(self, bad: BadRows, split: str) -> None:
        """Decodes every image once; those that cannot be are listed in `bad` and left out.

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
        good = []
        for example, why in zip(self.examples, bar, strict=True):
            if why is None:
                good.append(example)
            else:
                bad.add(split, example.id, why)
        bad.check(len(self.examples))
        self.examples = good

    def _load(self, example: Example) -> np.ndarray:
        pixels = self._kept.get(example.id)
        if pixels is None:
            try:
                pixels = example.pixels(self._read).astype(np.uint8)
            except ImageError as error:
                raise DataError(f"image {example.id} cannot be read: {error}") from None
            if self._keep:
                self._kept[example.id] = pixels
        return pixels

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return np.stack(
            list(self._pool.map(self._load, [self.examples[i] for i in np.asarray(index).tolist()]))
        )


class Source:
    """The data of a run, ready for training and scoring.

    Args:
        run: Run.

    Attributes:
        tokenizer: fitted on the training captions alone.
        key: "features" when the encoder is frozen, else "images".
        visits: training captions, encoded, a few an image.
    """

    def __init__(self, run: Run):
        self.run, data = run, run.data
        plain = DATASETS.build(data.source)
        if not hasattr(plain, "splits") or not hasattr(plain, "examples"):
            raise DataError(f"expected a dataset from data.source={data.source}, got {type(plain).__name__}")
        self.dataset = Mirrored(plain) if data.mirror else plain
        self._scenes = isinstance(plain, SyntheticScenes)
        self._splits: dict[str, Any] = {}
        self._encoder: Any = None
        self._views: list[Features | Joined] = []
        self.key = "images" if run.model.train_encoder else "features"
        for split in ("validation", *run.evaluation.tests):
            if split not in self.dataset.splits:
                self.dataset.examples(split)  # says what splits there are
        # A caption counts once, whatever the mirror says.
        self.training_captions = [c for e in plain.examples("train") for c in e.captions]
        self.tokenizer = Tokenizer.fit(
            self.training_captions, min_count=data.min_count, max_size=data.max_vocabulary or None
        )

    def prepare(self, model: CaptionModel) -> None:
        """Computes or opens what every split is read from."""
        self._encoder = model.encoder
        for split in {"train": 0, "validation": 0, **dict.fromkeys(self.run.evaluation.tests)}:
            self._open(split)
        if self.run.data.views:
            views = [Viewed(self.dataset, view) for view in range(1, self.run.data.views + 1)]
            seen = [self._open("train"), *(self._encoded(view, "train") for view in views)]
            # The same image in all of them under one number.
            self._splits["train"], *self._views = align(
                seen, "train", self.run.data.features, self.run.data.max_bad
            )
        self.visits: list[Visit] = visits(
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
                self._splits[split] = self._encoded(self.dataset, split)
        return self._splits[split]

    def _encoded(self, dataset: Any, split: str) -> Features | Joined:
        data = self.run.data
        return encode_split(self._encoder, dataset, split, data.features, max_bad=data.max_bad)

    def examples(self, split: str) -> list[Example]:
        """The examples of a split whose images can be read."""
        return self._open(split).examples

    def reader(self, split: str) -> Callable[[np.ndarray], np.ndarray]:
        """From image numbers [B] to features float32 [B, L, C] or pixels uint8 [B, H, W, 3]."""
        opened = self._open(split)
        if self.key == "images":
            return opened.__getitem__
        return lambda index: opened[index].astype(np.float32)

    def training(self, index: np.ndarray, seed: Sequence[int]) -> np.ndarray:
        """The training split as a step sees it: what `reader` gives, other than itself where the run augments it."""
        if not self._views:
            found = self.reader("train")(index)
        else:
            choices = [self._open("train"), *self._views]
            which = np.random.default_rng(seed).integers(0, len(choices), len(index))
            # Gathered as it is kept: widening part by part takes about twice as long as all at once.
            found = np.empty((len(index), *choices[0].shape[1:]), np.float16)
            for number, features in enumerate(choices):
                found[which == number] = features[index[which == number]]
            found = found.astype(np.float32)
        return augmented(found, np.array(seed)) if self.run.data.augment else found

    def probe(self, count: int = 16, length: int = 12) -> tuple[Any, list[list[int]]]:
        """Images and one long caption each, always the same, to watch gradients on."""
        wanted: list[list[int]] = []
        chosen: list[int] = []
        limit = min(length, max(len(c) for v in self.visits for c in v.captions))
        for visit in self.visits:
            fitting = [c for c in visit.captions if len(c) >= limit]
            if fitting and len(wanted) < count:
                wanted.append(fitting[0][:limit])
                chosen.append(visit.image)
        return self.reader("train")(np.array(chosen)), wanted

    def exact_match(self, captions: list[str], split: str) -> float | None:
        """Share of captions that are one of the image's accepted sentences, where the dataset knows them all."""
        if not self._scenes:
            return None
        return exact_match(captions, self.examples(split))
