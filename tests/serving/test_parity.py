"""Parity of engines: which captions count as the same, and how differences are reported."""

import pytest
import skimage.data
import skimage.io

import captioner
from captioner.api import Captioner
from captioner.engines.fake import FakeEngine
from captioner.types import Caption
from serving import decoding_cost, page_latency, parity


class DifferentEngine(FakeEngine):
    """Captions one image differently."""

    def predict(self, images, strategy=None):
        captions = super().predict(images, strategy)
        captions[1:2] = [Caption("something else")] * bool(captions[1:])
        return captions


@pytest.fixture
def folder(tmp_path):
    for name in ("astronaut", "chelsea", "coffee"):
        skimage.io.imsave(tmp_path / f"{name}.png", getattr(skimage.data, name)()[::8, ::8])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    return str(tmp_path)


@pytest.fixture
def models(monkeypatch):
    kinds = {"one": FakeEngine, "two": FakeEngine, "other": DifferentEngine}
    monkeypatch.setattr(captioner, "load", lambda source: Captioner(kinds[source]()))


def test_equal_captions(folder, models, capsys):
    assert parity.main(["one", "two", "--images", folder]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "| two | 4 | 4 | 1 | 0.0e+00 |"


def test_difference_is_printed_and_fails(folder, models, capsys):
    assert parity.main(["one", "two", "other", "--images", folder, "--limit", "3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| two | 3 | 3 |") and lines[3].startswith("| other | 3 | 2 |")
    assert "broken.jpg" in lines[4] or "chelsea.png" in lines[4]
    assert lines[6] == "  other: something else"


def test_scores_and_rejections_are_compared():
    dog, lower, rejected = Caption("a dog", -1.0), Caption("a dog", -1.5), Caption("", error="no image")
    row = parity.compare("x", ["1", "2", "3"], [dog, rejected, dog], [lower, rejected, rejected])
    assert (row.same, row.rejected, row.score_difference) == (2, 2, 0.5)
    assert row.differing == (("3", "a dog", "[no image]"),)


def test_folder_without_images_is_one_line(tmp_path, capsys):
    assert parity.main(["one", "two", "--images", str(tmp_path)]) > 0
    message = capsys.readouterr().err
    assert "no image in the folder" in message and message.count("\n") == 1


def test_invalid_options_are_one_line(capsys):
    for program, options, message in (
        (
            parity,
            ["a", "b", "--images", "c", "--limit", "0"],
            "--limit expects a whole number of at least 1",
        ),
        (
            page_latency,
            ["m", "x.jpg", "--iterations", "0"],
            "--iterations expects a whole number of at least 1",
        ),
        (decoding_cost, ["--runs", "0"], "--runs expects a whole number of at least 1, got 0"),
        (decoding_cost, ["--vocabulary", "4"], "--vocabulary expects a whole number of at least 5, got 4"),
        (decoding_cost, ["--encoder", "densenet"], "did you mean"),
    ):
        assert program.main(options) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
