"""The ledger: a durable SQLite record of every trial, from which everything else can be read again.

A run directory holds `manifest.json` (what was searched, and on what), `ledger.sqlite` (this module),
`checkpoints/` (members in training), `best.safetensors` (the chosen network) and `summary.json` (what it cost).
A round is recorded in one transaction, so a kill at any moment loses at most the round in progress, and of that
only what came after its last checkpoint. Trials are kept as columns with checksums (see `columns.py`). What is read
from a directory is data, and never executed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxhp.store import columns
from jaxhp.store.files import crash_point, sync
from jaxhp.types import Status, Trial

SCHEMA = 1
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE rounds (round INTEGER PRIMARY KEY, epochs INTEGER NOT NULL, wall_s REAL, crc INTEGER NOT NULL);
CREATE TABLE columns (round INTEGER NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL,
  data BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (round, name));
CREATE TABLE events (seq INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL,
  crc INTEGER NOT NULL);
CREATE TABLE checkpoints (seq INTEGER PRIMARY KEY, round INTEGER NOT NULL, complete INTEGER NOT NULL,
  name TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL);
"""
_FINALS = -1  # the number under which the finals' columns stand


class Round(NamedTuple):
    """A proposal as it was recorded, before it was trained, and the scores once they are known."""

    number: int
    epochs: int
    unit: np.ndarray  # f32[P, D], the points as they are trained
    parent: np.ndarray  # i32[P], slots of the round before, or -1
    trials: np.ndarray  # i32[P], trial ids
    scores: np.ndarray | None = None  # f32[P], None until the round is finished


class Saved(NamedTuple):
    """A checkpoint that is known to be on disk."""

    seq: int
    round: int
    complete: bool  # of a finished round, not of one under way
    name: str
    sha256: str


