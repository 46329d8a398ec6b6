"""The dataset `synthetic_scenes`: images and captions out of nothing but a seed."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

from captioner.checks import integer
from captioner.errors import DataError
from captioner.text.normalize import words
from training.data.datasets import drawing, scenes
from training.data.datasets.example import Example, missing_split


class SyntheticScenes:
    """Drawn scenes of coloured shapes with six true captions each; needs no download.

    The splits `train`, `validation` and `test` never show a pair of `scenes.HELD_OUT`; every image of
    `test_unseen` does. Example i of a split depends on the seed, the split's name and i, so a larger split
    begins with the smaller.

    `Example.captions` is the whole set of accepted sentences, so **exact match** is the share of images
    whose generated caption is one of that image's captions (`exact_match`). Each accepted sentence states
    every fact of its scene: a vague caption, a wrong count, colour, shape, size or relation, and a sentence
    no template makes, all fail. The best constant caption scores about 0.6 %.

    Args:
        seed: int. Which world. Defaults to 0.
        train: int. Images of the split. Defaults to 6000.
        validation: int. Defaults to 500.
        test: int. Defaults to 1000.
        test_unseen: int. Defaults to 500.
        size: int. Side of the square images in pixels, at least 32. Defaults to 64.

    Raises:
        DataError: if a number is out of range.

    Example:
        >>> scenes = SyntheticScenes(train=3, validation=1, test=1, test_unseen=1)
        >>> scenes.examples("train")[2].captions[1]
        'there is a large red square'
    """

    def __init__(
        self,
        seed: int = 0,
        train: int = 6000,
        validation: int = 500,
        test: int = 1000,
        test_unseen: int = 500,
        size: int = 64,
    ):
        counts = dict(zip(scenes.SPLITS, (train, validation, test, test_unseen), strict=True))
        self.seed = integer(seed, "seed of synthetic_scenes", 0, error=DataError)
        self.size = integer(size, "size of synthetic_scenes", 32, 4096, "pixels", DataError)
        self._counts = {
            name: integer(count, f"{name} of synthetic_scenes", 0, 10_000_000, "images", DataError)
            for name, count in counts.items()
        }

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold images."""
        return tuple(split for split, count in self._counts.items() if count)

    def examples(self, split: str) -> list[Example]:
        """The examples of a split.

        Args:
            split: str.

        Returns:
            A list of `Example`; `read()` draws the image and gives it as PNG.

        Raises:
            DataError: if the split is unknown or empty.
        """
        if split not in self.splits:
            remedy = f"set {split} to more than 0" if split in self._counts else ""
            raise missing_split("synthetic_scenes", split, self.splits, remedy)
        return [
            Example(
                f"{split}-{index:06d}",
                scenes.captions(scenes.make_scene(self.seed, split, index)),
                functools.partial(_read, self.seed, split, index, self.size),
            )
            for index in range(self._counts[split])
        ]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the arguments, the drawing code itself and the libraries it draws with."""
        digest = hashlib.sha256(repr((self.seed, self.size, self._counts)).encode())
        for module in (scenes, drawing):
            digest.update(Path(str(module.__file__)).read_bytes())
        for library in ("numpy", "pillow"):
            digest.update(version(library).encode())
        return digest.hexdigest()


def exact_match(captions: list[str], examples: list[Example]) -> float:
    """The share of captions that are among the accepted ones of their example, in percent.

    Args:
        captions: list of str. One generated caption an example; case and punctuation do not matter.
        examples: list of Example. From `SyntheticScenes.examples`.

    Returns:
        float, 0..100.

    Raises:
        DataError: if the lists differ in length or are empty.

    Example:
        >>> examples = SyntheticScenes(train=2).examples("train")
        >>> exact_match([examples[0].captions[3], "a shape"], examples)
        50.0
    """
    if len(captions) != len(examples) or not examples:
        raise DataError(f"expected one caption for each example, got {len(captions)} for {len(examples)}")
    hits = sum(" ".join(words(c)) in e.captions for c, e in zip(captions, examples, strict=True))
    return 100.0 * hits / len(examples)


def _read(seed: int, split: str, index: int, size: int) -> bytes:
    return drawing.to_png(drawing.draw(scenes.make_scene(seed, split, index), size))
