"""The ledger: a durable record of every trial, from which everything else can be read again.

A run directory holds `manifest.json` (what was searched, and on what), `ledger.sqlite` (this module), `checkpoints/`
(members in training and the best), `best.safetensors` (the chosen network), `summary.json` (what it cost) and `lock`
(which process writes); its facts include the digests of the manifest and the network, and a number of the writer's.
A round is recorded in one transaction, so a kill at any moment loses at most the round in progress, and of that
only what came after its last checkpoint. Trials are kept as columns (see `columns.py`); every row has a checksum.
What is read from a directory is data, and never executed.
"""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxhp.store import columns
from jaxhp.store.database import Database, consistent
from jaxhp.store.digest import GROUPS, digest
from jaxhp.store.files import located, sync
from jaxhp.store.lock import Lock
from jaxhp.trials import STATUSES, Status, Trials, joined, last_places, standing
from jaxhp.values import Error, Json

SCHEMA = 1
_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE rounds (round INTEGER PRIMARY KEY, epochs INTEGER NOT NULL, wall_s REAL, crc INTEGER NOT NULL)",
    """CREATE TABLE columns (round INTEGER NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL,
  data BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (round, name))""",
    """CREATE TABLE events (seq INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL,
  crc INTEGER NOT NULL)""",
    """CREATE TABLE checkpoints (seq INTEGER PRIMARY KEY, round INTEGER NOT NULL, complete INTEGER NOT NULL,
  name TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, crc INTEGER NOT NULL)""",
)
_WRITER = "writer"  # the fact that names who writes: a number drawn anew for each
BEST = 99_999  # stands for the round of a checkpoint that stays: members of the best trials of a search, of any rounds
_FINALS = -1  # the number under which the finals' columns stand


class Round(NamedTuple):
    """A proposal as it was recorded, before it was trained, and the scores once they are known."""

    number: int
    epochs: int
    unit: np.ndarray  # f32[P, D], the points as they are trained
    parent: np.ndarray  # i32[P], rows of the round before, or -1
    trials: np.ndarray  # i32[P], trial ids
    scores: np.ndarray | None = None  # f32[P], None until the round is finished
    wall_s: float | None = None  # seconds that it took


class Saved(NamedTuple):
    """A checkpoint that is known to be on disk."""

    seq: int
    round: int
    complete: bool  # of a finished round, not of one under way
    name: str
    sha256: str


