"""The command line: arguments, help, progress, and separate processes."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from captioner.cli import main
from captioner.cli.progress import progress_bar


def test_no_model_folder(capsys):
    assert main(["caption", "dog.jpg", "--model", "no/such"]) == 2
    assert capsys.readouterr().err == "captioner: no such model folder: no/such\n"
    assert main(["show", "grpc://host/dogs"]) == 2
    assert capsys.readouterr().err == "captioner: expected a model folder to show, got grpc://host/dogs\n"


@pytest.mark.parametrize("arguments", [[], ["describe"], ["caption"], ["caption", "a.jpg", "--bogus"]])
def test_wrong_arguments_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "usage: captioner" in err and err.startswith("captioner: ") and err.count("\n") == 1


def test_help_lists_commands_and_metrics(capsys):
    from captioner.cli import COMMANDS
    from captioner.metrics import METRICS

    for arguments, names in [(["--help"], COMMANDS), (["evaluate", "--help"], METRICS.names())]:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        output = capsys.readouterr().out
        assert all(name in output for name in names)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    """A function that replaces standard error by a stream in memory, a terminal or not, with all displays of a bar."""
    monkeypatch.setattr("captioner.cli.progress.TERMINAL_SECONDS", 0)
    monkeypatch.setattr("captioner.cli.progress.LOG_SECONDS", 0)

    def replace(terminal):
        stream = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return replace


def test_progress_on_a_terminal_is_removed(stderr):
    stream = stderr(terminal=True)
    with progress_bar(total=20) as bar:
        for _ in range(20):
            bar.update()
    output = stream.getvalue()
    assert re.search(r"10/20 \[00:00<00:\d\d, .+image/s\]", output) and "\n" not in output
    assert output.endswith("\r") and output.split("\r")[-2].strip() == ""


def test_progress_in_a_log_is_complete_lines(stderr, monkeypatch):
    stream = stderr(terminal=False)
    assert len(list(progress_bar(range(3)))) == 3
    lines = stream.getvalue().rstrip("\r").splitlines()
    assert lines and all("/3 [" in line for line in lines)
    monkeypatch.setattr("captioner.cli.progress.LOG_SECONDS", 60)
    stream = stderr(terminal=False)
    assert len(list(progress_bar(range(3)))) == 3
    assert stream.getvalue() == ""


def test_a_process_prints_the_caption_only(tiny_bundle, folder):
    """In a separate process, as a user starts it: without log lines of TensorFlow."""
    environment = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")}
    done = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", str(folder / "a.jpg"), "--model", str(tiny_bundle)]
        + ["--strategy", "greedy(min_length=2)"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.returncode == 0 and len(done.stdout.split()) >= 2


def test_trust_is_an_option_of_the_command_line(tiny_bundle, folder, tmp_path, capsys):
    """A model that names Python code runs with --trust only."""
    untrusted = tmp_path / "untrusted"
    shutil.copytree(tiny_bundle, untrusted)
    manifest = json.loads((untrusted / "captioner.json").read_text())
    manifest["model"]["decoder"] = (
        "captioner.models.decoders:SoftAttention(units=12, embedding=10, value_dim=8)"
    )
    (untrusted / "captioner.json").write_text(json.dumps(manifest))
    for command in (
        ["caption", str(folder / "a.jpg"), "--model", str(untrusted)],
        ["export", str(untrusted), "-q"],
    ):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "add --trust captioner" in err and "trust=(" not in err and err.count("\n") == 1
    trusting = ["--model", str(untrusted), "--trust", "captioner"]
    assert main(["caption", str(folder / "a.jpg"), *trusting]) == 0, capsys.readouterr().err
    assert "names Python code" not in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(tiny_bundle):
    command = f"{sys.executable} -m captioner show {tiny_bundle} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
