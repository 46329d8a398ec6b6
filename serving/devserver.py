"""Serves a model for development and small sites: `python serving/devserver.py MODEL`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioner import bundle
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError, EngineError, MissingDependency, SpecError
from captioner.programs import run_program
from serving.protocol.status import ServingError
from serving.runtime import log
from serving.runtime.options import check, parser
from serving.runtime.versions import Folder, is_version, version_folders


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
    check(given)
    parts = _parts()
    stop = _stopped_by_signals()
    gate = parts["Gate"](given.queue, given.workers)
    state: dict[str, Folder] = {}

    def models() -> Folder:
        if not state:
            raise ServingError("UNAVAILABLE", "the model is being loaded: try again soon")
        return state["models"]

    metrics = parts["Metrics"](gate, lambda: _available(models()) if state else {})
    size = int(given.max_body * (1 << 20))
    limits = parts["Limits"](size, given.client_timeout, given.run_timeout)
    app = parts["RestApp"](models, gate, metrics, limits, given.allow_origin)
    # Ports first: loading takes long, and would be for nothing.
    http = parts["HttpServer"](app, metrics, limits, given.host, given.rest_port)
    host = f"[{given.host}]" if ":" in given.host else given.host
    rpc = parts["GrpcServer"](models, f"{host}:{given.port}", gate, metrics, size)
    find = find_versions(given.model)
    _check_labels(given, find())
    name = given.name or _name(Path(given.model))
    choices = parts["Choices"](name, models, find, gate, given.model, given.also)
    app.page = parts["Page"](choices, gate, size)
    http.start()
    rpc.start()
    try:
        found = _load(
            given,
            find,
            lambda v: parts["Queued"](
                v, gate, given.batch, given.batch_wait / 1000, metrics.ran, given.max_rows
            ),
        )
        state["models"] = found
        choices.open()
        if not stop.is_set():
            found.watch(given.poll)
            page = f"http://{host}:{http.port}/"
            rest = f"{page}v1/models/{found.name}"
            note = "for development and small sites"
            log.event("serving", model=found.name, page=page, rest=rest, grpc=f"{host}:{rpc.port}", note=note)
            stop.wait()
        log.event("draining", waiting=gate.inside)
    finally:
        waiting = threading.Thread(target=rpc.stop, args=(given.drain,))
        waiting.start()
        http.stop(given.drain)
        waiting.join()
        choices.close()
    found.close()
    log.event("stopped")
    return 0


def _load(
    given: argparse.Namespace, find: Callable[[], dict[int, Path]], queued: Callable[[Any], Any]
) -> Folder:
    """The model's folder, with its newest version loaded and tried."""
    import_tensorflow("serving a model")
    import tensorflow as tf

    from serving.runtime.session import SessionVersion, warm_up

    tf.get_logger().setLevel("ERROR")

    def load(path: Path, number: int) -> Any:
        version = SessionVersion(path, number)
        try:
            warm_up(version, path)
        except BaseException:
            version.close()
            raise
        return queued(version)

    name = given.name or _name(Path(given.model))
    found = Folder(name, find, load, given.versions, dict(given.labels))
    if not found.refresh():
        failed = found.states(name)[0]
        raise EngineError(
            f"no version of {given.model} can be served; version {failed.version}: {failed.message}"
        )
    return found


def _parts() -> dict[str, Any]:
    """What needs packages that a plain installation lacks."""
    try:
        from serving.http.app import HttpServer, Limits, RestApp
        from serving.http.grpc_services import GrpcServer
        from serving.runtime.batching import Gate, Queued
        from serving.runtime.metrics import Metrics
        from serving.webui.choices import Choices
        from serving.webui.page import Page
    except ImportError as error:
        raise MissingDependency(error.name or "starlette", "devserver", "the development server") from None
    kinds = (Gate, Queued, GrpcServer, HttpServer, Limits, RestApp, Metrics, Page, Choices)
    return {each.__name__: each for each in kinds}


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


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    given = parser().parse_args(arguments)
    log.capture()
    return run_program("devserver.py", lambda: serve(given))


if __name__ == "__main__":
    sys.exit(main())
