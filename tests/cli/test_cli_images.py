"""Which images a command line stands for, what is said of the others, and that one fault never ends the batch."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from captioner import api
from captioner.cli import caption as caption_command
from captioner.cli import main
from captioner.cli.heatmap_files import heatmap_files
from captioner.cli.image_files import ImageFiles, image_files
from captioner.engines.fake import FakeEngine
from captioner.errors import DataError, EngineError, SpecError
from captioner.image import loading
from captioner.types import Caption

ROOT = Path(__file__).parents[2]


def draw(*paths):
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (8, 8), (40 * i % 256, 90, 9)).save(path)


@pytest.fixture
def tree(tmp_path):
    """Everything that a folder of photos may hold."""
    top = tmp_path / "photos"
    draw(
        top / "b.JPG", top / "a.png", top / "2020" / "c.png", top / "2020" / "deep" / "d.gif", top / ".h.png"
    )
    (top / "._a.png").write_bytes(b"\0\5\x16\7")
    (top / "x.jxl").write_bytes(b"\xff\x0a")
    (top / "notes.txt").write_text("no image")
    (top / "gone.jpg").symlink_to(top / "nowhere.jpg")
    (top / "self.jpg").symlink_to(top / "self.jpg")
    (top / "2020" / "loop").symlink_to(top)
    draw(top / ".cache" / "e.png")
    os.mkfifo(top / "pipe.png")
    return top


def names(files, folder):
    return [os.path.relpath(path, folder) for path in files.paths]


def test_a_folder_says_what_it_leaves_out(tree):
    files = image_files([str(tree)])
    assert names(files, tree) == ["a.png", "b.JPG"] and not files.errors
    skipped = {reason: [os.path.relpath(p, tree) for p in paths] for reason, paths in files.skipped.items()}
    assert skipped == {
        "hidden image": [".h.png"],
        "macOS": ["._a.png"],
        "JPEG XL": ["x.jxl"],
        "broken link": ["gone.jpg", "self.jpg"],
        "no file": ["pipe.png"],
        "sub-folder": ["2020"],
    }
    notes = files.notes()
    assert f"1 sub-folder not searched ({tree}/2020): add --recursive" in notes
    assert f"2 broken links skipped ({tree}/gone.jpg ...): repair or delete them" in notes
    assert f"1 JPEG XL file skipped ({tree}/x.jxl): save it as JPEG or PNG" in notes


def test_recursive_takes_each_image_once_and_follows_no_link(tree):
    files = image_files([str(tree)], recursive=True)
    assert names(files, tree) == ["2020/c.png", "2020/deep/d.gif", "a.png", "b.JPG"]
    assert files.skipped["linked folder"] == [f"{tree}/2020/loop"]
    assert files.skipped["hidden folder"] == [f"{tree}/.cache"] and "sub-folder" not in files.skipped


def test_a_link_to_a_folder_is_followed_where_it_is_named(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree / "2020")
    assert names(image_files([str(tmp_path / "link")]), tmp_path) == ["link/c.png"]


@pytest.mark.parametrize("ending", list(loading.UNREADABLE_SUFFIXES))
def test_no_unreadable_ending_is_passed_over_in_silence(tmp_path, ending):
    draw(tmp_path / "a.png")
    (tmp_path / f"b{ending.upper()}").write_bytes(b"?")
    (note,) = image_files([str(tmp_path)]).notes()
    assert loading.UNREADABLE_SUFFIXES[ending] in note and "save it as JPEG or PNG" in note


def test_a_folder_without_images_says_why(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jxl").write_bytes(b"?")
    (error,) = image_files([str(tmp_path)]).errors
    assert error.startswith(f"no image in the folder {tmp_path}: expected files ending in .jpg")
    assert "1 JPEG XL file skipped" in error and "1 sub-folder not searched" in error


def test_a_folder_that_cannot_be_read_is_one_error(tmp_path, monkeypatch):
    draw(tmp_path / "a" / "1.png", tmp_path / "b" / "2.png")
    scandir = os.scandir

    def closed(path="."):
        if os.path.basename(path) == "a":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    files = image_files([str(tmp_path)], recursive=True)
    assert names(files, tmp_path) == ["b/2.png"]
    assert files.errors == [f"cannot read the folder {tmp_path}/a: Permission denied"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["2020/c.png", "a.png"]),
        ("**/**/*.png", ["2020/c.png", "a.png"]),
        ("*/*.png", ["2020/c.png"]),
        ("[ab].*", ["a.png", "b.JPG"]),
        ("2020/**/*.gif", ["2020/deep/d.gif"]),
        ("2020/**", ["2020/c.png", "2020/deep/d.gif"]),
        (".h*", [".h.png"]),
    ],
)
@pytest.mark.parametrize("form", ["absolute", "relative", "dotted"])
def test_patterns(tree, monkeypatch, pattern, expected, form):
    (tree / "pipe.png").unlink()
    monkeypatch.chdir(tree)
    prefix = {"absolute": f"{tree}/", "relative": "", "dotted": "./"}[form]
    files = image_files([prefix + pattern])
    assert files.paths == [prefix + name for name in expected] and not files.errors


def test_a_pattern_with_links_in_a_circle_is_quick(tmp_path):
    for i in range(6):
        folder = tmp_path / f"d{i}"
        draw(folder / "x.png")
        for j in range(6):
            (folder / f"to{j}").symlink_to(tmp_path / f"d{j}")
    start = time.monotonic()
    for arguments, recursive in (([f"{tmp_path}/**/*.png"], False), ([str(tmp_path)], True)):
        assert len(image_files(arguments, recursive).paths) == 6
    assert time.monotonic() - start < 5


def test_folders_that_a_pattern_matches_are_counted(tree):
    files = image_files([f"{tree}/20*"])
    assert files.errors == [f"no file matches {tree}/20*"] and files.skipped["matched folder"] == [
        f"{tree}/2020"
    ]


def test_names_with_magic_that_exist_are_themselves(tmp_path):
    draw(tmp_path / "a[1].png")
    assert image_files([f"{tmp_path}/a[1].png"]).paths == [f"{tmp_path}/a[1].png"]


def test_notes_count():
    files = ImageFiles()
    for path in ("a", "b"):
        files.skip("macOS", path)
    assert files.notes() == ["2 ._ files of macOS skipped (a ...): they hold no image"]


# Captioning many.


class Doubting(FakeEngine):
    """Says nothing of the first image, and does not attend to the third."""

    def predict(self, images, strategy=None):
        found = super().predict(images, strategy)
        changed = {
            0: Caption("", words=(), word_logp=()),
            2: Caption("a b", words=("a", "b"), word_logp=(-1, -1)),
        }
        return [changed.get(i, caption) for i, caption in enumerate(found)]


@pytest.fixture
def engine(monkeypatch):
    engine = Doubting()
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(engine))
    return engine


@pytest.fixture
def four(tmp_path):
    draw(*(tmp_path / "four" / f"{name}.png" for name in "abcd"))
    return tmp_path / "four"


def test_an_empty_caption_is_that_images_error(engine, four, capsys):
    assert main(["caption", str(four), "--alt-text", "--json"]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [bool(row["error"]) for row in rows] == [True, False, False, False]
    assert [bool(row["alt_text"]) for row in rows] == [False, True, True, True]
    assert err.splitlines()[0].startswith(f"captioner: {four}/a.png: expected a caption")
    assert err.splitlines()[1] == "captioner: 3 of 4 images captioned, 1 failed"
    assert main(["caption", str(four)]) == 0  # without --alt-text it is an empty caption


def test_a_heatmap_that_fails_costs_that_image_only(engine, four, tmp_path, capsys):
    out = tmp_path / "maps"
    assert main(["caption", str(four), "--heatmap", str(out)]) == 1
    printed, err = capsys.readouterr()
    assert printed.count("\n") == 4  # the captions are all there
    assert sorted(path.name for path in out.iterdir()) == ["b.png.png", "d.png.png"]
    lines = err.splitlines()
    assert "a.png: no heatmap: " in lines[0] and "no words" in lines[0]
    assert "c.png: no heatmap: " in lines[1] and "does not attend" in lines[1]
    assert lines[2] == "captioner: 2 of 4 images captioned, 2 failed"


def test_a_heatmap_that_cannot_be_written_costs_that_image_only(engine, four, tmp_path, capsys):
    out = tmp_path / "maps"
    (out / "b.png.png").mkdir(parents=True)
    assert main(["caption", str(four), "--heatmap", str(out), "--overwrite"]) == 1
    assert "b.png: no heatmap: cannot write" in capsys.readouterr().err and (out / "d.png.png").is_file()


def test_what_stands_for_nothing_is_counted_and_the_rest_go_on(engine, four, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["caption", str(tmp_path / "empty"), f"{tmp_path}/*.nix", str(four / "b.png")]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and err.splitlines()[-1] == "captioner: 1 of 3 images captioned, 2 failed"


def test_one_image_goes_the_same_way_as_many(engine, four, capsys):
    assert main(["caption", str(four / "a.png"), "--alt-text", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] and err.count("\n") == 1


def test_what_is_wrong_with_the_engine_keeps_what_was_printed(engine, four, capsys, monkeypatch):
    predict = engine.predict

    def away(images, strategy=None):
        if len(engine.calls) == 3:
            raise EngineError("the server is away")
        return predict(images, strategy)

    monkeypatch.setattr(engine, "predict", away)
    assert main(["caption", str(four), "--batch-size", "1"]) == 2
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert err.splitlines() == [
        "captioner: 2 of 4 images captioned, 0 failed",
        "captioner: the server is away",
    ]


def test_quiet_leaves_errors_and_captions(engine, four, capsys):
    (four / "x.jxl").write_bytes(b"?")
    (four / "e.png").write_bytes(b"no image")
    assert main(["caption", str(four)]) == 1
    assert "x.jxl" in capsys.readouterr().err
    assert main(["caption", "-q", str(four)]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 4 and "x.jxl" not in err and "e.png" in err


# Where heatmaps go.


def test_heatmaps_of_one_name_do_not_meet(engine, tmp_path, capsys):
    draw(*(tmp_path / name for name in ("in/a/1.png", "in/b/1.png", "in/c/2.png")))
    given = [str(tmp_path / name) for name in ("in/b/1.png", "in/a/1.png", "in/b/1.png")]
    assert main(["caption", *given, "--heatmap", str(tmp_path / "out")]) == 1  # the first has no words
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    assert written == {"a/1.png.png"}
    capsys.readouterr()
    engine.calls.clear()
    assert main(["caption", *given, "--heatmap", str(tmp_path / "out")]) == 2
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
def test_where_heatmaps_cannot_go(tmp_path, monkeypatch, paths, out, alone, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises((SpecError, DataError), match=words):
        heatmap_files(paths, out, alone, overwrite=False)


def test_where_heatmaps_go(tmp_path, monkeypatch):
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


# Names, encodings and signals, in processes of their own.

SCRIPT = """
import sys, time
from captioner import api, cli
from captioner.cli import caption
from captioner.engines.fake import FakeEngine
class Slow(FakeEngine):
    def predict(self, images, strategy=None):
        if SLEEP and images and len(self.calls) > 2: time.sleep(SLEEP)
        return super().predict(images, strategy)
