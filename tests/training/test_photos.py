"""The program that captions photographs and shows them."""

import shutil

import PIL.Image
import pytest

from tests.support.images import odd_images
from training import photos

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """A tiny model that always has something to say."""
    import numpy as np

    import captioner
    from captioner.types import END
    from tests.support.models.tiny_model import build_tiny_model

    model = build_tiny_model()
    bias = model.decoder.logits.bias
    bias.assign(bias - 5.0 * np.eye(bias.shape[0])[END])
    return captioner.save(model, tmp_path_factory.mktemp("talking") / "model")


def test_sample_photos_are_captioned_and_drawn(talking, tmp_path, capsys):
    pytest.importorskip("skimage")
    assert photos.main(["--model", str(talking), "--to", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [path.name for path in photos.sample_photos()]
    assert [line.strip().split(":")[0] for line in lines[: len(names)]] == names
    assert all(line.rstrip().endswith(".") for line in lines[: len(names)])
    sheet = PIL.Image.open(tmp_path / "out" / "photos.png")
    assert sheet.width > 3 * 256 and sheet.height > 2 * 256
    assert (tmp_path / "out" / "astronaut_words.png").is_file()


def test_own_photos(talking, tmp_path, capsys):
    shutil.copy(photos.sample_photos()[0], tmp_path / "mine.png")
    wide = tmp_path / "wide.png"
    wide.write_bytes(odd_images.encoded(odd_images.drawn(90, 20), "PNG"))
    options = ["--model", str(talking), "--to", str(tmp_path), str(wide), str(tmp_path / "mine.png")]
    assert photos.main(options) == 0
    printed = capsys.readouterr().out
    assert "  wide.png: " in printed and "  mine.png: " in printed and "sure" not in printed
    assert photos.squared(wide).size == (256, 256)
    assert photos.main([*options, str(tmp_path / "gone.png")]) == 1
    out, err = capsys.readouterr()
    assert "  wide.png: " in out and "  mine.png: " in out
    assert "gone.png: no such image file" in err
    assert err.endswith("\nphotos.py: 2 of 3 images captioned, 1 failed\n") and err.count("\n") == 2
    assert photos.main([*options[:4], str(tmp_path / "gone.png")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("photos.py: expected photographs")
    assert photos.main(["--model", str(tmp_path / "none")]) == 2
    assert "no such model folder" in capsys.readouterr().err
