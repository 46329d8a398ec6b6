"""Images for the tests of caption files."""

import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    for name in ("1.png", "sub/2.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return tmp_path / "photos"
