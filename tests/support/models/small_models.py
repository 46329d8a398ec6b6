"""Real but tiny `CaptionModel`s for the contract tests: one for every row of the tables, built once."""

from __future__ import annotations

import inspect
from functools import cache

import keras
import numpy as np

from captioner.models import ATTENTIONS, CELLS, DECODERS, CaptionModel
from captioner.text import Tokenizer

LOCATIONS, CHANNELS, LENGTH = 4, 6, 7
TOKENIZER = Tokenizer([f"word{i}" for i in range(16)])
SIZES = "units=8, embedding=10, value_dim=12, dropout=0.0"
ATTENTION = {name: f"{name}(units=8)" for name in ATTENTIONS} | {"multi_head": "multi_head(units=8, heads=2)"}
FAMILIES = [name for name in DECODERS if inspect.isclass(DECODERS[name])]
ATTENDING = [name for name in FAMILIES if name not in ("show_and_tell", "ensemble")]

# Every row of DECODERS, every family with every cell ("lstm", "gru" ... are soft attention with theirs), and every
# attention with and without a sentinel.
ROWS = [f"{name}({SIZES}, attention='additive(units=8)')" for name in DECODERS]
SPECS = ROWS + [f"{n}({SIZES}, cell={c!r})" for n in ATTENDING[1:] for c in CELLS if c != "lstm"]
SPECS += [f"show_and_tell({SIZES}, cell={c!r})" for c in CELLS if c != "lstm"]
SPECS += [f"{n}({SIZES}, attention={a!r})" for n in ATTENDING[:2] for a in list(ATTENTION.values())[1:]]
SPECS.append(f"top_down({SIZES}, deep_output=True)")
SPECS += [f"{name}({SIZES}, word_dropout=0.2, tied=True)" for name in ("lstm", "show_and_tell")]

# Several captions an image, and one as long as can be.
CAPTIONS = [[5, 6, 7, 2], [8, 9, 2], [4, 5, 6, 7, 8, 9, 2], [19, 2], [3, 3, 11, 2]]
IMAGES = [0, 1, 0, 2, 2]


def build(spec: str, seed: int = 1) -> CaptionModel:
    """A model on 8x8 images with a 2x2 grid."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((8, 8, 3))
    grid = keras.layers.Conv2D(CHANNELS, 4, strides=4)(keras.layers.Rescaling(1 / 255)(pixels))
    return CaptionModel(keras.Model(pixels, grid), spec, TOKENIZER, max_length=LENGTH)


@cache
def model_of(spec: str) -> CaptionModel:
    """The same, cached; a test that changes the weights builds its own."""
    return build(spec)


def features_of(count: int, seed: int = 2) -> np.ndarray:
    """Features [B, L, C] that differ from image to image."""
    return np.random.default_rng(seed).normal(size=(count, LOCATIONS, CHANNELS)).astype(np.float32)


def short(spec: str) -> str:
    """A name for a test's id."""
    return spec.replace(f"{SIZES}, ", "").replace("attention=", "").replace("units=8", "")
