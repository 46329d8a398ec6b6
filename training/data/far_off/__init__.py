"""Images unlike any photograph, drawn by code: what a captioner should decline.

    noise textures gradients shapes           `training.data.far_off.patterns`
    documents screenshots line_drawings charts    `training.data.far_off.made_things`

`FarOffImages` is a dataset of them with a split for each kind, for `training/fit_ood.py`; nothing is trained on it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from captioner import checks
from captioner.errors import DataError
from training.data.datasets.drawing import to_png
from training.data.datasets.example import Example, missing_split
from training.data.far_off import made_things, patterns

KINDS: dict[str, Callable[[np.random.Generator, patterns.Size], Image.Image]] = {
    "noise": patterns.noise,
    "textures": patterns.texture,
    "gradients": patterns.gradient,
    "shapes": patterns.shapes,
    "documents": made_things.document,
    "screenshots": made_things.screenshot,
    "line_drawings": made_things.line_drawing,
    "charts": made_things.chart,
}
_LEAST, _MOST = 200, 520  # pixels of a side


def draw(kind: str, seed: int, index: int) -> np.ndarray:
    """Draws an image.

    Args:
        kind: str, a key of `KINDS`.
        seed: int.
        index: int. Number of the image among those of its kind.

    Returns:
        uint8 [H, W, 3], each side of 200 to 520 pixels; the same for the same arguments.

    Example:
        >>> image = draw("charts", seed=0, index=3)
        >>> image.dtype, image.shape == draw("charts", 0, 3).shape
        (dtype('uint8'), True)
    """
    random = np.random.default_rng([list(KINDS).index(kind), seed, index])
    height, width = (int(side) for side in random.integers(_LEAST, _MOST + 1, 2))
    return np.asarray(KINDS[kind](random, (height, width)).convert("RGB"))


class FarOffImages:
    """A dataset of drawn images, with a split for each of `KINDS`; see `training.data.datasets.Dataset`.

    Args:
        count: int, default 50. Images of each kind.
        seed: int, default 0.

    Raises:
        DataError: if a number is out of range.

    Example:
        >>> FarOffImages(count=2).examples("noise")[1].read()[1:4]
        b'PNG'
    """

    def __init__(self, count: int = 50, seed: int = 0):
        self.count = checks.integer(count, "count of far-off images", 1, 100_000, error=DataError)
        self.seed = checks.integer(seed, "seed of far-off images", 0, error=DataError)

    @property
    def splits(self) -> tuple[str, ...]:
        """The kinds."""
        return tuple(KINDS)

    def examples(self, split: str) -> list[Example]:
        """The images of a kind; the caption of each is its kind."""
        if split not in KINDS:
            raise missing_split("far-off images", split, self.splits)
        return [
            Example(f"{split}-{index:05d}", (split,), functools.partial(_read, split, self.seed, index))
            for index in range(self.count)
        ]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the arguments, the drawing code itself and the libraries it draws with."""
        digest = hashlib.sha256(repr(("far_off", self.seed, self.count)).encode())
        for file in (__file__, patterns.__file__, made_things.__file__):
            digest.update(Path(str(file)).read_bytes())
        for library in ("numpy", "pillow"):
            digest.update(version(library).encode())
        return digest.hexdigest()


def _read(kind: str, seed: int, index: int) -> bytes:
    return to_png(draw(kind, seed, index))
