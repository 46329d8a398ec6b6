"""A folder of drawn images with captions, and a model to begin with, for tests of adapting one."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from PIL import Image

import captioner
from captioner.models import CaptionModel
from captioner.text import Tokenizer

SIZE = (32, 32)
COUNT = 14
DECODER = "gru(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.1)"
COLOURS = ["red", "blue", "green", "grey"]
THINGS = ["quokka", "stripe", "pagoda"]
KNOWN = ["a", "red", "blue", "dog", "on", "the"]
# A run of a few steps, its source a folder.
SHORT = ["xe.epochs=2", "data.repeats=1", "xe.batch_images=4", "data.cached_augmentations=1"]
SHORT += ["evaluation.strategy=greedy"]


def draw(number: int) -> Image.Image:
    """An image of coloured squares like no other."""
    squares = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(squares.repeat(8, axis=0).repeat(8, axis=1))


def photos(folder: Path, count: int = COUNT, split: str = "") -> Path:
    """Draws images, each with two captions in captions.csv; with `split` the last third is of that split."""
    folder.mkdir(parents=True)
    rows = ["image,caption" + (",split" if split else "")]
    for number in range(count):
        draw(number).save(folder / f"{number}.png")
        colour, thing = COLOURS[number % 4], THINGS[number % 3]
        end = "" if not split else f",{split if number >= 2 * count // 3 else 'train'}"
        rows += [f"{number}.png,a {colour} {thing}{end}", f"{number}.png,the {thing} on a {colour} dog{end}"]
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder


def source(folder: Path) -> str:
    """The change that makes a folder the data of a run."""
    return f"data.source=folder(path='{folder}', validation=0, test=0)"


def start_model(folder: Path) -> Path:
    """Saves a model to begin with, whose features tell the drawn images apart."""
    keras.utils.set_random_seed(1)
    encoder = "small_cnn(width=16, stages=2)"
    model = CaptionModel(encoder, DECODER, Tokenizer(KNOWN), max_length=6, image_size=SIZE)
    # Statistics of the drawn images, and few channels that are not zero: otherwise all features are alike.
    pixels = np.stack([np.asarray(draw(number), np.float32) for number in range(40)])
    network = model.encoder.network
    network.trainable = True
    for _ in range(60):
        network(pixels, training=True)
    network.layers[-2].beta.assign(network.layers[-2].beta - 1.5)
    network.trainable = False
    return captioner.save(model, folder)
