"""Adapting the model to the captions on the page: `training/adapt.py` as a process of its own, one at a time."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, DataError
from captioner.signals import defer_signals

PROGRAM = Path(__file__).resolve().parents[1] / "adapt.py"
_LINES = 12  # of the output that are shown
_STOP_SECONDS = 10.0


class Adapting:
    """Runs the program that adapts, and what follows when it has made a model.

    Args:
        photos: Path of the folder of images.
        captions: Path of the captions file.
        finished: function of the new model's folder (str), called in a thread after a run that succeeded. Its
            `CaptionerError` is shown as a failure.
        model: str, default "". Model folder to begin with; empty for the program's own default.
        runs: Path, default `runs`. The folder of a run is `runs/NAME`, or `runs/NAME-2` ... if that is there.
        program: sequence of str, default `training/adapt.py` in this Python.
    """

    def __init__(
        self,
        photos: Path,
        captions: Path,
        finished: Callable[[str], None],
        model: str = "",
        runs: Path = Path("runs"),
        program: Sequence[str] = (sys.executable, str(PROGRAM)),
    ):
        self._photos, self._captions, self._model, self._runs = photos, captions, model, runs
        self._program, self._finished = list(program), finished
        self._lock = threading.Lock()
        self._state, self._lines = "idle", deque[str](maxlen=_LINES)
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    @property
    def command(self) -> list[str]:
        """The command to run by hand, from the folder of the project."""
        return ["python", f"training/{PROGRAM.name}", *self._options(self._free())]

    def status(self) -> dict[str, Any]:
        """What the page shows: "state" (idle, running, ranking, finished or failed), "lines" of output, "command"."""
        return {"state": self._state, "lines": list(self._lines), "command": shlex.join(self.command)}

    def start(self) -> None:
        """Starts a run.

        Raises:
            DataError: if one is running, or the program is not there.
        """
        with self._lock:
            if self._state in ("running", "ranking"):
                raise DataError("the model is being adapted already: wait until that is finished")
            if not Path(self._program[-1]).is_file():
                raise DataError(f"expected the program {self._program[-1]}, there is none")
            out = self._free()
            try:
                with defer_signals():
                    self._process = subprocess.Popen(
                        [*self._program, *self._options(out)],
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                        text=True, encoding="utf-8", errors="replace",
                        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
                        start_new_session=True,  # Ctrl-C reaches it through `stop` alone
                    )  # fmt: skip
            except OSError as error:
                raise DataError(f"cannot start {self._program[-1]}: {error.strerror or error}") from None
            self._state = "running"
            self._lines.clear()
            self._thread = threading.Thread(target=self._watch, args=(self._process, out), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends a run; the program keeps what it needs to resume."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _watch(self, process: subprocess.Popen[str], out: Path) -> None:
        """Collects the output; after a run that succeeded, ranks with its model."""
        with contextlib.closing(process.stdout) as output:  # type: ignore[type-var]
            for line in output or ():
                if line.strip():
                    self._lines.append(line.rstrip()[-300:])
        if process.wait() != 0:
            self._lines.append(f"training/{PROGRAM.name} ended with exit code {process.returncode}")
            self._state = "failed"
            return
        self._state = "ranking"
        try:
            self._finished(str(out / "model"))
        except CaptionerError as error:
            self._lines.append(str(error))
            self._state = "failed"
        except Exception as error:
            self._lines.append(f"cannot rank with the new model: {type(error).__name__}: {error}")
            self._state = "failed"
        else:
            self._state = "finished"

    def _options(self, out: Path) -> list[str]:
        model = ["--model", self._model] if self._model else []
        return [str(self._photos), "--captions", str(self._captions), *model, "--out", str(out)]

    def _free(self) -> Path:
        """The folder of the next run, where nothing is yet."""
        first = self._runs / (self._photos.resolve().name or "photos")
        number, folder = 1, first
        while folder.exists():
            number += 1
            folder = first.with_name(f"{first.name}-{number}")
        return folder
