"""The options of the development server."""

from __future__ import annotations

import argparse
import os
import re

from captioner import checks
from captioner.cli.parser import Parser
from captioner.errors import SpecError

ABOUT = """\
Serves a SavedModel over gRPC and REST as TensorFlow Serving does: a folder of version folders (1/, 2/ ...), one such
version, or a captioner model folder, which is exported first if it has no version yet. For captioner
models, the REST port also serves a web page, at /, that captions images.

This is for development and small sites. It is one Python process without TLS or passwords; the production server is
TensorFlow Serving, which takes the same folder unchanged (see serving/README.md)."""


# Options that are integers, with their range, and options that are numbers above 0, with their maximum.
_INTEGERS = {
    "port": (0, 65_535),
    "rest_port": (0, 65_535),
    "workers": (1, 4096),
    "queue": (1, 4096),
    "batch": (0, 4096),
    "max_rows": (1, 10_000_000),
}
_NUMBERS = {"poll": 1e6, "batch_wait": 60_000.0, "max_body": 4096.0}
_NUMBERS |= dict.fromkeys(("client_timeout", "run_timeout", "drain"), 86_400.0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="devserver.py", description=ABOUT)
    add = build.add_argument
    add("model", help="folder of the model")
    add("--name", help="what clients call the model (default: the folder's name)")
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s; 0.0.0.0 for all)")
    add("--port", type=int, default=8500, help="port of gRPC (default %(default)s; 0 for any)")
    add("--rest-port", "--rest_api_port", type=int, default=8501, help="port of REST (default %(default)s)")
    add("--versions", type=_versions, default=1, metavar="N",
        help="serve the newest N versions, or all (default 1)")  # fmt: skip
    add("--label", dest="labels", type=_label, action="append", default=[], metavar="NAME=VERSION",
        help="a name for a version, which stays loaded; may be repeated")  # fmt: skip
    add("--extra-model", dest="extra_models", action="append", default=[], metavar="MODEL",
        help="offers another model on the web page: a model folder, a .tflite file or the address of a server; "
        "may be repeated")  # fmt: skip
    add("--allow-origin", type=_origin, action="append", default=[], metavar="ORIGIN",
        help="lets web pages of another origin, such as https://example.org, read answers under /v1/ (CORS), or those "
        "of all: '*'; may be repeated (default: none may)")  # fmt: skip
    add("--poll", type=float, default=1.0, metavar="S",
        help="look for new versions every S seconds (default 1)")  # fmt: skip
    _add_limits(build)
    return build


def _add_limits(build: argparse.ArgumentParser) -> None:
    """Adds the options that bound what the server does at a time and how long it takes."""
    add = build.add_argument
    add("--workers", type=int, default=os.cpu_count() or 1,
        help="runs of the model at a time (default: cores, %(default)s)")  # fmt: skip
    add("--queue", type=int, default=64,
        help="requests that may wait or run; more are refused (default 64)")  # fmt: skip
    add("--batch", type=int, default=0, metavar="ROWS",
        help="batch concurrent requests, up to ROWS rows a run (default 0: no batching)")  # fmt: skip
    add("--batch-wait", type=float, default=5.0, metavar="MS",
        help="batching window: milliseconds that a batch stays open for further requests (default 5)")  # fmt: skip
    add("--max-rows", type=int, default=256, metavar="N",
        help="maximum images (rows) of one request without --batch (default %(default)s)")  # fmt: skip
    add("--max-body", type=float, default=32.0, metavar="MB", help="largest request (default 32)")
    add("--client-timeout", type=float, default=30.0, metavar="S",
        help="a request's body must have arrived after S seconds (default 30)")  # fmt: skip
    add("--run-timeout", type=float, default=30.0, metavar="S",
        help="a REST request may take S seconds (default 30); gRPC clients set their own deadline")  # fmt: skip
    add("--drain", type=float, default=30.0, metavar="S",
        help="on SIGTERM, wait up to S seconds for running requests (default 30)")  # fmt: skip


def check(options: argparse.Namespace) -> None:
    """Checks the numbers among the options.

    Args:
        options: what `parser` read.

    Raises:
        SpecError: if one is out of range.
    """
    for name, (low, high) in _INTEGERS.items():
        checks.integer(getattr(options, name), _option(name), low, high)
    for name, maximum in _NUMBERS.items():
        checks.number(getattr(options, name), _option(name), 0, maximum, above=True)
    if options.versions is not None:
        checks.integer(options.versions, "--versions", 1, 4096)
    if options.name is not None and not re.fullmatch(r"[^/:]+", options.name):
        raise SpecError(f"--name expects a name without / and :, got {options.name!r}")
    names = [name for name, _ in options.labels]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"--label {name} expects one version, got {names.count(name)}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _versions(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expects a whole number or all, got {text!r}") from None


def _origin(text: str) -> str:
    # Exactly as browsers send it, or it would never match: no path, no wildcard inside, ASCII alone.
    if text != "*" and not re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", text, re.I | re.A):
        raise argparse.ArgumentTypeError(
            f"expects an origin such as https://example.org, or '*', got {text!r}"
        )
    default_port = {"http": ":80", "https": ":443"}.get(text.lower().partition("://")[0], "")
    return text.lower().removesuffix(default_port)  # browsers leave it out


def _label(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or set(name) & set("/:") or not re.fullmatch(r"[0-9]{1,18}", number):
        raise argparse.ArgumentTypeError(f"expects NAME=VERSION such as stable=1, got {text!r}")
    return name, int(number)
