"""One SQLite file with one writer, any number of readers, and one kind of error for whatever is damaged.

The write-ahead log lets readers see the last transaction while the next is written; `synchronous = FULL` puts a
transaction on disk before it counts. The log needs memory that all processes share, so on a file system that other
machines may see (`mounts.py`) a journal takes its place, with which readers and the writer wait for each other. The
writer holds a lock that ends with its process, however that ends, and leaves one file behind, without a log, which can
be read wherever it lies. A file from a stranger is believed nothing: only one that has these tables and nothing else is
asked for more than the list of its tables.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from jaxhp.store.mounts import Mount, mount_of
from jaxhp.values import Error

NAME = "ledger.sqlite"
_FIRST = ("lock", NAME, *(NAME + end for end in ("-journal", "-wal", "-shm")))  # all that a killed start leaves
_UNASKED = re.compile(
    r".+\.(out|err|log)|\.DS_Store|\.nfs.*|\.git(keep|ignore)|Thumbs\.db|desktop\.ini"
)  # of a job, a system
_WAIT_S = 30  # that one waits for another
_PATIENCE_S = 300  # that a writer waits for readers where both cannot be at once, before it gives up
_CUT_SHORT = "SQLITE_READONLY_ROLLBACK"  # by a kill, and what was begun is to be undone first
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_STEPS = 10**7  # of SQLite's machine, that reading a list of tables may take
P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound="Database")


class WritersLock(Protocol):
    """A lock that this process has."""

    @property
    def held(self) -> bool:
        """Whether it still has it."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Database:
    """A connection to the database of a run directory.

    Args:
      directory: the run directory, an absolute path; or None to keep everything in memory.
      tables: the statements that made its tables.
      lock: takes the writer's lock of a directory, which is made if it is missing; None: to read.

    Raises:
      FileNotFoundError: there is nothing to read.
      OSError: the directory cannot be written.
      Error: another process writes it, or could without that one of them knows.
      Error: the file is damaged, or the directory holds something else.
    """

    def __init__(
        self, directory: Path | None, tables: Sequence[str], *, lock: Callable[[Path], WritersLock] | None = None
    ):
        self.directory = directory
        self._lock: WritersLock | None = None
        self._file: os.stat_result | None = None
        try:
            if self.directory is None:
                self._db = sqlite3.connect(":memory:", isolation_level=None)
            elif lock is not None:
                _refuse_others(self.directory, tables)
                mount = mount_of(self.directory)
                _refuse_without_locks(self.directory, mount, mount.unlocked)
                try:
                    self._lock = lock(self.directory)
                except OSError as error:
                    _refuse_without_locks(self.directory, mount, error.errno in _NO_LOCKS and error.strerror)
                    raise _unwritable(self.directory, error.strerror, error.errno) from None
                self._db = _open_to_write(self.directory, tables, mount)
                self._file = os.stat(self.path)
            else:
                self._db = _open_to_read(self.directory, tables)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        return str(self.directory / NAME) if self.directory else "ledger"

    def close(self) -> None:
        if hasattr(self, "_db"):
            if self._file is not None and self._is_held():
                _leave_one_file(self._db)
            self._db.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_held(self) -> None:
        """Check that this process is still the one that writes the directory, and it is still the same directory.

        Raises:
          Error: it is not. Nothing may be written any more.
        """
        if self._file is not None and not self._is_held():
            raise Error(
                f"{self.directory}: the run directory, or a file of it, was removed, replaced or moved while its "
                "search ran, so this search stops and writes nothing more; what it recorded is in its own ledger"
            )

    def _is_held(self) -> bool:
        try:
            there = self._file is not None and os.path.samestat(self._file, os.lstat(self.path))
        except OSError:
            return False
        return there and self._lock is not None and self._lock.held

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; a full disk leaves what was there before."""
        Database.check_held(self)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self.check_held()
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


def _refuse_others(directory: Path, tables: Sequence[str]) -> None:
    """Check, before anything is touched, that a directory is new, one of ours, or empty but for a job's log.

    Raises:
      Error: it holds something else.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:  # there is none, or the lock says why it is of no use
        return
    path = directory / NAME
    if NAME in names and (path.is_symlink() or not path.is_file()):
        raise Error(f"{path}: expected a ledger, got {'a link' if path.is_symlink() else 'something that is no file'}")
    if NAME in names and path.stat().st_size:
        with _named(path, "damaged"):
            empty = not _has_tables(path, tables)
    else:
        empty = True
    other = [n for n in names if n not in _FIRST and not (_UNASKED.fullmatch(n) and (directory / n).is_file())]
    if not (empty and other):
        return
    if "manifest.json" in other and _is_manifest(directory / "manifest.json"):
        raise Error(f"{path}: the ledger is missing or empty, but there is a manifest.json of a search")
    shown = ", ".join(map(repr, other[:3])) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
    raise Error(
        f"dir: expected a new or empty directory, or one with a {NAME}, got {directory}, which holds {shown}; choose "
        f"another, such as {directory / 'search'}"
    )


def _has_tables(path: Path, tables: Sequence[str]) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)) as db:
            return _tables(db, path, tables)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != _CUT_SHORT:
            raise
        with closing(_read_mended(path, tables)) as db:
            return _tables(db, path, tables)


