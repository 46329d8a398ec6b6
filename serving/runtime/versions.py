"""Versions of a model: which are on disk, which are loaded, and the hot swap from one to the next.

A base path holds version folders, whose names are numbers. The newest that load are served; a newer one is loaded and
warmed up before it takes over, and the one that it replaces is closed when its last request has ended. A version that
does not load changes nothing, is reported once, and is tried again when its files have changed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from captioner.engines.versions import GRAPH, versions
from serving.protocol.predict import Models, State, Version, not_found
from serving.protocol.status import ServingError, invalid
from serving.runtime import log

GRAPHS = (GRAPH, "saved_model.pbtxt")
Load = Callable[[Path, int], Version]


def version_folders(base: Path) -> dict[int, Path]:
    """The versions in a base path, newest first.

    Args:
        base: Path.

    Returns:
        dict of int to Path: children whose names are whole numbers. A folder that holds no graph yet is left out.

    Raises:
        OSError: if the base path is gone or cannot be read.
    """
    base.stat()  # an error if it is gone, instead of no versions
    return {number: folder for number, folder in reversed(versions(base).items()) if is_version(folder)}


def is_version(folder: Path) -> bool:
    """Whether a folder is a SavedModel."""
    return any((folder / name).is_file() for name in GRAPHS)


@dataclass(eq=False)
class _Loaded:
    version: Version
    users: int = 0
    retired: bool = False


class ModelFolder(Models):
    """One model: the versions in a folder.

    Args:
        name: str. What clients call it.
        find: callable that returns the version folders on disk, newest first.
        load: callable that loads and warms up a version, or raises.
        keep: int, default 1. So many of the newest are served; None for all.
        labels: mapping of str to int, default none. Names for versions, which stay loaded.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[], dict[int, Path]],
        load: Load,
        keep: int | None = 1,
        labels: Mapping[str, int] | None = None,
    ):
        self.name, self._find, self._load, self._keep = name, find, load, keep
        self._labels = dict(labels or {})
        self._lock = threading.Lock()
        self._loaded: dict[int, _Loaded] = {}
        self._states: dict[int, State] = {}
        self._failed: dict[int, object] = {}  # fingerprints of versions that did not load
        self._unreadable = False
        self._stop = threading.Event()

    @contextlib.contextmanager
    def use(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Version]:
        """See `Models.use`."""
        with self._lock:
            loaded = self._select(name, version, label)
            loaded.users += 1
        try:
            yield loaded.version
        finally:
            with self._lock:
                loaded.users -= 1
                unused = loaded.retired and loaded.users == 0
            if unused:
                self._close(loaded)

    def states(self, name: str, version: int | None = None) -> list[State]:
        """See `Models.states`."""
        with self._lock:
            states = sorted(self._states.values(), key=lambda s: -s.version) if name == self.name else []
        if version is None and not states:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        selected = [state for state in states if version in (None, state.version)]
        if not selected:
            raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
        return selected

    def refresh(self) -> bool:
        """Compares the folder with what is loaded, once; loads, swaps and closes versions.

        Returns:
            bool: whether any version is served.
        """
        try:
            on_disk = self._find()
            self._unreadable = False
        except OSError as error:
            if not self._unreadable:
                log.event("folder_unreadable", "error", model=self.name, reason=error.strerror or str(error))
            self._unreadable, on_disk = True, {}
        ready: set[int] = set()
        for number, path in on_disk.items():
            needed = self._keep is None or len(ready) < self._keep
            if needed and self._ready(number, path):
                ready.add(number)
        ready |= {n for n in self._labels.values() if n in on_disk and self._ready(n, on_disk[n])}
        # An old version is better than none.
        if ready:
            for number in set(self._loaded) - ready:
                self._retire(number)
        return bool(self._loaded)

    def watch(self, seconds: float) -> None:
        """Calls `refresh` every so many seconds, in a thread of its own, until `close`."""

        def run() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.refresh()
                except (
                    Exception
                ) as error:  # without its watcher the server would never see a new version again
                    reason = f"{type(error).__name__}: {error}"
                    log.event("watch_failed", "error", model=self.name, reason=reason)

        threading.Thread(target=run, name="versions", daemon=True).start()

    def close(self) -> None:
        """Stops watching and closes all versions."""
        self._stop.set()
        for number in list(self._loaded):
            self._retire(number)

    def _select(self, name: str, version: int | None, label: str | None) -> _Loaded:
        if label is not None:
            if name != self.name or label not in self._labels:
                labels = ", ".join(sorted(self._labels)) or "none: give one with --label NAME=VERSION"
                raise invalid(f"Unrecognized servable version label: {label} (labels: {labels})")
            version = self._labels[label]
        if name != self.name or not self._loaded or (version is not None and version not in self._loaded):
            raise not_found(name, version)
        return self._loaded[max(self._loaded) if version is None else version]

    def _ready(self, number: int, path: Path) -> bool:
        """Whether a version is loaded; tries to load it unless the same files failed before."""
        if number in self._loaded:
            return True
        fingerprint = _fingerprint(path)
        if number in self._failed and self._failed[number] == fingerprint:
            return False
        self._set_state(State(number, "LOADING"))
        try:
            version = self._load(path, number)
        except Exception as error:
            self._failed[number] = fingerprint
            code = error.code if isinstance(error, ServingError) else "UNKNOWN"
            reason = " ".join(str(error).split())[:500] or type(error).__name__
            self._set_state(State(number, "END", code, reason))
            others = sorted(self._loaded, reverse=True)
            log.event(
                "version_failed", "error", model=self.name, version=number, reason=reason, serving=others
            )
            return False
        self._failed.pop(number, None)
        with self._lock:
            self._loaded[number] = _Loaded(version)
            self._states[number] = State(number, "AVAILABLE")
        log.event("version_available", model=self.name, version=number)
        return True

    def _retire(self, number: int) -> None:
        with self._lock:
            loaded = self._loaded.pop(number)
            loaded.retired, unused = True, loaded.users == 0
            self._states[number] = State(number, "UNLOADING")
        if unused:
            self._close(loaded)

    def _close(self, loaded: _Loaded) -> None:
        number = loaded.version.number
        loaded.version.close()
        with self._lock:
            if number not in self._loaded:
                self._states[number] = State(number, "END")
        log.event("version_unloaded", model=self.name, version=number)

    def _set_state(self, state: State) -> None:
        with self._lock:
            self._states[state.version] = state


def _fingerprint(folder: Path) -> object:
    """A value that changes when the files of a folder do."""
    files = []
    try:
        for path in sorted(folder.rglob("*")):
            stat = path.stat()
            files.append((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    except OSError:
        pass  # the folder is being changed
    return files
