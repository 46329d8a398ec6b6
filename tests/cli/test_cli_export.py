"""`captioner export`: paths, stages, and mistakes reported before the work."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

pytest.importorskip("ai_edge_litert")

import captioner
from captioner import api
from captioner.cli import main
from captioner.engines.tflite_file import read
from captioner.errors import SpecError
from captioner.exporting import tflite, tflite_path

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def unloaded(monkeypatch):
    """An `export` that opens no model."""

    class Nothing:
        @staticmethod
        def open(*_, **__):
            pytest.fail("the model was loaded before its targets were checked")

    monkeypatch.setattr(api, "ENGINES", {"keras": Nothing})


def test_paths_and_stages_of_two_targets(tiny_bundle, tmp_path, capfd):
    targets = ["--to", "tflite", "--to", "tflite(quantize='float16')"]
    assert main(["export", str(tiny_bundle), *targets, "--output-dir", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [f"{tmp_path}/model.tflite", f"{tmp_path}/model_float16.tflite"]
    assert all(Path(line).is_file() for line in out.splitlines())
    stages = ["starting", "loading", "tracing", "converting", "checking", "tracing", "converting", "checking"]
    lines = [line for line in err.splitlines() if line.startswith("captioner: ")]
    assert [line.split(" s: ")[1].split()[0] for line in lines] == stages
    assert all(line.removeprefix("captioner: ").split(" s: ")[0].isdigit() for line in lines)
    assert "XNNPACK" not in err
    logger = logging.getLogger("captioner")
    assert logger.level == logging.NOTSET and logger.propagate and not logger.handlers
    # Both files exist now: reported before the model is loaded.
    assert main(["export", str(tiny_bundle), *targets, "--output-dir", str(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert "model.tflite is there already" in err and "add --overwrite" in err and "overwrite=True" not in err


def test_quiet_and_overwrite(tiny_bundle, tiny_export, tmp_path, monkeypatch, capfd):
    made = tiny_export("tflite")
    graph = made.read_bytes()[: read(made).metadata["bytes"]]
    monkeypatch.setattr(tflite, "_convert", lambda *_: graph)  # as it was converted before
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    options = ["--to", "tflite", "--output-dir", str(tmp_path)]
    assert main(["export", str(tiny_bundle), *options, "--overwrite", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert out == f"{path}\n" and not [line for line in err.splitlines() if line.startswith("captioner")]
    assert "XNNPACK" not in err and path.stat().st_size > 1000


def test_two_targets_of_one_file_are_refused(unloaded, tmp_path):
    with pytest.raises(SpecError, match=r"tflite and tflite\(max_pixels=9\) would both write .*model.tflite"):
        captioner.export("nowhere", ["tflite", "tflite(max_pixels=9)"], output_dir=tmp_path)
    with pytest.raises(SpecError, match="tflite and tflite would both write"):
        captioner.export("nowhere", ["saved_model", "tflite", "tflite"], output_dir=tmp_path)


def test_an_existing_file_is_refused_early(unloaded, tmp_path):
    tflite_path(tmp_path, "int8").write_bytes(b"")
    with pytest.raises(captioner.CaptionerError, match="model_int8.tflite is there already"):
        captioner.export("nowhere", ["saved_model", "tflite(quantize='int8')"], output_dir=tmp_path)


def test_keys_are_names_where_these_tell_targets_apart(tiny_bundle, tmp_path, monkeypatch):
    from captioner.exporting import TARGETS

    monkeypatch.setattr(TARGETS, "build", lambda target, **options: Path(str(target)))
    made = captioner.export(
        tiny_bundle, ["saved_model", "tflite", "tflite(quantize='int8')"], output_dir=tmp_path
    )
    assert list(made) == ["saved_model", "tflite", "tflite(quantize='int8')"]
    assert list(captioner.export(tiny_bundle, ["tflite(quantize='int8')"], output_dir=tmp_path)) == ["tflite"]


def test_a_wrong_length_names_the_option(tiny_bundle, tmp_path, capsys):
    assert main(["export", str(tiny_bundle), "--max-length", "99", "--output-dir", str(tmp_path), "-q"]) == 2
    assert "captioner: --max-length expects at most the model's own 7, got 99" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "printed"), [(None, False), ("0", True)])
def test_a_tflite_file_prints_no_log_lines(tiny_export, tmp_path, level, printed):
    """The log line of TensorFlow Lite about its delegate is shown with a log level of the user only."""
    path = tiny_export("tflite")
    image = tmp_path / "a.png"
    PIL.Image.new("RGB", (8, 8), "red").save(image)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": level} if level else {}
    done = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", str(image), "--model", str(path)],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and ("XNNPACK" in done.stderr) is printed
    assert printed or done.stderr == ""


def test_other_log_records_are_printed(capfd):
    from captioner.engines.tensorflow_import import starting_tflite

    with starting_tflite():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nanother thread\n")
    assert capfd.readouterr().err == "another thread\n"
