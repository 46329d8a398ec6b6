"""Images for the tests of reports."""

import numpy as np
import PIL.Image
import pytest


@pytest.fixture
def photos(tmp_path):
    """A folder with the images of `random_captions()`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).resize((480, 360)).save(folder / f"{i}.png")
    return folder
