"""Representative images for the calibration of quantised exports."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from captioner import bundle
from captioner.errors import ImageError
from captioner.image import tf_decode
from training.data.datasets import Example

MAX_IMAGES = 128


def save_representative_images(examples: Sequence[Example], size: tuple[int, int], out: Path) -> Path:
    """Writes images spread evenly over a split as JPEGs of the model's size into the folder "calibration".

    `captioner export` looks for that folder beside the model's.

    Args:
        examples: sequence of Example.
        size: (height, width).
        out: Path of the run's folder.

    Returns:
        Path of the folder, with at most 128 images; those that cannot be read are skipped.
    """
    folder = out / bundle.CALIBRATION
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    read = tf_decode.reader(size)
    for i in np.unique(
        np.linspace(0, len(examples) - 1, min(MAX_IMAGES, len(examples))).astype(int)
    ).tolist():
        try:
            pixels = examples[i].pixels(read)
        except ImageError:
            continue
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=95)
    return folder
