"""Which versions of a model there are, which are loaded, and the swap from one to the next.

A base path holds version folders, whose names are numbers. The newest that load are served; a newer one is loaded and
tried before it takes over, and the one that it replaces is let go of when its last request has ended. A version that
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
    base.stat()  # where it is gone there is an error, and not no version
    return {number: folder for number, folder in reversed(versions(base).items()) if is_version(folder)}


def is_version(folder: Path) -> bool:
    """Whether a folder is a SavedModel."""
    return any((folder / name).is_file() for name in GRAPHS)


@dataclass(eq=False)
class _Loaded:
    version: Version
    users: int = 0
    retired: bool = False


class Folder(Models):
    """The versions in a folder, one model.

    Args:
        name: str. What clients call it.
        find: callable that gives the versions that are on disk, newest first.
        load: callable that loads and tries one, or raises.
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
        self.name, self._find, self._load, self._keep, self._labels = (
            name,
            find,
            load,
            keep,
            dict(labels or {}),
        )
        self._lock = threading.Lock()
        self._loaded: dict[int, _Loaded] = {}
        self._states: dict[int, State] = {}
        self._failed: dict[int, object] = {}  # the files of versions that did not load
        self._unreadable = False
        self._stop = threading.Event()

    @contextlib.contextmanager
    def use(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Version]:
        """See `Models.use`."""
        with self._lock:
            found = self._pick(name, version, label)
            found.users += 1
        try:
            yield found.version
        finally:
            with self._lock:
                found.users -= 1
                over = found.retired and found.users == 0
            if over:
                self._close(found)

    def states(self, name: str, version: int | None = None) -> list[State]:
        """See `Models.states`."""
        with self._lock:
            states = sorted(self._states.values(), key=lambda s: -s.version) if name == self.name else []
        if version is None and not states:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        found = [each for each in states if version in (None, each.version)]
        if not found:
            raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
        return found

    def refresh(self) -> bool:
        """Looks at the folder once; loads, swaps and lets go.

        Returns:
            bool: whether anything is served.
        """
        try:
            there = self._find()
            self._unreadable = False
        except OSError as error:
            if not self._unreadable:
                log.event("folder_unreadable", "error", model=self.name, reason=error.strerror or str(error))
            self._unreadable, there = True, {}
        chosen: set[int] = set()
        for number, path in there.items():
            wanted = self._keep is None or len(chosen) < self._keep
            if wanted and self._ready(number, path):
                chosen.add(number)
        chosen |= {n for n in self._labels.values() if n in there and self._ready(n, there[n])}
        # Rather an old version than none.
        if chosen:
            for number in set(self._loaded) - chosen:
                self._retire(number)
        return bool(self._loaded)

    def watch(self, seconds: float) -> None:
        """Calls `refresh` again and again, in a thread of its own, until `close`."""

        def run() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.refresh()
                except Exception as error:  # a server without its watcher would never see a new version again
                    log.event(
                        "watch_failed", "error", model=self.name, reason=f"{type(error).__name__}: {error}"
                    )

        threading.Thread(target=run, name="versions", daemon=True).start()

    def close(self) -> None:
        """Stops watching and lets go of everything."""
        self._stop.set()
        for number in list(self._loaded):
            self._retire(number)

    def _pick(self, name: str, version: int | None, label: str | None) -> _Loaded:
        if label is not None:
            if name != self.name or label not in self._labels:
                labels = ", ".join(sorted(self._labels)) or "none: give one with --label NAME=VERSION"
                raise invalid(f"Unrecognized servable version label: {label} (labels: {labels})")
            version = self._labels[label]
        if name != self.name or not self._loaded or (version is not None and version not in self._loaded):
            raise not_found(name, version)
        return self._loaded[max(self._loaded) if version is None else version]

    def _ready(self, number: int, path: Path) -> bool:
        """Whether a version is loaded, after trying to if that may help."""
        if number in self._loaded:
            return True
        files = _files(path)
        if number in self._failed and self._failed[number] == files:
            return False
        self._set(State(number, "LOADING"))
        try:
            version = self._load(path, number)
        except Exception as error:
            self._failed[number] = files
            code = error.code if isinstance(error, ServingError) else "UNKNOWN"
            reason = " ".join(str(error).split())[:500] or type(error).__name__
            self._set(State(number, "END", code, reason))
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
            found = self._loaded.pop(number)
            found.retired, idle = True, found.users == 0
            self._states[number] = State(number, "UNLOADING")
        if idle:
            self._close(found)

    def _close(self, found: _Loaded) -> None:
        number = found.version.number
        found.version.close()
        with self._lock:
            if number not in self._loaded:
                self._states[number] = State(number, "END")
        log.event("version_unloaded", model=self.name, version=number)

    def _set(self, state: State) -> None:
        with self._lock:
            self._states[state.version] = state


def _files(folder: Path) -> object:
    """What changes when the files of a folder do."""
    found = []
    try:
        for path in sorted(folder.rglob("*")):
            about = path.stat()
            found.append((str(path), about.st_size, about.st_mtime_ns, about.st_ino))
    except OSError:
        pass  # it is just being changed
    return found
