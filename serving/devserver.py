"""Serves a model for development and small sites: `python serving/devserver.py MODEL`."""

from __future__ import annotations

from captioner.programs import program  # first: it sets the import path

# isort: split
import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner import bundle
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError, EngineError, MissingDependency, SpecError
from serving.protocol.predict import Version
from serving.runtime import log
from serving.runtime.options import check, parser
from serving.runtime.versions import ModelFolder, is_version, version_folders


def find_versions(model: str) -> Callable[[], dict[int, Path]]:
    """A function that lists the versions in a model's folder, which is exported if it has none.

    Args:
        model: str. A base path, a version folder, or a captioner model folder.

    Returns:
        callable that returns the versions on disk, newest first.

    Raises:
        BundleError: if there is no such folder, or nothing in it that can be served.
    """
    folder = Path(model)
    if not folder.is_dir():
        problem = "it is a file" if folder.exists() else "there is none"
        raise BundleError(f"expected a model folder at {model}, {problem}")
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


def run(options: argparse.Namespace) -> None:
    """Takes the ports, loads the model, answers until a signal comes, and drains.

    Args:
        options: what `parser` read.

    Raises:
        CaptionerError: if it cannot start.
    """
    log.capture()
    check(options)
    try:
        from serving.http.server import DevelopmentServer
    except ImportError as error:
        raise MissingDependency(error.name or "starlette", "devserver", "the development server") from None
    stop = _stop_event()
    # Ports first: loading takes long, and would be wasted.
    server = DevelopmentServer(options)
    find = find_versions(options.model)
    _check_labels(options, find())
    server.start(_model_name(options), find)
    try:
        server.serve(_load(options, find, server.batching))
        if not stop.is_set():
            server.watch()
            stop.wait()
        log.event("draining", waiting=server.admission.inside)
    finally:
        server.stop()
    log.event("stopped")


def _load(
    options: argparse.Namespace, find: Callable[[], dict[int, Path]], wrap: Callable[[Version], Version]
) -> ModelFolder:
    """The model's folder, with its newest version loaded and warmed up; `wrap` adds batching to a version."""
    import_tensorflow("serving a model")
    import tensorflow as tf

    from serving.runtime.session import SessionVersion, warm_up

    tf.get_logger().setLevel("ERROR")

    def load(path: Path, number: int) -> Version:
        version = SessionVersion(path, number)
        try:
            warm_up(version, path)
        except BaseException:
            version.close()
            raise
        return wrap(version)

    name = _model_name(options)
    models = ModelFolder(name, find, load, options.versions, dict(options.labels))
    if not models.refresh():
        failed = models.states(name)[0]
        raise EngineError(
            f"no version of {options.model} can be served; version {failed.version}: {failed.message}"
        )
    return models


def _stop_event() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set; a second signal ends the process at once."""
    stop = threading.Event()

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _check_labels(options: argparse.Namespace, versions: dict[int, Path]) -> None:
    for label, number in options.labels:
        if number not in versions:
            known = ", ".join(str(version) for version in versions)
            raise SpecError(f"--label {label}={number}: expected a version of {options.model} ({known})")


def _model_name(options: argparse.Namespace) -> str:
    """What clients call the model: `--name`, or the name of its folder."""
    if options.name:
        return options.name
    folder = Path(options.model).resolve()
    numbered = is_version(folder) and folder.name.isdigit()
    return (folder.parent if numbered else folder).name


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
