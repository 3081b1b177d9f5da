"""Whose a run directory is: what is not ours stays as it is, and one search writes one ledger."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.store import files
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Trial, Trials


def begin(ledger: Ledger, number: int = 0) -> None:
    ids = np.asarray([number], np.int32)
    ledger.begin(
        Round(number, 2, np.zeros((1, 1), np.float32), ids * 0 - 1, ids), Trials.of([Trial(number, {"lr": 1.0})])
    )


def content(directory: Path) -> dict[str, bytes | None]:
    """Every file below with its bytes, every folder."""
    return {str(p.relative_to(directory)): p.read_bytes() if p.is_file() else None for p in directory.rglob("*")}


def database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


PROJECTS = {
    "a folder of logs": lambda d: (d / "logs.out").mkdir(),
    "the log of a job beside a project": lambda d: [(d / name).write_text("x") for name in ("slurm-1.out", "train.py")],
    "code": lambda d: (d / "train.py").write_text("x"),
    "checkpoints": lambda d: ((d / "checkpoints").mkdir(), (d / "checkpoints" / "best.pt").write_text("x")),
    "network": lambda d: (d / "best.safetensors").write_text("x"),
    "lock": lambda d: (d / "lock").write_text("a lock of another program"),
    "poetry": lambda d: [(d / name).write_text("x") for name in ("lock", "summary.json", "a.tmp")],
    "another manifest": lambda d: (d / "manifest.json").write_text('{"name": "a web extension"}'),
    "another database": lambda d: database(d / "ledger.sqlite", "CREATE TABLE bookings (amount REAL)"),
    "no database": lambda d: (d / "ledger.sqlite").write_text("an account book, not SQLite's" * 99),
    "an empty ledger": lambda d: [(d / name).write_text("") for name in ("ledger.sqlite", "train.py")],
}


@pytest.mark.parametrize("kind", PROJECTS)
def test_a_folder_of_something_else_is_refused_and_nothing_touched(kind, tmp_path):
    PROJECTS[kind](tmp_path)
    before = content(tmp_path)
    with pytest.raises(hp.Error, match=str(tmp_path)) as refused:
        Ledger(tmp_path, write=True)
    assert len(str(refused.value).splitlines()) == 1
    assert content(tmp_path) == before


def test_what_is_refused_is_named_and_what_lies_beside_a_search_is_left_alone(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(hp.Error, match=r"which holds 'notes\.md'; choose another, such as .*/search$"):
        Ledger(tmp_path, write=True)
    for _ in range(2):
        with Ledger(tmp_path / "search", write=True):
            (tmp_path / "search" / ".DS_Store").write_text("x")
    assert (tmp_path / "search" / ".DS_Store").read_text() == "x"


def test_the_log_of_the_job_is_there_before_its_search_and_stays(tmp_path):
    """Slurm opens it before the search begins, and a file manager asks nobody."""
    logs = {name: name.encode() for name in ("slurm-123.out", "job.123.err", "train.log", ".DS_Store", ".gitkeep")}
    for name, text in logs.items():
        (tmp_path / name).write_bytes(text)
    with Ledger(tmp_path, write=True) as ledger:
        begin(ledger)
    assert {name: (tmp_path / name).read_bytes() for name in logs} == logs


def test_what_a_start_that_was_killed_left_is_no_project(tmp_path):
    (tmp_path / "lock").write_text("123\n")
    (tmp_path / "ledger.sqlite").touch()
    with Ledger(tmp_path, write=True) as ledger:
        begin(ledger)


def test_a_file_that_stands_where_one_is_made_is_left_alone(tmp_path):
    (tmp_path / "a.csv.tmp").write_text("precious")
    files.write_bytes(tmp_path / "a.csv", b"x")
    assert content(tmp_path) == {"a.csv": b"x", "a.csv.tmp": b"precious"}


def replaced(directory: Path) -> None:
    directory.rename(directory.with_name("aside"))
    Ledger(directory, write=True).close()


HARMS = {
    "replaced": replaced,
    "removed": shutil.rmtree,
    "moved": lambda d: d.rename(d.with_name("aside")),
    "without its lock": lambda d: (d / "lock").unlink(),
    "with another lock": lambda d: ((d / "lock").unlink(), (d / "lock").touch()),
    "without its ledger": lambda d: (d / "ledger.sqlite").unlink(),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_writer_notices_that_its_directory_is_gone(harm, tmp_path):
    directory = tmp_path / "run"
    with Ledger(directory, write=True) as ledger:
        begin(ledger)
        HARMS[harm](directory)
        before = content(directory)
        with pytest.raises(hp.Error, match="was removed, replaced or moved while its search ran"):
            ledger.event("warning", text="mine")
        with pytest.raises(hp.Error, match="was removed, replaced or moved"):
            ledger.check_held()
    if harm == "replaced":
        assert content(directory) == before
    assert directory.exists() or harm in ("removed", "moved")


def test_the_second_of_two_writers_goes_on_and_the_first_stops(tmp_path):
    with Ledger(tmp_path, write=True) as first:
        begin(first)
        (tmp_path / "lock").unlink()
        with Ledger(tmp_path, write=True) as second:
            with pytest.raises(hp.Error, match="was removed, replaced or moved"):
                begin(first, 1)
            begin(second, 1)
            second.event("warning", text="second")
    with Ledger(tmp_path) as ledger:
        assert [event["text"] for event in ledger.events("warning")] == ["second"]
        assert len(ledger.rounds()) == 2


def test_where_there_are_no_locks_the_ledger_knows_its_writer(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxhp.store.lock.fcntl", None)
    with Ledger(tmp_path, write=True) as first:
        begin(first)
        with Ledger(tmp_path, write=True) as second:
            with pytest.raises(hp.Error, match="another process has begun to run this search, so this one stops"):
                begin(first, 1)
            begin(second, 1)


WORKER = r"""
import multiprocessing, os, signal, sys
from jaxhp.store.ledger import Ledger
ledger = Ledger(sys.argv[1], write=True)
worker = os.fork()
if worker == 0:
    try:
        ledger.event("warning", text="from a child")
    except ValueError as error:
        os.write(1, f"{error}\n".encode())
    signal.pause()
