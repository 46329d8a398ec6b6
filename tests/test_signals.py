"""Signals end programs with one line and the right exit code, outside of protected blocks."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from captioner import signals
from captioner.errors import DataError
from captioner.programs import run_program
from captioner.signals import Stopped, defer_signals, stoppable

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals between processes")
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


def start(body, *before):
    """Starts a program, waits until it prints "ready", and sends it signals."""
    code = "import os, signal, sys, time\nfrom captioner import signals\n"
    code += "from captioner.programs import run_program\nfrom captioner.signals import *\n"
    code += textwrap.dedent(body)
    process = subprocess.Popen(
        [*before, sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.communicate(timeout=20)
    return process


WAITS = """
def work():
    try:
        print("ready", flush=True)
        time.sleep(20)
    finally:
        print("cleaned up", flush=True)
sys.exit(run_program("p.py", work, "stopped; go on with the same command"))
"""


@POSIX
@pytest.mark.parametrize("name", CODES)
def test_a_signal_ends_a_program_in_one_line(name):
    process = start(WAITS)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (
        CODES[name],
        "cleaned up\n",
        "p.py: stopped; go on with the same command\n",
    )


@POSIX
def test_ignored_signals_stay_ignored():
    process = start("signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + WAITS)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.terminate()
    assert process.wait(20) == 143


HELD = """
signals._ECHO_SECONDS = 0.2
def work():
    with defer_signals(), defer_signals():
        print("ready", flush=True)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            time.sleep(0.01)
        print("whole", flush=True)
    print("not reached")
try:
    with stoppable():
        work()
except Stopped as stop:
    print(stop.exit_code, stop.at_once)
"""


@POSIX
@pytest.mark.parametrize("name", CODES)
def test_a_protected_block_is_finished_first(name):
    process = start(HELD)
    process.send_signal(getattr(signal, name))
    assert process.communicate(timeout=20) == (f"whole\n{CODES[name]} False\n", "")


@POSIX
def test_two_signals_at_once_are_one_request():
    process = start(HELD)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=20)
    assert out in ("whole\n143 False\n", "whole\n129 False\n")


@POSIX
def test_asked_again_a_program_stops_at_once():
    process = start(HELD)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("130 True\n", "")


@POSIX
def test_handlers_are_put_back():
    before = [signal.getsignal(n) for n in signals._NUMBERS]
    with stoppable(), stoppable(), defer_signals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(n) for n in signals._NUMBERS] == before


@POSIX
def test_signals_survive_an_error_of_the_block():
    with pytest.raises(KeyboardInterrupt), defer_signals():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("something else")
    with pytest.raises(Stopped) as caught, stoppable(), defer_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("something else")
    assert caught.value.exit_code == 143


def test_other_threads_are_left_alone():
    done = []

    def work():
        with stoppable(), defer_signals():
            done.append(run_program("p.py", lambda: 3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [3]


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("expected this\n got that"), 2, "p.py: expected this got that\n"),
        (KeyboardInterrupt(), 130, "p.py: stopped\n"),
        (Stopped(signal.SIGTERM), 143, "p.py: stopped\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a.txt"),
            2,
            "p.py: cannot read or write a.txt: No such file or directory\n",
        ),
    ],
)
def test_errors_end_a_program_in_one_line(error, code, line, capsys):
    assert run_program("p.py", raising(error)) == code
    assert capsys.readouterr().err == line


def test_bugs_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_program("p.py", raising(ZeroDivisionError()))


@POSIX
def test_a_closed_pipe_is_no_error():
    code = (
        "import sys\nfrom captioner.programs import run_program\n"
        "def work():\n    for _ in range(100000): print('line')\n"
        "sys.exit(run_program('p.py', work))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(20) == 0


PROGRAMS = [
    path
    for path in sorted((Path(__file__).parents[1] / "training").glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_program_ends_in_one_line(path):
    text = path.read_text(encoding="utf-8")
    assert "program(" in text, f"{path} ends by itself: let captioner.programs.program make its main"
    assert "except KeyboardInterrupt:" not in text, f"{path} catches Ctrl-C alone, and not SIGTERM"
