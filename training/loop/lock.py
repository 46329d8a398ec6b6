"""One program at a time writes into a folder: a lock that ends with the program, whatever ends it."""

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
def alone(folder: Path, what: str, remedy: str, wait: bool = False) -> Iterator[None]:
    """Within the block no other program that asks for the same folder's lock is in such a block.

    The system holds the lock and lets go of it when the process ends, even by `kill -9`; so there are no stale ones.
    The file `lock` in the folder says who has it, and is deleted at the end.

    Args:
        folder: Path of a folder that is there.
        what: str. What the others are told: "another training".
        remedy: str. What else they may do: "give another --out".
        wait: bool, default False. Wait for the other program, with a line that says so, instead of refusing.

    Raises:
        DataError: if another program has the lock and `wait` is False, or the folder cannot be written to.
    """
    path, told = folder / NAME, False
    while (handle := _take(path)) is None:
        holder = f"{what}{_holder(path)}"
        if not wait:
            raise DataError(f"{holder} is writing to {folder}: wait for it, stop it, or {remedy}")
        if not told:
            print(f"waiting for {holder}, which is writing to {folder}; or stop it, or {remedy}", flush=True)
            told = True
        time.sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):  # a system that deletes no open files leaves it there, which does no harm
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
        if _is_there(handle, path):
            break
        os.close(handle)  # its last holder has just deleted it
    since = datetime.now().isoformat(" ", "seconds")
    about = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    with suppress(OSError):  # a full disk is told by whoever writes something that matters
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(about).encode())
    return handle


def _lock(handle: int) -> bool:
    """Locks an open file; whether no other program has."""
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
        # Some network drives know no locks: no reason not to work there.
        print("this drive knows no locks: make sure that no other program writes there", flush=True)
    return True


def _is_there(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        mine, there = os.fstat(handle), os.stat(path)
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _holder(path: Path) -> str:
    """Who has the lock, in brackets; nothing where the file does not say."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {about['process']} on {about['host']}, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
