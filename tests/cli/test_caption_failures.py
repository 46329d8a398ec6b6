"""`captioner caption` on several images: failures of single images, heatmaps."""

import json

import numpy as np
import pytest

from captioner import api
from captioner.cli import caption as caption_command
from captioner.cli import main
from captioner.cli.heatmap_files import heatmap_files
from captioner.engines.fake import FakeEngine
from captioner.errors import DataError, EngineError, SpecError
from captioner.types import Caption
from tests.support.images.image_trees import draw


class PartlyFailing(FakeEngine):
    """The first caption is empty, the third has no attention."""

    def predict(self, images, strategy=None):
        captions = super().predict(images, strategy)
        changed = {
            0: Caption("", words=(), word_logp=()),
            2: Caption("a b", words=("a", "b"), word_logp=(-1, -1)),
        }
        return [changed.get(i, caption) for i, caption in enumerate(captions)]


@pytest.fixture
def engine(monkeypatch):
    engine = PartlyFailing()
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(engine))
    return engine


@pytest.fixture
def photos(tmp_path):
    draw(*(tmp_path / "photos" / f"{name}.png" for name in "abcd"))
    return tmp_path / "photos"


def test_an_empty_caption_has_no_alt_text(engine, photos, capsys):
    assert main(["caption", str(photos), "--alt-text", "--json"]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [bool(row["error"]) for row in rows] == [True, False, False, False]
    assert [bool(row["alt_text"]) for row in rows] == [False, True, True, True]
    assert err.splitlines()[0].startswith(f"captioner: {photos}/a.png: expected a caption")
    assert err.splitlines()[1] == "captioner: 3 of 4 images captioned, 1 failed"
    assert main(["caption", str(photos)]) == 0  # without --alt-text it is an empty caption


def test_a_failed_heatmap_does_not_stop_the_batch(engine, photos, tmp_path, capsys):
    out = tmp_path / "maps"
    assert main(["caption", str(photos), "--heatmap", str(out)]) == 1
    printed, err = capsys.readouterr()
    assert printed.count("\n") == 4  # the captions are all there
    assert sorted(path.name for path in out.iterdir()) == ["b.png.png", "d.png.png"]
    lines = err.splitlines()
    assert "a.png: no heatmap: " in lines[0] and "no words" in lines[0]
    assert "c.png: no heatmap: " in lines[1] and "does not attend" in lines[1]
    assert lines[2] == "captioner: 2 of 4 images captioned, 2 failed"


def test_an_unwritable_heatmap_does_not_stop_the_batch(engine, photos, tmp_path, capsys):
    out = tmp_path / "maps"
    (out / "b.png.png").mkdir(parents=True)
    assert main(["caption", str(photos), "--heatmap", str(out), "--overwrite"]) == 1
    assert "b.png: no heatmap: cannot write" in capsys.readouterr().err and (out / "d.png.png").is_file()


def test_arguments_without_images_are_counted(engine, photos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["caption", str(tmp_path / "empty"), f"{tmp_path}/*.nix", str(photos / "b.png")]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and err.splitlines()[-1] == "captioner: 1 of 3 images captioned, 2 failed"


def test_one_image_fails_in_one_line(engine, photos, capsys):
    assert main(["caption", str(photos / "a.png"), "--alt-text", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] and err.count("\n") == 1


def test_an_engine_error_keeps_printed_captions(engine, photos, capsys, monkeypatch):
    predict = engine.predict

    def away(images, strategy=None):
        if len(engine.calls) == 3:
            raise EngineError("the server is away")
        return predict(images, strategy)

    monkeypatch.setattr(engine, "predict", away)
    assert main(["caption", str(photos), "--batch-size", "1"]) == 2
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert err.splitlines() == [
        "captioner: 2 of 4 images captioned, 0 failed",
        "captioner: the server is away",
    ]


def test_quiet_keeps_errors_and_captions(engine, photos, capsys):
    (photos / "x.jxl").write_bytes(b"?")
    (photos / "e.png").write_bytes(b"no image")
    assert main(["caption", str(photos)]) == 1
    assert "x.jxl" in capsys.readouterr().err
    assert main(["caption", "-q", str(photos)]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 4 and "x.jxl" not in err and "e.png" in err


def test_heatmaps_keep_sub_folders(engine, tmp_path, capsys):
    draw(*(tmp_path / name for name in ("in/a/1.png", "in/b/1.png", "in/c/2.png")))
    images = [str(tmp_path / name) for name in ("in/b/1.png", "in/a/1.png", "in/b/1.png")]
    assert main(["caption", *images, "--heatmap", str(tmp_path / "out")]) == 1  # the first has no words
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    assert written == {"a/1.png.png"}
    capsys.readouterr()
    engine.calls.clear()
    assert main(["caption", *images, "--heatmap", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and not engine.calls and err.count("\n") == 1
    assert "out/a/1.png.png is there already" in err and "add --overwrite" in err


@pytest.mark.parametrize(
    ("paths", "out", "alone", "words"),
    [
        (["a.png"], "map.jpg", True, "a file ending in .png or .gif, or a folder, got map.jpg"),
        (["a.png", "b.png"], "map.png", False, "a folder for several images, got map.png"),
        (["a.png"], "file", True, "expects a folder, got the file file"),
        (["a.png", "b.png"], "file", False, "expects a folder, got the file file"),
        (["a.png"], "", True, "a file ending in .png or .gif, or a folder, got ''"),
        (["a.png"], "file/x/map.png", True, "a path in a folder, but file is a file"),
        (["a.png", "b.png"], "file/x", False, "a path in a folder, but file is a file"),
    ],
)
def test_wrong_paths_of_heatmaps(tmp_path, monkeypatch, paths, out, alone, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises((SpecError, DataError), match=words):
        heatmap_files(paths, out, alone, overwrite=False)


def test_paths_of_heatmaps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def go(paths, out, alone=False):
        return [path.as_posix() for path in heatmap_files(paths, out, alone, False).values()]

    assert go(["a.png"], "x/map.GIF", alone=True) == ["x/map.GIF"]
    assert go(["p/a.png"], "maps", alone=True) == ["maps/a.png.png"]
    assert go(["p/a.png", "p/q/a.png", "r/a.png"], "m") == [
        "m/p/a.png.png",
        "m/p/q/a.png.png",
        "m/r/a.png.png",
    ]
    assert go(["../a.png", "/b.png"], "m")[1] == "m/b.png.png"
    (tmp_path / "maps.png").mkdir()
    assert go(["a.png"], "maps.png", alone=True) == ["maps.png/a.png.png"]


def test_empty_values_are_mistakes(engine, photos, tmp_path, capsys):
    for words, message in (
        (["caption", str(photos), "--heatmap", ""], "got ''"),
        (["caption", ""], "expected an image, a folder or a pattern, got ''"),
        (["evaluate", str(tmp_path / "p.json"), str(tmp_path / "p.json"), "--html", ""], "to end in .html"),
        (["evaluate", str(tmp_path / "p.json"), str(tmp_path / "p.json"), "--images", ""], "pass --html OUT"),
    ):
        (tmp_path / "p.json").write_text('{"a": "a dog", "b": "a cat"}')
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and message in err and not engine.calls


def test_nan_and_infinity_are_null_in_json(photos, monkeypatch, capsys):
    class Broken(FakeEngine):
        def predict(self, images, strategy=None):
            odd = Caption("a b", float("nan"), ("a", "b"), float("inf"), (float("nan"), -1.0))
            return [odd for _ in images]

    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(Broken()))
    assert main(["caption", str(photos / "a.png"), "--json"]) == 0
    out = capsys.readouterr().out
    row = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert row["score"] is None and row["logp"] is None and row["word_logp"] == [None, -1.0]
    assert np.isfinite(row["word_logp"][1])
