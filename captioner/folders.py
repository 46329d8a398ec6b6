"""Folders whose files are replaced together, in one atomic change of the manifest. No TensorFlow here.

New files are written into a folder of their own inside, `.write-...`. One rename makes the manifest name that folder,
and from then on the new files are the ones that count; then they are linked under their usual names, a second rename
takes the entry out of the manifest, and the folder is removed. So the manifest names a complete set of files at every
moment, whatever stops the writer. What a crashed writer leaves is removed by the next one, never by a reader.
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

ENTRY = "files"  # of a manifest whose files are not under their usual names yet
STAGE = r"\.write-[0-9a-f]{8}"
_WAIT = 60.0  # seconds for others to finish


@contextmanager
def locked(folder: Path, shared: bool = False, wait: float = _WAIT) -> Iterator[bool]:
    """Holds a folder for one writer, or for readers while no writer is at work; the system frees it if we die.

    Args:
        folder: Path.
        shared: bool, default False. Whether other readers may hold it as well.
        wait: float, default 60. Seconds to wait for others.

    Yields:
        bool: False where the file system has no locks, or there is no such folder.

    Raises:
        BundleError: if others hold it for longer.
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


def place(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """The folder that the files of a manifest are in.

    Raises:
        BundleError: if the manifest names one that no writer would.
    """
    if ENTRY not in manifest:
        return folder
    return folder / metadata.Fields(manifest, f"the manifest of {folder}").text(ENTRY, pattern=STAGE)


@contextmanager
def staged(folder: Path, manifest: str, names: Sequence[str]) -> Iterator[Path]:
    """Gives a new folder inside `folder` to write files into, for `switch`; afterwards it is gone.

    Args:
        folder: Path. Made if need be, and removed if nothing comes of it.
        manifest: str. The name of the manifest.
        names: sequence of str. The names of the other files.

    Raises:
        OSError: if the disk refuses.
        BundleError: if somebody else writes there for long.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    stage = folder / f".write-{secrets.token_hex(4)}"
    try:
        with ExitStack() as mine:
            with locked(folder) as held:
                if held:
                    _clean(folder, manifest, names)
                stage.mkdir()
                mine.enter_context(locked(stage))  # while it is held, nobody takes the folder for a leftover
            yield stage
    finally:
        with suppress(OSError, BundleError):
            if _in_use(folder, manifest) != stage:
                shutil.rmtree(stage, ignore_errors=True)
        if made:
            with suppress(OSError):
                folder.rmdir()


def switch(
    folder: Path,
    stage: Path,
    manifest: str,
    content: Mapping[str, Any],
    names: Sequence[str],
    check: Callable[[], None],
) -> None:
    """Makes the files in `stage` the ones that count, and puts them under their usual names.

    Args:
        folder, stage, manifest, names: see `staged`. A name without a file in `stage` is to be gone.
        content: mapping that JSON can hold. The new manifest.
        check: callable that raises if the folder may not be changed; called when nobody else can write to it.

    Raises:
        OSError, BundleError: if the disk refuses: before the switch, all is as it was; after it, the new files count.
    """
    atomic.flush_tree(stage)
    with locked(folder):
        check()
        atomic.write_json(folder / manifest, {**content, ENTRY: stage.name}, BundleError)
        try:
            _settle(folder, manifest, names)
        except (OSError, BundleError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BundleError(
                f"{folder} holds the new model, but not yet under its files' usual names ({reason}): save it again"
            ) from None


def amend(
    folder: Path, manifest: str, names: Sequence[str], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Changes the manifest, alone with the folder, whose files are under their usual names then.

    Args:
        folder, manifest, names: see `staged`.
        change: callable that is given the manifest and returns the new one.

    Raises:
        BundleError: if the disk refuses or somebody else writes there for long.
    """
    with locked(folder):
        try:
            _settle(folder, manifest, names)
            atomic.write_json(folder / manifest, change(metadata.load(folder / manifest)), BundleError)
        except OSError as error:
            raise BundleError(f"cannot write to {folder}: {error.strerror or error}") from None


def _settle(folder: Path, manifest: str, names: Sequence[str]) -> None:
    """Puts the files that count under their usual names; the folder is locked."""
    content = metadata.load(folder / manifest)
    stage = place(folder, content)
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
    """Gives a file a second name, which an older file may have; a copy where there are no links."""
    with atomic.replacing(target, BundleError) as aside:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)


def _in_use(folder: Path, manifest: str) -> Path | None:
    return place(folder, metadata.load(folder / manifest)) if (folder / manifest).is_file() else None


def _clean(folder: Path, manifest: str, names: Sequence[str]) -> None:
    """Removes what crashed writers have left; the folder is locked."""
    used = _in_use(folder, manifest)
    aside = "|".join(re.escape(name) for name in (manifest, *names))
    for path in list(folder.iterdir()):
        if re.fullmatch(STAGE, path.name) and path != used:
            with suppress(BundleError), locked(path, wait=0) as held:
                if held:
                    shutil.rmtree(path, ignore_errors=True)
        elif re.fullmatch(rf"\.({aside})\.[0-9a-f]{{8}}", path.name):
            path.unlink(missing_ok=True)