def _is_manifest(path: Path) -> bool:
    try:
        record = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return record == {} or (isinstance(record, dict) and "space" in record and "strategy" in record)


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Errors of a damaged file as one line that names it."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if isinstance(error, sqlite3.OperationalError) and what != "unreadable":
            raise _unwritable(path.parent, error) from error
        said = "the ledger is damaged" if what == "damaged" else "expected a readable jaxhp ledger, got"
        raise Error(f"{path}: {said}: {error}") from error


def _refuse_without_locks(directory: Path, mount: Mount, why: str | bool | None) -> None:
    """Raises Error where there is a reason why another machine, or process, would not see who writes."""
    if why:
        raise Error(
            f"dir: expected a file system on which a writer can lock out others, got {directory}, on "
            f"{mount.kind or 'one'} without ({why}); mount it with locks that all machines see, or choose a directory "
            "on a disk of this machine"
        )


def _open_to_write(directory: Path, tables: Sequence[str], mount: Mount) -> sqlite3.Connection:
    path = directory / NAME
    timeout, mode = (_PATIENCE_S, "truncate") if mount.shared else (_WAIT_S, "wal")
    with _named(path, "damaged"), ExitStack() as opened:
        db = opened.enter_context(closing(sqlite3.connect(path, timeout=timeout, isolation_level=None)))
        _tables(db, path, tables)
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute("PRAGMA synchronous = FULL")
        _check(db, path, tables)
        opened.pop_all()
    return db


def _open_to_read(directory: Path, tables: Sequence[str]) -> sqlite3.Connection:
    path = directory / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{directory}: expected a run directory, found no {NAME} in it")
    with _named(path, "unreadable"):
        try:
            return _connect_to_read(f"{path.as_uri()}?mode=ro", path, tables)
        except sqlite3.OperationalError as error:  # no permission to write; nobody writes where there is no log
            name = getattr(error, "sqlite_errorname", "")  # an error that Python makes itself has none
            if name == _CUT_SHORT:
                return _read_mended(path, tables)
            if name.startswith("SQLITE_BUSY"):
                raise
            if path.with_name(NAME + "-wal").exists():
                text = "its search did not end, and its log is read only where files may be made: copy the directory"
                raise Error(f"{path}: expected a readable jaxhp ledger, got: {error}: {text}") from error
            return _connect_to_read(f"{path.as_uri()}?mode=ro&immutable=1", path, tables)


def _connect_to_read(uri: str, path: Path, tables: Sequence[str]) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)
    try:
        _check(db, path, tables)
    except BaseException:
        db.close()
        raise
    return db


def _read_mended(path: Path, tables: Sequence[str]) -> sqlite3.Connection:
    """Read a copy in memory, in which what a killed writer had begun is undone; the directory stays as it is.

    Raises:
      Error: it is written just now.
    """
    files = [path, path.with_name(NAME + "-journal")]

    def seen() -> list[tuple[int, int, int]]:
        found = [os.lstat(file) for file in files]
        return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found]

    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with tempfile.TemporaryDirectory(prefix="jaxhp-") as folder:
            before = seen()
            for file in files:
                shutil.copyfile(file, Path(folder, file.name), follow_symlinks=False)
            if seen() != before:
                raise Error(f"{path}: expected a readable jaxhp ledger, got one that is written just now: try again")
            with closing(sqlite3.connect(Path(folder, NAME), isolation_level=None)) as copy:
                _check(copy, path, tables)
                copy.backup(memory)
    except BaseException:
        memory.close()
        raise
    return memory


def _leave_one_file(db: sqlite3.Connection) -> None:
    """Put everything into the file itself, so that it can be read where nothing may be written and readers leave
    nothing beside it. Where somebody reads just now, the log stays."""
    with suppress(sqlite3.Error):
        db.execute("PRAGMA busy_timeout = 200")
        db.execute("PRAGMA journal_mode = DELETE")


def _tables(db: sqlite3.Connection, path: Path, tables: Sequence[str]) -> bool:
    """Whether there are tables; raises Error where they are not these and nothing else.

    A view or a trigger would run a stranger's SQL, so nothing else is asked before.
    """
    db.execute("PRAGMA trusted_schema = OFF")
    db.set_progress_handler(lambda: 1, _STEPS)
    try:
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid LIMIT ?"
        found = [sql for (sql,) in db.execute(query, (len(tables) + 1,))]
        if found and found != [*tables]:
            schema = (
                db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() if tables[0] in found else None
            )
            now = f"schema {schema[0]!r:.20}" if schema else "other tables"
            raise Error(f"{path}: the ledger is damaged or not one of this version's: expected its tables, got {now}")
    finally:
        db.set_progress_handler(None, 0)
    return bool(found)


def _check(db: sqlite3.Connection, path: Path, tables: Sequence[str]) -> None:
    """Raises sqlite3.DatabaseError where the file's structure is damaged, which no row's checksum shows: a bit flipped
    in a page's count of rows, or in an index, is a row that was never there. A hundred megabytes take a twentieth of a
    second."""
    _tables(db, path, tables)
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