class Ledger:
    """The record of one search. One process writes it, any number may read it meanwhile.

    Args:
      directory: the run directory, or None to keep the record in memory.
      write: whether to take the writer's lock, and create what is missing.

    Raises:
      FileNotFoundError: there is no ledger to read.
      OSError: the directory cannot be written.
      RuntimeError: another process writes it.
      ValueError: the ledger is damaged, or not one of this version.
    """

    def __init__(self, directory: str | Path | None, *, write: bool = False):
        self.directory = Path(directory) if directory is not None else None
        self._lock: int | None = None
        try:
            if self.directory is None:
                self._db = sqlite3.connect(":memory:", isolation_level=None)
            else:
                self._db = self._open_to_write(self.directory) if write else _open_to_read(self.directory)
            if write and not self._rows("SELECT name FROM sqlite_master"):
                self._create()
            found = self.meta("schema")
            if found != str(SCHEMA):
                raise ValueError(f"{self._path}: expected a ledger of schema {SCHEMA}, got schema {found}")
        except BaseException:
            self.close()
            raise

    @property
    def _path(self) -> str:
        return str(self.directory / "ledger.sqlite") if self.directory else "ledger"

    def _open_to_write(self, directory: Path) -> sqlite3.Connection:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OSError(
                error.errno, f"dir: expected a writable directory, got {directory}: {error.strerror}"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 20, 0).decode(errors="replace").strip() or "unknown"
            raise RuntimeError(f"{directory}: another process (pid {holder}) is running this search") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        try:
            db = sqlite3.connect(directory / "ledger.sqlite", timeout=30, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise OSError(f"dir: expected a writable directory, got {directory}: {error}") from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise ValueError(f"{self._path}: the ledger is damaged: {error}") from error
        if damage != "ok":
            raise ValueError(f"{self._path}: the ledger is damaged: {damage}")
        return db

    def _create(self) -> None:
        if self.directory is not None and (self.directory / "manifest.json").exists():
            raise ValueError(f"{self._path}: the ledger is missing or empty, but there is a manifest.json of a search")
        with self._transaction():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self.set_meta("schema", str(SCHEMA))
        if self.directory is not None:
            sync(self.directory)
            sync(self.directory.parent)
        crash_point("ledger created")

    def close(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing; a full disk leaves what was there before."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(
                    f"{self._path}: cannot be written: {error}; everything recorded before is kept"
                ) from error
            raise

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        try:
            return self._db.execute(query, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise ValueError(f"{self._path}: expected a readable jaxhp ledger, got: {error}") from error

    def meta(self, name: str) -> str | None:
        """A fact about the whole search."""
        rows = self._rows("SELECT value, crc FROM meta WHERE name = ?", (name,))
        if not rows:
            return None
        value, crc = rows[0]
        if not isinstance(value, str) or zlib.crc32(value.encode()) != crc:
            raise ValueError(f"{self._path}: {name} is damaged: its checksum does not fit its content")
        return value

    def set_meta(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (name, value, zlib.crc32(value.encode())))

    def begin(self, asked: Round, trials: Sequence[Trial]) -> None:
        """Records a proposal and shows its trials as running; until `finish` they do not count."""
        with self._transaction():
            if not self._rows("SELECT 1 FROM rounds WHERE round = ?", (asked.number,)):
                proposal = {"unit": np.asarray(asked.unit, "<f4"), "parent": np.asarray(asked.parent, "<i4")}
                self._put(asked.number, proposal | columns.asked(trials))
                self._put_round(asked.number, asked.epochs, None)
        crash_point("round begun")

    def finish(self, number: int, trials: Sequence[Trial], scores: np.ndarray, wall_s: float) -> None:
        """Records a round that has begun: its trials, slot by slot, and the f32[P] scores that the strategy is told."""
        diverged = {t.trial_id: t.diverged_at for t in trials if t.diverged_at}
        with self._transaction():
            self._put(number, columns.measured(trials) | {"told": np.asarray(scores, "<f4")})
            self._put_round(number, self._rows("SELECT epochs FROM rounds WHERE round = ?", (number,))[0][0], wall_s)
            if diverged:
                self.event("diverged", round=number, epoch_by_trial=diverged)
        crash_point("round finished")

    def _put(self, number: int, record: Mapping[str, Any]) -> None:
        rows = [(number, *columns.pack(name, column)) for name, column in record.items()]
        self._db.executemany("INSERT OR REPLACE INTO columns VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _put_round(self, number: int, epochs: int, wall_s: float | None) -> None:
        row = (number, epochs, wall_s)
        self._db.execute("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?)", (*row, self._round_crc(row)))

    def _round_crc(self, row: tuple) -> int:
        """A checksum of a round and of which columns it has."""
        parts = self._rows("SELECT name, crc FROM columns WHERE round = ? ORDER BY name", row[:1])
        return zlib.crc32(repr((row, parts)).encode())

    def _get(self, number: int, names: str = "*") -> dict[str, Any]:
        """The columns of a round whose names fit a pattern."""
        query = "SELECT name, dtype, shape, data, crc FROM columns WHERE round = ? AND name GLOB ? ORDER BY rowid"
        return {
            row[0]: self._decode(f"{row[0]} of round {number}", _unpack, row)
            for row in self._rows(query, (number, names))
        }

    def _decode(self, what: str, decode: Callable[..., Any], *args: Any) -> Any:
        try:
            return decode(*args)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{self._path}: {what} is damaged: {error}") from error

    def _finished(self) -> dict[int, bool]:
        """The rounds that have begun, in order, and whether they are finished; the finals too."""
        rows = self._rows("SELECT * FROM rounds ORDER BY round")
        numbers = [row[0] for row in rows if row[0] != _FINALS]
        if numbers != list(range(len(numbers))):
            raise ValueError(f"{self._path}: the rounds are damaged: expected 0 to {len(numbers) - 1}, got {numbers}")
        for *row, crc in rows:
            if self._round_crc(tuple(row)) != crc:
                raise ValueError(f"{self._path}: round {row[0]} is damaged: its checksum does not fit its content")
        return {row[0]: row[2] is not None for row in rows}

    def round(self, number: int) -> Round | None:
        """What was asked in a round, and told if it is finished; None if it has not begun."""
        if number not in self._finished():
            return None
        rows = self._rows("SELECT epochs, wall_s FROM rounds WHERE round = ?", (number,))
        found = {name: self._get(number, name).get(name) for name in ("unit", "parent", "trial_id", "told")}
        return self._decode(f"round {number}", _round, number, *rows[0], found)

    def trials(self, *, curves: bool = True) -> list[Trial]:
        """Every trial, by trial_id: the finished ones as last measured, and those in training as RUNNING."""
        latest: dict[int, Trial] = {}
        for number in self._finished():
            if number == _FINALS:
                continue
            record = self._get(number) if curves else self._get(number, "[^c]*") | self._get(number, "config.*")
            for trial in self._decode(f"round {number}", columns.trials_of, _facts(record)):
                if trial.status is not Status.RUNNING or trial.trial_id not in latest:
                    latest[trial.trial_id] = trial
        return [latest[trial_id] for trial_id in sorted(latest)]

    def best(self, mode: str, top: int) -> list[Trial]:
        """The first `top` finished trials in the order of `ranking.rank`, without their curves."""
        numbers = [number for number, finished in self._finished().items() if finished and number != _FINALS]
        found = [(self._get(n, "trial_id"), self._get(n, "score")) for n in numbers]
        if not found:
            return []

        def order() -> list[tuple[int, int]]:
            """(round, slot) of the best trials, each as last measured."""
            ids = np.concatenate([f[0]["trial_id"] for f in found])
            scores = np.concatenate([f[1]["score"] for f in found])
            where = [(n, slot) for n, f in zip(numbers, found, strict=True) for slot in range(len(f[0]["trial_id"]))]
            last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]
            signed = -scores[last] if mode == "max" else scores[last]
            return [where[i] for i in last[np.lexsort((ids[last], signed, np.isnan(signed)))][:top]]

        places = self._decode("the ranking", order)
        by_place: dict[tuple[int, int], Trial] = {}
        for number in {n for n, _ in places}:
            slots = [slot for n, slot in places if n == number]
            record = _facts(self._get(number, "[^c]*") | self._get(number, "config.*"))
            trials = self._decode(f"round {number}", columns.trials_of, record, slots)
            by_place |= {(number, slot): trial for slot, trial in zip(slots, trials, strict=True)}
        return [by_place[place] for place in places]

    def record_finals(self, scores: Mapping[int, np.ndarray], choice: str | None = None) -> None:
        """Trial id to f32[R], the scores of finalists on fresh replicates, and the choice as JSON."""
        ids, values = np.array(sorted(scores), "<i4"), np.array([scores[i] for i in sorted(scores)], "<f4")
        with self._transaction():
            self._put(_FINALS, {"trial_id": ids, "scores": values})
            self._put_round(_FINALS, 0, 0.0)
            if choice is not None:
                self.set_meta("choice", choice)
        crash_point("finals recorded")

    def record_part(self, number: int, part: Mapping[str, np.ndarray]) -> None:
        """Keeps what a part of the finals measured, as columns."""
        with self._transaction():
            self._put(number, part)

    def part(self, number: int) -> dict[str, np.ndarray]:
        """What `record_part` was given, or nothing."""
        return self._get(number)

    def finals(self) -> dict[int, np.ndarray]:
        """What `record_finals` was given, or nothing."""
        record = self._get(_FINALS) if _FINALS in self._finished() else {}

        def pair() -> dict[int, np.ndarray]:
            return dict(zip(record["trial_id"].tolist(), record["scores"], strict=True))

        return self._decode("the finals", pair) if record else {}

    def event(self, kind: str, **detail: Any) -> None:
        """Notes something that happened: a divergence, a resume, a warning, test data opened."""
        text = json.dumps(detail)
        self._db.execute(
            "INSERT INTO events (time, kind, detail, crc) VALUES (?, ?, ?, ?)",
            (time.time(), kind, text, zlib.crc32((kind + text).encode())),
        )

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What was noted, in order; of one kind, or all."""
        rows = self._rows("SELECT time, kind, detail, crc FROM events ORDER BY seq")

        def decode(row: tuple) -> dict[str, Any]:
            if zlib.crc32((row[1] + row[2]).encode()) != row[3]:
                raise ValueError("its checksum does not fit its content")
            return {"time": row[0], "kind": row[1]} | dict(json.loads(row[2]))

        return [self._decode("an event", decode, row) for row in rows if kind in (None, row[1])]

    def name_checkpoint(self, saved: Saved) -> None:
        """Says that a checkpoint is on disk: from now on a resume may start there."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?)", saved._replace(complete=int(saved.complete))
            )
        crash_point("checkpoint named")

    def forget_checkpoint(self, saved: Saved) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM checkpoints WHERE seq = ?", (saved.seq,))
        crash_point("checkpoint forgotten")

    def checkpoints(self) -> list[Saved]:
        """Those on disk, the newest first."""
        rows = self._rows("SELECT * FROM checkpoints ORDER BY seq DESC")
        return [Saved(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]

    def digest(self) -> str:
        """SHA-256 of the canonical content: what was tried and what was measured.

        For every finished trial in the order of trial ids: the JSON list `[trial_id, config, status, epochs,
        diverged_at, parent]` with floats of the config as hexadecimal, keys sorted; then, as little-endian float32
        with one pattern for NaN, the score, the score of each replicate, and each curve after its name. Then for each
        finalist `final<trial_id>` and its scores. Times, rounds, events and trials still running do not enter, so
        that a search has the same digest however it was cut into step calls, devices and interruptions.
        """
        total = hashlib.sha256()
        for trial in self.trials():
            if trial.status is Status.RUNNING:
                continue
            config = {n: v.hex() if isinstance(v, float) else v for n, v in trial.config.items()}
            facts = [trial.trial_id, config, str(trial.status), trial.epochs, trial.diverged_at, trial.parent]
            total.update(json.dumps(facts, sort_keys=True).encode())
            total.update(_canonical([trial.score, *trial.replicate_scores]))
            for name in sorted(trial.curve):
                total.update(name.encode() + _canonical(trial.curve[name]))
        for trial_id, scores in self.finals().items():
            total.update(b"final" + str(trial_id).encode() + _canonical(scores))
        return total.hexdigest()


def _open_to_read(directory: Path) -> sqlite3.Connection:
    path = directory.absolute() / "ledger.sqlite"
    if not path.is_file():
        raise FileNotFoundError(f"{directory}: expected a run directory, found no ledger.sqlite in it")
    try:
        db = sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=30, isolation_level=None)
        try:
            db.execute("SELECT name FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:  # a directory without write permission; nobody writes where there is no log
            if path.with_name("ledger.sqlite-wal").exists():
                raise
            db.close()
            db = sqlite3.connect(path.as_uri() + "?mode=ro&immutable=1", uri=True, isolation_level=None)
            db.execute("SELECT name FROM sqlite_master").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a readable jaxhp ledger, got: {error}") from error
    return db


def _canonical(values: Any) -> bytes:
    array = np.array(values, "<f4")
    array[np.isnan(array)] = np.nan
    return array.tobytes()


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that describe trials."""
    return {name: column for name, column in record.items() if name not in ("unit", "parent", "told")}


def _unpack(row: tuple) -> Any:
    return columns.unpack(columns.Packed(*row))


def _round(number: int, epochs: int, wall_s: float | None, found: dict[str, Any]) -> Round:
    unit, parent, ids, told = (found[name] for name in ("unit", "parent", "trial_id", "told"))
    if wall_s is not None and told is None:
        raise ValueError("its scores are missing")
    if not unit.ndim == 2 or not len(unit) == len(parent) == len(ids) == (len(ids) if told is None else len(told)):
        raise ValueError("its columns differ in length")
    return Round(number, epochs, unit, parent, ids, told)