caption.load = lambda source: api.Captioner(Slow())
sys.exit(cli.main(sys.argv[1:]))
"""


def start(*arguments, encoding=None, sleep=0):
    environment = dict(os.environ) | ({"PYTHONIOENCODING": encoding} if encoding else {})
    command = [sys.executable, "-c", f"SLEEP = {sleep}\n{SCRIPT}", *map(os.fsencode, arguments)]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture
def odd(tmp_path):
    """Names that encodings lack, one that is no UTF-8 at all, and one of two lines."""
    folder = tmp_path / "odd"
    draw(*(folder / name for name in ("a.png", "é.png", "犬.png", "two\nlines \x1b[2J.png")))
    draw(folder / "b.png")
    os.rename(os.fsencode(folder / "b.png"), os.fsencode(folder) + b"/b\x85.png")
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8:strict", "utf-16"])
def test_names_outside_the_encoding_end_nothing(odd, encoding):
    process = start("caption", str(odd), encoding=encoding)
    out, err = process.communicate(timeout=60)
    lines = out.decode(encoding.partition(":")[0]).splitlines()
    assert process.returncode == 0, err
    assert len(lines) == 5 and all(": a " in line for line in lines)
    assert any("b\\udc85.png" in line for line in lines) and not any("\x1b" in line for line in lines)
    if encoding == "ascii":
        assert any("\\u72ac.png" in line for line in lines)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_json_is_utf8_and_can_be_evaluated(odd, encoding, tmp_path, capsys):
    process = start("caption", str(odd), "--json", encoding=encoding)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in out.decode("utf-8").splitlines()]
    assert {os.path.basename(row["image"]) for row in rows} == set(os.listdir(odd))
    (tmp_path / "p.jsonl").write_bytes(out)
    (tmp_path / "r.jsonl").write_bytes(out)
    files = [str(tmp_path / "p.jsonl"), str(tmp_path / "r.jsonl")]
    assert main(["evaluate", *files, "--json", "--metric", "exact_match"]) == 0
    assert json.loads(capsys.readouterr().out)["exact match"] == 100.0
    html = tmp_path / "r.html"
    assert main(["evaluate", *files, "--html", str(html), "--metric", "exact_match", "-q"]) == 0
    assert html.read_text(encoding="utf-8")
    figures = html.with_suffix(".json").read_text(encoding="utf-8")
    assert "b\\udc85.png" in figures and json.loads(figures)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_signals_end_in_a_line_and_keep_what_was_printed(four, number, code):
    process = start("caption", str(four), "--batch-size", "1", sleep=30)
    assert process.stdout.readline() and process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err.decode().splitlines() == [
        "captioner: 2 of 4 images captioned, 0 failed",
        "captioner: stopped",
    ]


def test_no_standard_error_costs_no_caption(four):
    command = [sys.executable, "-c", f"import os, sys\nsys.stderr = None\nSLEEP = 0\n{SCRIPT}"]
    done = subprocess.run([*command, "caption", str(four)], cwd=ROOT, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0 and done.stdout.count(b"\n") == 4


def test_an_empty_value_is_no_missing_option(engine, four, tmp_path, capsys):
    for words, says in (
        (["caption", str(four), "--heatmap", ""], "got ''"),
        (["caption", ""], "expected an image, a folder or a pattern, got ''"),
        (["evaluate", str(tmp_path / "p.json"), str(tmp_path / "p.json"), "--html", ""], "to end in .html"),
        (["evaluate", str(tmp_path / "p.json"), str(tmp_path / "p.json"), "--images", ""], "pass --html OUT"),
    ):
        (tmp_path / "p.json").write_text('{"a": "a dog", "b": "a cat"}')
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and says in err and not engine.calls


def test_a_full_disk_is_one_line(four):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-c", f"SLEEP = 0\n{SCRIPT}", "caption", str(four)]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2 and done.stderr.decode().splitlines()[-1].endswith("No space left on device")
    assert b"Traceback" not in done.stderr


def test_numbers_that_json_lacks_are_null(four, monkeypatch, capsys):
    class Broken(FakeEngine):
        def predict(self, images, strategy=None):
            odd = Caption("a b", float("nan"), ("a", "b"), float("inf"), (float("nan"), -1.0))
            return [odd for _ in images]

    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(Broken()))
    assert main(["caption", str(four / "a.png"), "--json"]) == 0
    out = capsys.readouterr().out
    row = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert row["score"] is None and row["logp"] is None and row["word_logp"] == [None, -1.0]
    assert np.isfinite(row["word_logp"][1])
