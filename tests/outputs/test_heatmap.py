"""Heatmaps: attention maps on upright images, from every engine."""

import io

import numpy as np
import PIL.Image
import pytest

import captioner
from captioner import cli
from captioner.errors import DataError, ImageError, SpecError
from captioner.types import Caption
from tests.support.images import odd_images

pytestmark = pytest.mark.usefixtures("quick")

WORDS = ("a", "red", "dog")


def captioned(attention, words=WORDS):
    return Caption(" ".join(words), words=words, word_logp=(-0.5,) * len(words), attention=attention)


def corner(rows=7, columns=7):
    """All attention on the upper left location."""
    attention = np.zeros((3, rows, columns), np.float32)
    attention[:, 0, 0] = 1.0
    return attention


def brightest(panel, height):
    """The bright area of a panel's image (without the text below), relative to its height and width."""
    light = np.asarray(panel.convert("L"), np.float32)[:height]
    y, x = np.unravel_index(np.argmax(light), light.shape)
    return y / light.shape[0], x / light.shape[1]


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (900, 200), (3, 500), (64, 64)])
def test_maps_sum_to_the_attention_they_show(size):
    attention = np.random.default_rng(1).dirichlet(np.ones(49), 3).reshape(3, 7, 7).astype(np.float32)
    attention[1] *= 0.4  # a model with a sentinel keeps the rest
    result = captioner.heatmap(odd_images.drawn(*size), captioned(attention))
    assert result.maps.shape[1:] == result.image.size[::-1] and result.maps.min() >= 0
    np.testing.assert_allclose(result.maps.sum(axis=(1, 2)), attention.sum(axis=(1, 2)), rtol=1e-4)
    wide, high = result.image.size
    assert max(wide, high) <= 320 and wide / high == pytest.approx(size[0] / size[1], rel=0.1, abs=0.01)


@pytest.mark.parametrize("size", [(80, 60), (60, 80)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_maps_follow_the_orientation_of_the_image(size, orientation):
    grey = PIL.Image.new("RGB", size, (120, 120, 120))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    held = io.BytesIO()
    grey.save(held, "JPEG", exif=exif)
    drawn = captioner.heatmap(held.getvalue(), captioned(corner()))
    assert drawn.image.size == (size if orientation < 5 else size[::-1])
    for panel in drawn.panels():
        y, x = brightest(panel, drawn.image.height)
        assert y < 0.2 and x < 0.2


def test_grids_need_not_be_square():
    attention = np.zeros((1, 2, 5), np.float32)
    attention[0, 1, 4] = 1.0
    drawn = captioner.heatmap(
        PIL.Image.new("RGB", (100, 40), (120, 120, 120)), captioned(attention, ("dog",))
    )
    y, x = brightest(drawn.panels()[0], 40)
    assert y > 0.7 and x > 0.85


def test_files(tmp_path):
    result = captioner.heatmap(odd_images.drawn(90, 60), captioned(corner()))
    png = result.save(tmp_path / "new" / "map.png")
    with PIL.Image.open(png) as sheet:
        assert sheet.size == result.sheet().size and sheet.format == "PNG"
    with PIL.Image.open(result.save(str(tmp_path / "map.GIF"))) as moving:
        assert moving.format == "GIF" and moving.n_frames == len(WORDS) + 1
    with pytest.raises(DataError, match="is there already"):
        result.save(png)
    assert result.save(png, overwrite=True) == png
    with pytest.raises(SpecError, match=r"end in .png or .gif, got map.jpg"):
        result.save("map.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        result.save(tmp_path / "file" / "map.png")


def test_many_and_long_words_stay_inside():
    words = tuple(f"word{'o' * (i % 9)}" for i in range(22))
    result = captioner.heatmap(
        odd_images.drawn(60, 90), captioned(np.full((22, 7, 7), 1 / 49, np.float32), words)
    )
    assert len(result.panels()) == 22 and result.overlay().height > result.image.height + 100
    width, height = result.sheet().size
    assert 0.4 < width / height < 4


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        (Caption("", error="dog.jpg: no such image file"), "expected a caption to draw, got none: dog.jpg"),
        (Caption("a dog", words=("a", "dog"), word_logp=(-1.0, -1.0)), "its model does not attend"),
        (Caption(""), "no words"),
        (captioned(np.ones((2, 7, 7))), r"for each of 3 words, got attention of shape \[2, 7, 7\]"),
        (captioned(np.ones((3, 49))), r"got attention of shape \[3, 49\]"),
        (captioned(np.full((3, 7, 7), np.nan)), "of finite numbers"),
        (captioned([[[1.0]], [[1.0, 2.0]], [[]]]), r"got attention of shape \[0\]"),
        (
            Caption("a dog", words=("a", "dog"), attention=np.ones((2, 7, 7))),
            "a word_logp for each of 2 words",
        ),
    ],
)
def test_a_caption_without_maps_is_one_line(caption, says):
    with pytest.raises(DataError, match=says) as caught:
        captioner.heatmap(odd_images.drawn(), caption)
    assert "\n" not in str(caught.value)


def test_a_bad_image_is_one_line():
    with pytest.raises(ImageError):
        captioner.heatmap(b"no image", captioned(corner()))


def test_every_engine_draws_the_same(tiny_bundle, tiny_export):
    pytest.importorskip("ai_edge_litert")
    strategy, image, sheets = "beam(width=3, min_length=3)", odd_images.drawn(32, 32, turn=80), []
    exports = [tiny_export("saved_model(batch_sizes=(1,))", strategy), tiny_export("tflite")]
    for source in (tiny_bundle, *exports):
        with captioner.load(source) as model:
            caption = model.caption(image, strategy)
        sheets.append(np.asarray(captioner.heatmap(image, caption).sheet(), np.int32))
    for other in sheets[1:]:
        assert sheets[0].shape == other.shape and np.abs(sheets[0] - other).max() <= 2


def test_the_command_draws_heatmaps(tiny_bundle, tmp_path, capsys):
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(odd_images.encoded(odd_images.drawn(50, 40, turn=90 * i), "PNG"))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    common = ["--model", str(tiny_bundle), "--strategy", "beam(width=2, min_length=2)", "--heatmap"]
    one, many = tmp_path / "maps" / "one.gif", tmp_path / "maps" / "many"
    assert (
        cli.main(["caption", str(tmp_path / "0.png"), *common, str(one)]) == 0 and one.stat().st_size > 1000
    )
    assert cli.main(["caption", str(tmp_path), *common, str(many)]) == 1  # one of them is bad
    assert sorted(path.name for path in many.iterdir()) == ["0.png.png", "1.png.png"]
    capsys.readouterr()
    assert cli.main(["caption", str(tmp_path / "0.png"), *common, str(one)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1  # captioned before the first caption
    assert (
        "is there already" in printed.err
        and "--overwrite" in printed.err
        and "overwrite=True" not in printed.err
    )
    assert cli.main(["caption", str(tmp_path / "0.png"), *common, str(one), "--overwrite"]) == 0
