"""Atomic replacement of all files of a folder that has a manifest. No TensorFlow here.

New files are written into a subfolder, `.write-...` (staging). One rename makes the manifest name that subfolder: the
commit, after which the new files are the current ones. Then they are linked under their usual names, a second rename
takes the entry out of the manifest, and the subfolder is removed. The manifest thus names a complete set of files at
all times, whatever stops the writer. Leftovers of a crashed writer are removed by the next writer, never by a reader.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from captioner import atomic, metadata
from captioner.errors import BundleError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

ENTRY = "files"  # of a manifest whose files do not have their usual names yet
STAGE = r"\.write-[0-9a-f]{8}"
_WAIT = 60.0  # seconds to wait for a lock


@contextmanager
def locked(folder: Path, shared: bool = False, wait: float = _WAIT) -> Iterator[bool]:
    """Locks a folder for one writer or for several readers; the system releases the lock when the process ends.

    Args:
        folder: Path.
        shared: bool, default False. A shared lock, for readers.
        wait: float, default 60. Seconds to wait for the lock.

    Yields:
        bool: False where the file system has no locks, or there is no such folder.

    Raises:
        BundleError: if other programs keep the lock for longer.
    """
    try:
        handle = os.open(folder, os.O_RDONLY) if fcntl else None
    except OSError:
        handle = None
    if handle is None:
        yield False
        return
    try:
        yield _lock(handle, folder, shared, time.monotonic() + wait)
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, shared: bool, end: float) -> bool:
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    while True:
        try:
            fcntl.flock(handle, kind)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                raise BundleError(
                    f"another program is writing to {folder}, or reading it: wait until it has ended"
                ) from None
            time.sleep(0.02)
        except OSError:
            return False


def stamp(path: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever a file is replaced; None if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def current_files(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """The folder that holds the current files: `folder` itself, or its staging folder after an interrupted write.

    Raises:
        BundleError: if the manifest names a folder that no writer creates.
    """
    if ENTRY not in manifest:
        return folder
    return folder / metadata.Fields(manifest, f"the manifest of {folder}").text(ENTRY, pattern=STAGE)


@contextmanager
def staging(folder: Path, manifest: str, names: Sequence[str]) -> Iterator[Path]:
    """Creates a staging folder inside `folder`, to write files into before `commit`, and removes it at the end.

    Args:
        folder: Path. Created if missing, and removed again if nothing is committed.
        manifest: str. The name of the manifest.
        names: sequence of str. The names of the other files.

    Raises:
        OSError: if the disk refuses.
        BundleError: if another program keeps the lock for long.
    """
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    stage = folder / f".write-{secrets.token_hex(4)}"
    try:
        with ExitStack() as stack:
            with locked(folder) as has_lock:
                if has_lock:
                    _clean(folder, manifest, names)
                stage.mkdir()
                stack.enter_context(locked(stage))  # keeps other writers from removing it as a leftover
            yield stage
    finally:
        with suppress(OSError, BundleError):
            if _current_files(folder, manifest) != stage:
                shutil.rmtree(stage, ignore_errors=True)
        if created:
            with suppress(OSError):
                folder.rmdir()


def commit(
    folder: Path,
    stage: Path,
    manifest: str,
    content: Mapping[str, Any],
    names: Sequence[str],
    check: Callable[[], None],
) -> None:
    """Makes the files in `stage` the current ones and gives them their usual names.

    Args:
        folder, stage, manifest, names: see `staging`. The file of a name without a file in `stage` is removed.
        content: mapping that JSON can hold. The new manifest.
        check: callable that raises if the folder may not be changed; called under the lock.

    Raises:
        OSError, BundleError: if the disk refuses. Before the manifest is replaced, the old files stay the current
            ones; after it, the new files are.
    """
    atomic.flush_tree(stage)
    with locked(folder):
        check()
        atomic.write_json(folder / manifest, {**content, ENTRY: stage.name}, BundleError)
        try:
            _restore_names(folder, manifest, names)
        except (OSError, BundleError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BundleError(
                f"{folder} holds the new model, but not yet under its files' usual names ({reason}): save it again"
            ) from None


def amend(
    folder: Path, manifest: str, names: Sequence[str], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Changes the manifest under the lock, after completing a write that was interrupted.

    Args:
        folder, manifest, names: see `staging`.
        change: callable that takes the manifest and returns the new one.

    Raises:
        BundleError: if the disk refuses, or another program keeps the lock for long.
    """
    with locked(folder):
        try:
            _restore_names(folder, manifest, names)
            atomic.write_json(folder / manifest, change(metadata.load(folder / manifest)), BundleError)
        except OSError as error:
            raise BundleError(f"cannot write to {folder}: {error.strerror or error}") from None


def _restore_names(folder: Path, manifest: str, names: Sequence[str]) -> None:
    """Gives the current files their usual names; to call under the lock."""
    content = metadata.load(folder / manifest)
    stage = current_files(folder, content)
    if stage != folder:
        for name in names:
            if (stage / name).exists():
                _link(stage / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        atomic.flush(folder)
        atomic.write_json(folder / manifest, {k: v for k, v in content.items() if k != ENTRY}, BundleError)
    _clean(folder, manifest, names)


def _link(source: Path, target: Path) -> None:
    """Replaces `target` by a hard link to `source`, or by a copy where there are no links."""
    with atomic.replacing(target, BundleError) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _current_files(folder: Path, manifest: str) -> Path | None:
    return current_files(folder, metadata.load(folder / manifest)) if (folder / manifest).is_file() else None


def _clean(folder: Path, manifest: str, names: Sequence[str]) -> None:
    """Removes leftovers of crashed writers; to call under the lock."""
    current = _current_files(folder, manifest)
    known_names = "|".join(re.escape(name) for name in (manifest, *names))
    for path in list(folder.iterdir()):
        if re.fullmatch(STAGE, path.name) and path != current:
            with suppress(BundleError), locked(path, wait=0) as has_lock:
                if has_lock:
                    shutil.rmtree(path, ignore_errors=True)
        elif re.fullmatch(rf"\.({known_names})\.[0-9a-f]{{8}}", path.name):
            path.unlink(missing_ok=True)
