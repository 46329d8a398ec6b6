"""The options of the development server."""

from __future__ import annotations

import argparse
import os
import re
from typing import NoReturn

ABOUT = """\
Serves a SavedModel over gRPC and REST as TensorFlow Serving does: a folder of version folders (1/, 2/ ...), one such
version, or a captioner model folder, which is exported first if it has no version yet. With a model of captioner's,
the port of REST also has a web page, at /, that captions photos.

This is for development and small sites. It is one Python process without TLS or passwords; the production server is
TensorFlow Serving, which takes the same folder unchanged (see serving/README.md)."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cores = os.cpu_count() or 1
    build = _Parser(
        prog="devserver.py", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = build.add_argument
    add("model", help="folder of the model")
    add("--name", help="what clients call the model (default: the folder's name)")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default %(default)s; 0.0.0.0 for everybody)",
    )
    add("--port", type=_port, default=8500, help="port of gRPC (default %(default)s; 0 for any)")
    add("--rest-port", "--rest_api_port", type=_port, default=8501, help="port of REST (default %(default)s)")
    add(
        "--versions",
        type=_versions,
        default=1,
        metavar="N",
        help="serve the newest N versions, or all (default 1)",
    )
    add("--label", dest="labels", type=_label, action="append", default=[], metavar="NAME=VERSION",
        help="a name for a version, which stays loaded; may be given several times")  # fmt: skip
    add("--also", action="append", default=[], metavar="MODEL",
        help="offers another model on the web page: a model folder, a .tflite file or the address of a server; "
        "may be given several times")  # fmt: skip
    add("--allow-origin", type=_origin, action="append", default=[], metavar="ORIGIN",
        help="lets web pages of another origin, such as https://example.org, read answers under /v1/ (CORS), or those "
        "of all: '*'; may be given several times (default: none may)")  # fmt: skip
    add(
        "--poll",
        type=_positive,
        default=1.0,
        metavar="S",
        help="look for new versions every S seconds (default 1)",
    )
    add(
        "--workers",
        type=_count,
        default=cores,
        help="runs of the model at a time (default: cores, %(default)s)",
    )
    add(
        "--queue",
        type=_count,
        default=64,
        help="requests that may wait or run; more are refused (default 64)",
    )
    add("--batch", type=_count, default=0, metavar="ROWS",
        help="put requests together, up to so many rows a run (default 0: do not)")  # fmt: skip
    add("--batch-wait", type=_positive, default=5.0, metavar="MS",
        help="milliseconds that a request waits for others to join it (default 5)")  # fmt: skip
    add("--max-body", type=_positive, default=32.0, metavar="MB", help="largest request (default 32)")
    add("--client-timeout", type=_positive, default=30.0, metavar="S",
        help="a request must have arrived after S seconds (default 30)")  # fmt: skip
    add("--run-timeout", type=_positive, default=30.0, metavar="S",
        help="a REST request may take S seconds (default 30); gRPC clients give their own deadline")  # fmt: skip
    add("--drain", type=_positive, default=30.0, metavar="S",
        help="when told to stop, wait up to S seconds for requests that run (default 30)")  # fmt: skip
    return build


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 4096, got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _versions(text: str) -> int | None:
    return None if text == "all" else _count(text)


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"https?://[^\s/?#@,]+", text):
        raise argparse.ArgumentTypeError(
            f"expects an origin such as https://example.org, or '*', got {text!r}"
        )
    return text.lower()


def _label(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or set(name) & set("/:") or not number.isascii() or not number.isdigit():
        raise argparse.ArgumentTypeError(f"expected NAME=VERSION such as stable=1, got {text!r}")
    return name, int(number)
