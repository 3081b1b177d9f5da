"""The ledger: a durable SQLite record of every trial, from which everything else can be read again.

A run directory holds `manifest.json` (what was searched, and on what), `ledger.sqlite` (this module), and
`summary.json` (what it cost). A round is recorded in one transaction, so a kill at any moment loses at most the
round in progress; what is read from a directory is data, and never executed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxhp.types import Status, Trial

SCHEMA = 1
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE rounds (round INTEGER PRIMARY KEY, kind TEXT NOT NULL, epochs INTEGER NOT NULL,
  trials BLOB NOT NULL, scores BLOB NOT NULL, wall_s REAL NOT NULL);
CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, round INTEGER NOT NULL, config TEXT NOT NULL, status TEXT NOT NULL,
  epochs INTEGER NOT NULL, score REAL, stderr REAL, replicates BLOB NOT NULL, curve BLOB NOT NULL,
  diverged_at INTEGER NOT NULL, parent INTEGER);
CREATE TABLE finals (trial_id INTEGER PRIMARY KEY, scores BLOB NOT NULL);
CREATE TABLE events (seq INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL);
"""


class Ledger:
    """The record of one search. One process writes it, any number may read it meanwhile.

    Args:
      directory: the run directory, or None to keep the record in memory.
      write: whether to take the writer's lock, and create what is missing.
    """

    def __init__(self, directory: str | Path | None, *, write: bool = False):
        self.directory = Path(directory) if directory is not None else None
        self._lock: int | None = None
        if self.directory is None:
            self._db = sqlite3.connect(":memory:")
        else:
            self._db = self._open(self.directory, write)
        self._db.isolation_level = None
        if write and not self._db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone():
            with _transaction(self._db):
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        found = self.meta("schema")
        if found != str(SCHEMA):
            raise ValueError(f"{self.directory}: expected a ledger of schema {SCHEMA}, got schema {found}")

    def _open(self, directory: Path, write: bool) -> sqlite3.Connection:
        path = directory / "ledger.sqlite"
        if write:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise OSError(f"dir: expected a writable directory, got {directory} ({error.strerror})") from error
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise RuntimeError(f"{directory}: another process is running this search") from None
        elif not path.exists():
            raise FileNotFoundError(f"{directory}: expected a run directory, found no ledger.sqlite in it")
        try:
            db = sqlite3.connect(path if write else f"file:{path}?mode=ro", uri=not write, timeout=30)
            if write:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
            db.execute("SELECT name FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path}: expected a readable SQLite ledger, got: {error}") from error
        return db

    def close(self) -> None:
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self, name: str) -> str | None:
        try:
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.directory}: expected a jaxhp ledger, got: {error}") from error
        return row[0] if row else None

    def set_meta(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def begin(self, trials: Iterable[Trial]) -> None:
        """Shows the trials of a round that starts; until `finish` they do not count."""
        with _transaction(self._db):
            self._put(trial for trial in trials if not self._known(trial.trial_id))

    def _known(self, trial_id: int) -> bool:
        return self._db.execute("SELECT 1 FROM trials WHERE trial_id = ?", (trial_id,)).fetchone() is not None

    def finish(self, number: int, kind: str, epochs: int, trials: list[Trial], scores: np.ndarray, wall_s: float):
        """Records a round at once: its trials, in the order of the proposal, and what the strategy is told."""
        ids = np.asarray([trial.trial_id for trial in trials], "<i8").tobytes()
        with _transaction(self._db):
            self._put(trials)
            told = np.asarray(scores, "<f4").tobytes()
            self._db.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?)", (number, kind, epochs, ids, told, wall_s))

    def _put(self, trials: Iterable[Trial]) -> None:
        names = None
        for trial in trials:
            names = names or sorted(trial.curve)
            curve = np.stack([trial.curve[n] for n in names]) if trial.curve else np.zeros((0, 0))
            self._db.execute(
                "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    trial.trial_id,
                    trial.round,
                    json.dumps(trial.config, sort_keys=True),
                    str(trial.status),
                    trial.epochs,
                    _or_null(trial.score),
                    _or_null(trial.stderr),
                    np.asarray(trial.replicate_scores, "<f4").tobytes(),
                    curve.astype("<f4").tobytes(),
                    trial.diverged_at,
                    trial.parent,
                ),
            )
        if names and self.meta("curves") is None:
            self.set_meta("curves", json.dumps(names))

    def told(self, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(trial ids i64[P], scores f32[P]) of a finished round, or None."""
        row = self._db.execute("SELECT trials, scores FROM rounds WHERE round = ?", (number,)).fetchone()
        return (np.frombuffer(row[0], "<i8"), np.frombuffer(row[1], "<f4")) if row else None

    def trials(self) -> list[Trial]:
        """Every trial, by trial_id."""
        names = json.loads(self.meta("curves") or "[]")
        rows = self._db.execute("SELECT * FROM trials ORDER BY trial_id")
        return [_trial(row, names) for row in rows]

    def record_finals(self, scores: Mapping[int, np.ndarray]) -> None:
        """Trial id to f32[R], the scores of finalists on fresh replicates."""
        with _transaction(self._db):
            for trial_id, values in scores.items():
                self._db.execute(
                    "INSERT OR REPLACE INTO finals VALUES (?, ?)", (trial_id, np.asarray(values, "<f4").tobytes())
                )

    def finals(self) -> dict[int, np.ndarray]:
        rows = self._db.execute("SELECT trial_id, scores FROM finals ORDER BY trial_id")
        return {trial_id: np.frombuffer(scores, "<f4") for trial_id, scores in rows}

    def event(self, kind: str, **detail: Any) -> None:
        """Notes something that happened: a resume, a warning, test data opened."""
        self._db.execute(
            "INSERT INTO events (time, kind, detail) VALUES (?, ?, ?)", (time.time(), kind, json.dumps(detail))
        )

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        rows = self._db.execute("SELECT time, kind, detail FROM events ORDER BY seq").fetchall()
        return [{"time": t, "kind": k} | json.loads(d) for t, k, d in rows if kind in (None, k)]

    def digest(self) -> str:
        """SHA-256 of the canonical content: what was tried and what was measured, in the order of trial ids.

        Floats enter as their bits; times, rounds and events do not enter, so that a search has the same digest
        however it was cut into step calls, devices and interruptions.
        """
        total = hashlib.sha256()
        for trial in self.trials():
            config = {n: v.hex() if isinstance(v, float) else v for n, v in sorted(trial.config.items())}
            facts = [trial.trial_id, config, str(trial.status), trial.epochs, trial.diverged_at, trial.parent]
            total.update(json.dumps(facts).encode())
            total.update(np.asarray([trial.score, *trial.replicate_scores], "<f4").tobytes())
            for name in sorted(trial.curve):
                total.update(name.encode() + np.asarray(trial.curve[name], "<f4").tobytes())
        for trial_id, scores in self.finals().items():
            total.update(b"final" + str(trial_id).encode() + scores.tobytes())
        return total.hexdigest()


class _transaction:
    def __init__(self, db: sqlite3.Connection):
        self.db = db

    def __enter__(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")


def _or_null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _trial(row: tuple, names: list[str]) -> Trial:
    trial_id, round_, config, status, epochs, score, stderr, replicates, curve, diverged_at, parent = row
    values = np.frombuffer(curve, "<f4").reshape(len(names), -1) if curve else np.zeros((len(names), 0), "f4")
    nan = float("nan")
    return Trial(
        trial_id=trial_id,
        config=json.loads(config),
        round=round_,
        status=Status(status),
        epochs=epochs,
        score=nan if score is None else score,
        stderr=nan if stderr is None else stderr,
        curve=dict(zip(names, values, strict=True)),
        replicate_scores=tuple(np.frombuffer(replicates, "<f4").tolist()),
        diverged_at=diverged_at,
        parent=parent,
    )


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Replaces a file as a whole: a reader sees the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        json.dump(record, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run directory."""
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent}: expected a run directory, found no {path.name} in it") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: expected a JSON object, got: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(record).__name__}")
    return record
