"""`captioner caption` in separate processes: encodings, signals, closed and full outputs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captioner.cli import main
from tests.support.images.image_trees import draw

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path):
    draw(*(tmp_path / "photos" / f"{name}.png" for name in "abcd"))
    return tmp_path / "photos"


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
    """Images with names outside of encodings, one that is not UTF-8, and one with a line break."""
    folder = tmp_path / "odd"
    draw(*(folder / name for name in ("a.png", "é.png", "犬.png", "two\nlines \x1b[2J.png")))
    draw(folder / "b.png")
    os.rename(os.fsencode(folder / "b.png"), os.fsencode(folder) + b"/b\x85.png")
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8:strict", "utf-16"])
def test_names_outside_the_encoding_are_escaped(odd, encoding):
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
    data = html.with_suffix(".json").read_text(encoding="utf-8")
    assert "b\\udc85.png" in data and json.loads(data)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_signals_keep_printed_captions(photos, number, code):
    process = start("caption", str(photos), "--batch-size", "1", sleep=30)
    assert process.stdout.readline() and process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err.decode().splitlines() == [
        "captioner: 2 of 4 images captioned, 0 failed",
        "captioner: stopped",
    ]


def test_captions_without_standard_error(photos):
    command = [sys.executable, "-c", f"import os, sys\nsys.stderr = None\nSLEEP = 0\n{SCRIPT}"]
    done = subprocess.run([*command, "caption", str(photos)], cwd=ROOT, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0 and done.stdout.count(b"\n") == 4


def test_a_full_disk_is_one_line(photos):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-c", f"SLEEP = 0\n{SCRIPT}", "caption", str(photos)]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2 and done.stderr.decode().splitlines()[-1].endswith("No space left on device")
    assert b"Traceback" not in done.stderr
