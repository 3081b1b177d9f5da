"""One SQLite file with one writer, any number of readers, and one kind of error for whatever is damaged.

The write-ahead log lets readers see the last transaction while the next is written; `synchronous = FULL` puts a
transaction on disk before it counts. The writer holds a lock that ends with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from jaxhp.values import Error

NAME = "ledger.sqlite"
P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound="Database")


class Database:
    """A connection to the database of a run directory.

    Args:
      directory: the run directory, or None to keep everything in memory.
      write: whether to take the writer's lock, and create what is missing.

    Raises:
      FileNotFoundError: there is nothing to read.
      OSError: the directory cannot be written.
      Error: another process writes it.
      Error: the file is damaged.
    """

    def __init__(self, directory: str | Path | None, *, write: bool = False):
        self.directory = Path(directory) if directory is not None else None
        self._lock: int | None = None
        try:
            if self.directory is None:
                self._db = sqlite3.connect(":memory:", isolation_level=None)
            elif write:
                self._lock = _lock(self.directory)
                self._db = _open_to_write(self.directory)
            else:
                self._db = _open_to_read(self.directory)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        return str(self.directory / NAME) if self.directory else "ledger"

    def close(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; a full disk leaves what was there before."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(f"{self.path}: cannot be written: {error}; everything recorded before is kept") from error
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read within it is as it was at one moment, whatever a writer does meanwhile."""
        if self._db.in_transaction:
            yield
            return
        self.rows("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:  # damage may have ended it
                self.rows("ROLLBACK")

    def write(self, statement: str, *rows: Sequence[Any]) -> None:
        """Executes a statement for each row of values, within a transaction or as one of its own."""
        if self._db.in_transaction:
            self._db.executemany(statement, rows)
        else:
            with self.transaction():
                self._db.executemany(statement, rows)

    def rows(self, query: str, *values: Any) -> list[tuple]:
        """What a query finds."""
        try:
            return self._db.execute(query, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise Error(f"{self.path}: expected a readable jaxhp ledger, got: {error}") from error

    def decode(self, what: str, decode: Callable[..., Any], *args: Any) -> Any:
        """What `decode` makes of stored values; ValueError where it cannot."""
        try:
            return decode(*args)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
            raise Error(f"{self.path}: {what} is damaged: {error}") from error


def consistent(method: Callable[Concatenate[D, P], T]) -> Callable[Concatenate[D, P], T]:
    """A method of a `Database` that reads within one `snapshot`."""

    @functools.wraps(method)
    def reading(database: D, *args: P.args, **kwargs: P.kwargs) -> T:
        with database.snapshot():
            return method(database, *args, **kwargs)

    return reading


def _unwritable(directory: Path, reason: object, number: int | None = None) -> OSError:
    text = f"dir: expected a writable directory, got {directory}: {reason}"
    return OSError(text) if number is None else OSError(number, text)


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise _unwritable(directory, error.strerror, error.errno) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise Error(f"{directory}: another process (pid {holder}) is running this search") from None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(lock)
        raise _unwritable(directory, error.strerror, error.errno) from None
    return lock


def _open_to_write(directory: Path) -> sqlite3.Connection:
    path = directory / NAME
    if path.is_symlink():
        raise Error(f"{path}: expected a ledger, got a link to {os.readlink(path)}")
    with ExitStack() as opened:
        try:
            db = opened.enter_context(closing(sqlite3.connect(path, timeout=30, isolation_level=None)))
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            _check(db)
        except sqlite3.OperationalError as error:
            raise _unwritable(directory, error) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise Error(f"{path}: the ledger is damaged: {error}") from error
        opened.pop_all()
    return db


def _open_to_read(directory: Path) -> sqlite3.Connection:
    path = directory.absolute() / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{directory}: expected a run directory, found no {NAME} in it")
    try:
        try:
            return _connect_to_read(f"{path.as_uri()}?mode=ro")
        except sqlite3.OperationalError:  # a directory without write permission; nobody writes where there is no log
            if path.with_name(NAME + "-wal").exists():
                raise
            return _connect_to_read(f"{path.as_uri()}?mode=ro&immutable=1")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise Error(f"{path}: expected a readable jaxhp ledger, got: {error}") from error


def _connect_to_read(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
    try:
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError where the file's structure is damaged, which no row's checksum shows: a bit flipped
    in a page's count of rows, or in an index, is a row that was never there. A hundred megabytes take a twentieth of a
    second."""
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
