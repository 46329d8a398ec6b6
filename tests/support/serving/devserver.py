"""The development server for tests: as a process, and its `main` in this process."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from serving import devserver

ROOT = Path(__file__).parents[3]

ANY_PORTS = ("--port", "0", "--rest-port", "0")
STARTUP_SECONDS = 300  # seconds that a process may take to load TensorFlow on a busy machine


class DevserverProcess:
    """`python serving/devserver.py`, its log read line by line."""

    def __init__(self, *options):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
        command = [sys.executable, "serving/devserver.py", *map(str, options), *ANY_PORTS]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()
        serving = self.wait("serving")
        self.rest, self.grpc = serving["rest"], serving["grpc"]
        self.url = self.rest[: self.rest.index("/v1/")]

    def events(self, name):
        return [line for line in map(json.loads, list(self.lines)) if line["event"] == name]

    def wait(self, name, count=1):
        end = time.monotonic() + STARTUP_SECONDS
        while len(self.events(name)) < count:
            assert time.monotonic() < end and self.process.poll() is None, "".join(self.lines)
            time.sleep(0.02)
        return self.events(name)[count - 1]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.reader.join(10)
        return code


def run_main(options):
    """(exit code, standard error) of `main` in this process, whose handlers are restored afterwards."""
    stderr, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with contextlib.redirect_stderr(stderr):
            return devserver.main([str(option) for option in options]), stderr.getvalue()
    except SystemExit as exit_:
        return exit_.code, stderr.getvalue()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)


def free_ports():
    """Two ports that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]
