"""A lock on a folder, so that one program at a time writes to it; it ends with the process."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from captioner.errors import DataError

NAME = "lock"
_PAUSE_SECONDS = 0.2


@contextmanager
def exclusive(folder: Path, what: str, remedy: str, wait: bool = False) -> Iterator[None]:
    """Context manager that holds the lock of a folder.

    The system releases the lock when the process ends, even by `kill -9`, so there are no stale locks. The file `lock`
    in the folder says which process has it, and is deleted at the end.

    Args:
        folder: Path of an existing folder.
        what: str. What messages call this program: "another training".
        remedy: str. What messages suggest: "give another --out".
        wait: bool, default False. Wait for the other program and print that, instead of raising.

    Raises:
        DataError: if another program has the lock and `wait` is False, or the folder cannot be written to.
    """
    path, printed = folder / NAME, False
    while (handle := _take(path)) is None:
        holder = f"{what}{_holder(path)}"
        if not wait:
            raise DataError(f"{holder} is writing to {folder}: wait for it, stop it, or {remedy}")
        if not printed:
            print(f"waiting for {holder}, which is writing to {folder}; or stop it, or {remedy}", flush=True)
            printed = True
        time.sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):  # some systems do not delete open files; a file left there does no harm
            path.unlink()
        os.close(handle)


def _take(path: Path) -> int | None:
    """The open and locked file, or None while another program has it."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise DataError(f"cannot write to {path.parent}: {error.strerror or error}") from None
        if not _lock(handle):
            os.close(handle)
            return None
        if _is_current(handle, path):
            break
        os.close(handle)  # its last holder has just deleted it
    since = datetime.now().isoformat(" ", "seconds")
    about = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    with suppress(OSError):  # a full disk is reported by what writes more than this
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(about).encode())
    return handle


def _lock(handle: int) -> bool:
    """Locks an open file; returns whether that was possible."""
    try:
        try:
            import fcntl
        except ImportError:
            import msvcrt

            # The bytes of a locked range cannot be read, so it lies behind what the file says.
            os.lseek(handle, 1 << 20, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK, errno.EWOULDBLOCK):
            return False
        # Some network drives have no locks: no reason not to work there.
        print("this drive has no locks: make sure that no other program writes there", flush=True)
    return True


def _is_current(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at the path."""
    try:
        opened, current = os.fstat(handle), os.stat(path)
    except OSError:
        return False
    return (opened.st_dev, opened.st_ino) == (current.st_dev, current.st_ino)


def _holder(path: Path) -> str:
    """Which process has the lock, in brackets; empty if the file does not say."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {about['process']} on {about['host']}, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