class Ledger(Database):
    """The record of one search. One process writes it, any number may read it meanwhile.

    `stored` is told the name of every durable operation once it is on disk, and may be told those of others.

    Args:
      directory: the run directory, or None to keep everything in memory.
      write: whether to take the writer's lock, and create what is missing.

    Raises: as `Database`; Error too where the schema is another version's.
    """

    def __init__(
        self, directory: str | Path | None, *, write: bool = False, stored: Callable[[str], None] = lambda _: None
    ):
        place = None if directory is None else located(directory)
        super().__init__(place, _TABLES, lock=Lock if write else None)
        self.stored = stored
        self._token: str | None = None
        try:
            if not self.rows("SELECT name FROM sqlite_master"):
                if not write:
                    raise Error(f"{self.path}: expected a ledger, found an empty one: its search is beginning")
                self._create()
            found = self.meta("schema")
            if found != str(SCHEMA):
                raise Error(f"{self.path}: expected a ledger of schema {SCHEMA}, got schema {found}")
            if write:
                token = secrets.token_hex(16)
                self.set_meta(_WRITER, token)
                self._token = token
        except BaseException:
            self.close()
            raise

    def check_held(self) -> None:
        """See `Database.check_held`; also that no other process has begun to write since.

        Raises:
          Error: this process may write nothing more.
        """
        super().check_held()
        if self._token is not None and self.meta(_WRITER) != self._token:
            raise Error(f"{self.directory}: another process has begun to run this search, so this one stops")

    def _create(self) -> None:
        with self.transaction():
            for statement in _TABLES:
                self.write(statement, ())
            self.set_meta("schema", str(SCHEMA))
        if self.directory is not None:
            sync(self.directory)
            sync(self.directory.absolute().parent)
        self.stored("ledger created")

    def meta(self, name: str) -> str | None:
        """A fact about the whole search."""
        rows = self.rows("SELECT value, crc FROM meta WHERE name = ?", name)
        return self.decode(name, _checked, *rows[0])[0] if rows else None

    def set_meta(self, name: str, value: str) -> None:
        self.write("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (name, value, _crc(value)))

    def record_spent(self, spent: Mapping[str, float]) -> None:
        """What all runs of the search have cost so far: seconds and counts by name."""
        self.set_meta("spent", json.dumps(dict(spent)))

    def spent(self) -> dict[str, float]:
        """What `record_spent` was given last, or nothing."""
        text = self.meta("spent")
        return self.decode("spent", lambda: {str(n): float(v) for n, v in json.loads(text).items()}) if text else {}

    def begin(self, asked: Round, trials: Trials) -> None:
        """Record a proposal and shows its trials as running; until `finish` they do not count."""
        with self.transaction():
            if not self.rows("SELECT 1 FROM rounds WHERE round = ?", asked.number):
                proposal = {"unit": np.asarray(asked.unit, "<f4"), "parent": np.asarray(asked.parent, "<i4")}
                self.put_columns(asked.number, proposal | columns.asked(trials))
                self.put_round(asked.number, asked.epochs, None)
        self.stored("round begun")

    def finish(
        self,
        number: int,
        trials: Trials,
        scores: np.ndarray,
        wall_s: float,
        spent: Mapping[str, float] | None = None,
    ) -> None:
        """Records a round that has begun.

        Args:
          trials: row by row.
          scores: f32[P], what the strategy is told.
          wall_s: seconds that the round took.
          spent: see `record_spent`.
        """
        failed = trials.diverged_at > 0
        diverged = dict(zip(trials.trial_id[failed].tolist(), trials.diverged_at[failed].tolist(), strict=True))
        with self.transaction():
            self.put_columns(number, columns.measured(trials) | {"told": np.asarray(scores, "<f4")})
            self.put_round(number, self.rows("SELECT epochs FROM rounds WHERE round = ?", number)[0][0], wall_s)
            if diverged:
                self.event("diverged", round=number, epoch_by_trial=diverged)
            if spent is not None:
                self.record_spent(spent)
        self.stored("round finished")

    def begin_anew(self, manifest: str) -> None:
        """Forgets what was asked, which nobody has trained: the directory is another search's, with this digest of its
        manifest."""
        with self.transaction():
            self.write("DELETE FROM rounds", ())
            self.write("DELETE FROM columns", ())
            self.write("DELETE FROM meta WHERE name = ?", (GROUPS,))
            self.set_meta("manifest", manifest)

    @consistent
    def round(self, number: int) -> Round | None:
        """What was asked in a round, and told if it is finished; None if it has not begun."""
        rows = self.rows("SELECT * FROM rounds WHERE round = ?", number)
        if not rows:
            return None
        self._check_round(rows[0])
        found = dict.fromkeys(("unit", "parent", "trial_id", "told")) | self._get(
            number, "unit", "parent", "trial_id", "told"
        )
        return self.decode(_called(number), _round, *rows[0][:3], found)

    @consistent
    def reached(self) -> tuple[int, int]:
        """How many rounds have begun, and how many of them are finished."""
        rounds = self._rounds()
        return len(rounds), sum(rounds.values())

    @consistent
    def rounds(self) -> list[Round]:
        """Every round that has begun, in order."""
        return [asked for number in self._rounds() if (asked := self.round(number)) is not None]

    @consistent
    def trials(self, *, curves: bool = True) -> Trials:
        """Return every trial, by trial_id: the finished ones as last measured, and those in training as RUNNING."""
        rounds = self._rounds()
        running_first = sorted(rounds, key=lambda number: rounds[number])  # what is finished comes later, and counts
        parts = [
            self.decode(_called(number), columns.trials_of, self._facts(number, curves)) for number in running_first
        ]
        if not parts:
            return Trials.of(())
        whole = self.decode("the trials", joined, parts)
        return whole[last_places(whole.trial_id, whole.epochs)]

    @consistent
    def measured(self, number: int) -> Trials:
        """Return the trials of a finished round, slot by slot, as they were measured then."""
        return self.decode(_called(number), columns.trials_of, self._facts(number, True))

    @consistent
    def best(self, mode: str, top: int, *, curves: bool = False) -> Trials:
        """Return the first `top` of all trials in their order (`trials.order`): quick, however many there are."""
        rounds = self._rounds()
        running_first = sorted(rounds, key=lambda number: rounds[number])
        measured = [self._get(number, "trial_id", "status", "epochs", "score") for number in running_first]
        numbers, rows = self.decode("the ranking", _places, running_first, measured, mode, top)
        if not numbers:
            return Trials.of(())
        parts, places = [], []
        for number in dict.fromkeys(numbers):
            places += [place for place, n in enumerate(numbers) if n == number]
            chosen = [row for n, row in zip(numbers, rows, strict=True) if n == number]
            parts.append(self.decode(_called(number), columns.trials_of, self._facts(number, curves), chosen))
        return self.decode("the trials", joined, parts)[np.argsort(places)]

    def record_finals(self, scores: Mapping[int, np.ndarray], choice: str | None = None) -> None:
        """Trial id to f32[R], the scores of finalists on fresh replicates, and the choice as JSON."""
        ids, values = np.array(sorted(scores), "<i4"), np.array([scores[i] for i in sorted(scores)], "<f4")
        with self.transaction():
            self.put_columns(_FINALS, {"trial_id": ids, "scores": values})
            self.put_round(_FINALS, 0, 0.0)
            if choice is not None:
                self.set_meta("choice", choice)
        self.stored("finals recorded")

    @consistent
    def finals(self) -> dict[int, np.ndarray]:
        """What `record_finals` was given, or nothing."""
        rows = self.rows("SELECT * FROM rounds WHERE round = ?", _FINALS)
        if not rows:
            return {}
        self._check_round(rows[0])
        record = self._get(_FINALS)

        def by_trial() -> dict[int, np.ndarray]:
            columns.check("trial_id", record["trial_id"])
            columns.check("scores", record["scores"])
            return dict(zip(record["trial_id"].tolist(), record["scores"], strict=True))

        return self.decode("the record of the finals", by_trial)

    def record_part(self, number: int, part: Mapping[str, np.ndarray]) -> None:
        """Keeps what a part of the finals measured, as columns."""
        with self.transaction():
            self.put_columns(number, part)

    def part(self, number: int) -> dict[str, np.ndarray]:
        """What `record_part` was given, or nothing."""
        return self._get(number)

    def event(self, kind: str, **detail: object) -> None:
        """Notes something that happened: a divergence, a resume, a warning, test data opened."""
        row = (time.time(), kind, json.dumps(detail))
        self.write("INSERT INTO events (time, kind, detail, crc) VALUES (?, ?, ?, ?)", (*row, _crc(*row)))

    def events(self, kind: str | None = None) -> list[Json]:
        """What was noted, in order; of one kind, or all."""

        def decode(when: float, kind: str, detail: str, crc: int) -> Json:
            _checked(when, kind, detail, crc)
            return {"time": when, "kind": kind} | dict(json.loads(detail))

        rows = self.rows("SELECT time, kind, detail, crc FROM events ORDER BY seq")
        return [self.decode("an event", decode, *row) for row in rows if kind in (None, row[1])]

    def name_checkpoint(self, saved: Saved) -> None:
        """Says that a checkpoint is on disk: from now on a resume may start there."""
        row = saved._replace(complete=int(saved.complete))
        self.write("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", (*row, _crc(*row)))
        self.stored("checkpoint named")

    def forget_checkpoint(self, saved: Saved) -> None:
        self.write("DELETE FROM checkpoints WHERE seq = ?", (saved.seq,))
        self.stored("checkpoint forgotten")

    def checkpoints(self) -> list[Saved]:
        """Those on disk, the newest first."""
        rows = self.rows("SELECT * FROM checkpoints ORDER BY seq DESC")
        found = [Saved(*self.decode("the name of a checkpoint", _checked, *row)) for row in rows]
        return [saved._replace(complete=bool(saved.complete)) for saved in found]

    @consistent
    def digest(self) -> str:
        """See `jaxhp.store.digest.digest`."""
        return digest(self.trials(), self.finals())

    def put_columns(self, number: int, record: Mapping[str, columns.Column]) -> None:
        rows = [(number, *columns.pack(name, column)) for name, column in record.items()]
        self.write("INSERT OR REPLACE INTO columns VALUES (?, ?, ?, ?, ?, ?)", *rows)

    def _get(self, number: int, *names: str) -> columns.Columns:
        """Return the columns of a round whose names fit one of these patterns; without any, all."""
        fit = " OR ".join(["name GLOB ?"] * len(names)) or "1"
        query = f"SELECT name, dtype, shape, data, crc FROM columns WHERE round = ? AND ({fit}) ORDER BY rowid"
        return {
            row[0]: self.decode(f"{row[0]} of {_called(number)}", columns.unpack, columns.Packed(*row))
            for row in self.rows(query, number, *names)
        }

    def _facts(self, number: int, curves: bool) -> columns.Columns:
        """Return the columns that describe trials, with their curves or without."""
        return self._get(number, "config.*", *columns.FACTS, *(["curve.*"] if curves else []))

    def put_round(self, number: int, epochs: int, wall_s: float | None) -> None:
        """Says how long a round trains and how long that took, None where it is not finished; within a transaction."""
        row = (number, epochs, wall_s)
        self.write("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?)", (*row, self._round_crc(row)))

    def _round_crc(self, row: tuple) -> int:
        """A checksum of a round and of which columns it has."""
        return _crc(*row, *self.rows("SELECT name, crc FROM columns WHERE round = ? ORDER BY name", row[0]))

    def _check_round(self, row: tuple) -> None:
        if self._round_crc(row[:-1]) != row[-1]:
            raise Error(f"{self.path}: {_called(row[0])} is damaged: its checksum does not fit its content")

    def _rounds(self) -> dict[int, bool]:
        """The rounds that have begun, in order, and whether they are finished."""
        rows = self.rows("SELECT * FROM rounds WHERE round != ? ORDER BY round", _FINALS)
        numbers = [row[0] for row in rows]
        if numbers != list(range(len(numbers))):
            counted = [number + 1 for number in numbers]
            raise Error(f"{self.path}: the rounds are damaged: expected 1 to {len(numbers)}, got {counted}")
        for row in rows:
            self._check_round(row)
        return {row[0]: row[2] is not None for row in rows}


def _called(number: int) -> str:
    """What a person calls a round: they are counted from 1 wherever one reads them."""
    return "the finals" if number == _FINALS else f"round {number + 1}"


def _crc(*values: object) -> int:
    return zlib.crc32(repr(values).encode())


def _checked(*row: Any) -> tuple:
    """A row without its checksum; raises ValueError if that does not fit."""
    if _crc(*row[:-1]) != row[-1]:
        raise Error("its checksum does not fit its content")
    return row[:-1]


def _round(number: int, epochs: int, wall_s: float | None, found: columns.Columns) -> Round:
    unit, parent, ids, told = (found[name] for name in ("unit", "parent", "trial_id", "told"))
    if not isinstance(epochs, int) or not isinstance(wall_s, (int, float, type(None))):
        raise Error(f"expected epochs and seconds as numbers, got {epochs!r:.40} and {wall_s!r:.40}")
    if wall_s is not None and told is None:
        raise Error("its scores are missing")
    as_what = {"unit": unit, "inherits": parent, "trial_id": ids} | ({} if told is None else {"score": told})
    for name, column in as_what.items():
        columns.check(name, column)
    if not len(unit) == len(parent) == len(ids) == (len(ids) if told is None else len(told)):
        raise Error("its columns differ in length")
    return Round(number, epochs, unit, parent, ids, None if wall_s is None else told, wall_s)


def _places(
    rounds: Sequence[int], measured: Sequence[columns.Columns], mode: str, top: int
) -> tuple[list[int], list[int]]:
    """Round, and row in it, of the first `top` trials, each as last measured."""
    if not rounds:
        return [], []
    for name, column in (item for record in measured for item in record.items()):
        columns.check(name, column)
    sizes = [len(record["trial_id"]) for record in measured]

    def whole(name: str, missing: float) -> np.ndarray:
        return np.concatenate([r.get(name, np.full(n, missing)) for r, n in zip(measured, sizes, strict=True)])

    ids, score = whole("trial_id", 0), whole("score", np.nan)
    last = last_places(ids, whole("epochs", 0))
    diverged = STATUSES.index(Status.DIVERGED)
    score = np.where(whole("status", 0) == diverged, np.nan, score)
    chosen = last[standing(score[last], whole("epochs", 0)[last], ids[last], mode)][:top]
    rows = np.concatenate([np.arange(size) for size in sizes])
    return np.repeat(rounds, sizes)[chosen].tolist(), rows[chosen].tolist()
