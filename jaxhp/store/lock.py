"""The right to write a run directory: one process has it, and it ends with that process, however that ends.

POSIX: `flock` on the file `lock`, of which a forked child lets go, so that a worker that outlives a killed search holds
nothing. Windows: a locked byte beyond the file's end; that has never been run. Where a system has neither, and where
somebody removes the file, a second writer is not kept out here; but the ledger names its writer (`Ledger.check_held`),
and the first one stops.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from jaxhp.trials import Error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

NAME = "lock"
_MOST = 20  # bytes of a process's number
_FAR = 2**30  # where Windows locks a byte: the process's number before it can be read
_held: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """The lock of a directory, which is made if it is missing.

    Raises:
      OSError: the directory cannot be written.
      Error: another process has the lock, or the file is not one of ours.
    """

    def __init__(self, directory: Path):
        self._path = directory / NAME
        self._number: int | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._number = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
            _held.add(self)
            self._take(directory)
        except BaseException:
            self.close()
            raise

    @property
    def held(self) -> bool:
        """Whether this process has the lock, and the file is still where it was."""
        if self._number is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._number), os.lstat(self._path))
        except OSError:
            return False

    def close(self) -> None:
        """Let go."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def _take(self, directory: Path) -> None:
        assert self._number is not None
        known = os.read(self._number, _MOST + 1)
        if not (known.strip().isdigit() or not known) or len(known) > _MOST:
            raise Error(f"dir: expected a directory of jaxhp alone, got {directory}, whose file {NAME} is another's")
        try:
            _lock(self._number)
        except (BlockingIOError, PermissionError):
            holder = known.decode().strip() or "unknown"
            raise Error(f"{directory}: another process (pid {holder}) is running this search") from None
        if not self.held:  # replaced since it was opened
            raise Error(f"{directory}: another process is running this search, or has replaced the directory")
        os.ftruncate(self._number, 0)
        os.lseek(self._number, 0, os.SEEK_SET)
        os.write(self._number, f"{os.getpid()}\n".encode())


def _lock(number: int) -> None:
    if fcntl is not None:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt is not None:
        os.lseek(number, _FAR, os.SEEK_SET)
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def _let_go() -> None:
    for lock in list(_held):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
