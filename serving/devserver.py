"""Serves a model for development and small sites: `python serving/devserver.py MODEL`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioner import bundle
from captioner.engines.start import import_tensorflow
from captioner.errors import BundleError, CaptionerError, EngineError, MissingDependency, SpecError
from serving import log
from serving.versions import Folder, is_version, version_folders

ABOUT = """\
Serves a SavedModel over gRPC and REST as TensorFlow Serving does: a folder of version folders (1/, 2/ ...), one such
version, or a captioner model folder, which is exported first if it has no version yet.

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


def find_versions(model: str) -> Callable[[], dict[int, Path]]:
    """What lists the versions of a model's folder, after exporting it if it has none.

    Args:
        model: str. A base path, a version folder, or a captioner bundle.

    Returns:
        callable that gives the versions on disk, newest first.

    Raises:
        BundleError: if there is no such folder, or nothing in it that can be served.
    """
    folder = Path(model)
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is none"
        raise BundleError(f"expected a model folder at {model}, {what}")
    if is_version(folder):
        number = int(folder.name) if folder.name.isascii() and folder.name.isdigit() else 1
        return lambda: {number: folder}
    if not version_folders(folder):
        if not (folder / bundle.MANIFEST).is_file():
            raise BundleError(
                f"expected version folders (1/, 2/ ...) with a saved_model.pb, or a captioner model with "
                f"{bundle.MANIFEST}, in {model}; it has neither"
            )
        _export(folder)
    return lambda: version_folders(folder)


def _export(folder: Path) -> None:
    from captioner.api import export

    bundle.read(folder)
    log.event("exporting", model=str(folder))
    export(folder, to=["saved_model"])


def serve(given: argparse.Namespace) -> int:
    """Takes the ports, loads the model, answers until a signal comes, and drains.

    Args:
        given: what `parser` read.

    Returns:
        int: the exit code.

    Raises:
        CaptionerError: if it cannot start.
    """
    parts = _parts()
    stop = _stopped_by_signals()
    gate = parts["Gate"](given.queue, given.workers)
    state: dict[str, Any] = {}
    metrics = parts["Metrics"](gate, lambda: _available(state["models"]))
    size = int(given.max_body * (1 << 20))
    limits = parts["Limits"](size, given.client_timeout, given.run_timeout)
    app = parts["RestApp"](lambda: state["models"], gate, metrics, limits)
    # Ports first: loading takes long, and would be for nothing.
    http = parts["HttpServer"](app, metrics, limits, given.host, given.rest_port)
    host = f"[{given.host}]" if ":" in given.host else given.host
    rpc = parts["GrpcServer"](lambda: state["models"], f"{host}:{given.port}", gate, metrics, size)
    find = find_versions(given.model)
    _check_labels(given, find())
    import_tensorflow("serving a model")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")

    def load(path: Path, number: int) -> Any:
        from serving.session import SessionVersion, warm_up

        version = SessionVersion(path, number)
        try:
            warm_up(version, path)
        except BaseException:
            version.close()
            raise
        return parts["Queued"](version, gate, given.batch, given.batch_wait / 1000, metrics.ran)

    name = given.name or _name(Path(given.model))
    state["models"] = models = Folder(name, find, load, given.versions, dict(given.labels))
    if not models.refresh():
        failed = models.states(name)[0]
        raise EngineError(
            f"no version of {given.model} can be served; version {failed.version}: {failed.message}"
        )
    if not stop.is_set():
        models.watch(given.poll)
        http.start()
        rpc.start()
        rest, grpc = f"http://{given.host}:{http.port}/v1/models/{name}", f"{host}:{rpc.port}"
        log.event("serving", model=name, rest=rest, grpc=grpc, note="for development and small sites")
        stop.wait()
    log.event("draining", waiting=gate.inside)
    waiting = threading.Thread(target=rpc.stop, args=(given.drain,))
    waiting.start()
    http.stop(given.drain)
    waiting.join()
    models.close()
    log.event("stopped")
    return 0


def _parts() -> dict[str, Any]:
    """What needs packages that a plain installation lacks."""
    try:
        from serving.batching import Gate, Queued
        from serving.grpc_services import GrpcServer
        from serving.http_app import HttpServer, Limits, RestApp
        from serving.metrics import Metrics
    except ImportError as error:
        raise MissingDependency(error.name or "starlette", "devserver", "the development server") from None
    return {each.__name__: each for each in (Gate, Queued, GrpcServer, HttpServer, Limits, RestApp, Metrics)}


def _stopped_by_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set; a second signal ends the process at once."""
    stop = threading.Event()

    def heard(number: int, frame: Any) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, heard)
    signal.signal(signal.SIGINT, heard)
    return stop


def _available(models: Folder) -> dict[int, bool]:
    return {each.version: each.state == "AVAILABLE" for each in models.states(models.name)}


def _check_labels(given: argparse.Namespace, there: dict[int, Path]) -> None:
    for label, number in given.labels:
        if number not in there:
            known = ", ".join(str(each) for each in there)
            raise SpecError(f"--label {label}={number}: expected a version of {given.model} ({known})")


def _name(folder: Path) -> str:
    folder = folder.resolve()
    of_version = is_version(folder) and folder.name.isdigit()
    return (folder.parent if of_version else folder).name


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


def _label(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or set(name) & set("/:") or not number.isascii() or not number.isdigit():
        raise argparse.ArgumentTypeError(f"expected NAME=VERSION such as stable=1, got {text!r}")
    return name, int(number)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = parser().parse_args(arguments)
    log.capture()
    try:
        return serve(given)
    except CaptionerError as error:
        print(f"devserver.py: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"devserver.py: cannot read or write{where}: {error.strerror or error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