os.write(1, f"{worker}\n".encode())
signal.pause()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_neither_keeps_the_lock_nor_writes(tmp_path):
    """A worker of a killed search lives on."""
    search = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert search.stdout is not None
    try:
        lines = [search.stdout.readline() for _ in range(2)]
        assert any("so this search stops and writes nothing more" in line for line in lines)
        with pytest.raises(hp.Error, match=f"another process \\(pid {search.pid}\\) is running"):
            Ledger(tmp_path, write=True)
        search.kill()
        search.wait()
        os.kill(next(int(line) for line in lines if line.strip().isdigit()), 0)  # it is there
        with Ledger(tmp_path, write=True) as ledger:
            assert not ledger.events("warning")
    finally:
        os.killpg(search.pid, signal.SIGKILL)
        search.wait()
        search.stdout.close()


def test_a_closed_ledger_is_one_file(tmp_path):
    with Ledger(tmp_path, write=True) as ledger:
        begin(ledger)
    assert set(content(tmp_path)) == {"ledger.sqlite", "lock"}
    with Ledger(tmp_path) as reader:
        assert len(reader.rounds()) == 1
        assert set(content(tmp_path)) == {"ledger.sqlite", "lock"}
    shutil.copy(tmp_path / "ledger.sqlite", tmp_path / "copy")
    with closing(sqlite3.connect(f"file:{tmp_path / 'copy'}?mode=ro&immutable=1", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM rounds").fetchone() == (1,)


def test_a_reader_does_not_keep_a_writer_from_ending(tmp_path):
    with Ledger(tmp_path, write=True) as writer:
        begin(writer)
        reader = Ledger(tmp_path)
        assert len(reader.rounds()) == 1
    assert len(reader.rounds()) == 1
    reader.close()
    Ledger(tmp_path, write=True).close()
    assert set(content(tmp_path)) == {"ledger.sqlite", "lock"}


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no users")
@pytest.mark.parametrize("missing", ["", "ledger.sqlite-shm"])
def test_what_a_killed_search_left_is_read_as_another_user_or_says_why_not(missing, tmp_path):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        directory = Path(folder) / "run"
        with Ledger(tmp_path, write=True) as ledger:
            begin(ledger)
            shutil.copytree(tmp_path, directory, ignore=shutil.ignore_patterns(missing))  # as it is while it runs
        for path in (directory, *directory.iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        Path(folder).chmod(0o755)
        before, root = content(directory), os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            if missing:
                with pytest.raises(hp.Error, match="its log is read only where files may be made: copy the directory"):
                    Ledger(directory)
            else:
                with Ledger(directory) as reader:
                    assert len(reader.rounds()) == 1
        finally:
            if root:
                os.seteuid(0)
            directory.chmod(0o755)
        assert content(directory) == before


COUNTING = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
ENDLESS = f"{COUNTING} SELECT 'schema' AS name, x AS value, x AS crc FROM c"
STRANGERS = {
    "endless": f"CREATE VIEW meta AS {ENDLESS}",
    "large": "CREATE VIEW meta AS SELECT 'schema' AS name, hex(zeroblob(400000000)) AS value, 0 AS crc",
    "check": "CREATE TABLE meta (name TEXT CHECK(length(hex(zeroblob(400000000))) > 0), value TEXT, crc INTEGER)",
    "index": "CREATE INDEX more ON meta (length(hex(zeroblob(1000))))",
    "view": "CREATE VIEW more AS SELECT * FROM meta",
    "trigger": "CREATE TRIGGER more AFTER INSERT ON events BEGIN DELETE FROM events; END",
    "table": "CREATE TABLE more (x)",
}


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("kind", STRANGERS)
def test_nothing_of_a_strangers_schema_is_run(kind, write, tmp_path):
    with Ledger(tmp_path, write=True) as ledger:
        begin(ledger)
    drop = ["DROP TABLE meta"] if "meta" in STRANGERS[kind].split()[:3] else []
    database(tmp_path / "ledger.sqlite", *drop, STRANGERS[kind])
    before = content(tmp_path)
    began = time.process_time()
    with pytest.raises(hp.Error, match=r"expected its tables, got"):
        Ledger(tmp_path, write=write)
    assert time.process_time() - began < 5  # of the processor: endless otherwise
    assert content(tmp_path) == before
