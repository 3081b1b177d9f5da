"""A run directory on a file system that other machines see: no log in shared memory, locks or nothing, no loss."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.store import database, lock, mounts
from jaxhp.store.ledger import Ledger, Round
from jaxhp.store.mounts import Mount, mount_of
from jaxhp.trials import Trial, Trials

TABLE = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 21 0:44 / /home rw,relatime - nfs4 server:/home rw,vers=4.2,hard,local_lock=none,addr=10.0.0.1
31 21 0:45 / /old rw - nfs server:/old rw,vers=3,nolock,local_lock=all
32 30 0:46 / /home/fast rw,noatime - xfs /dev/nvme0 rw
33 21 0:47 / /a\040b rw,nosuid master:7 propagate_from:2 - fuse.sshfs me@there:/x rw,user_id=0
34 21 0:48 / /twice rw - ext4 /dev/sda rw
35 34 0:49 / /twice rw,flock - lustre there:/lustre rw
36 21 0:50 / /win rw - cifs //there/share rw,vers=3.0,nobrl
37 21 0:51 / /disk rw - fuseblk /dev/sdb1 rw
38 21 0:52 / /lustre rw - lustre there:/l rw,localflock
nonsense
39 21
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    file = tmp_path / "mountinfo"
    file.write_text(TABLE)
    monkeypatch.setattr(mounts, "_TABLE", file)
    return file


@pytest.mark.parametrize(
    ("folder", "kind", "shared", "unlocked"),
    [
        ("/", "ext4", False, ""),
        ("/home/me/run", "nfs4", True, ""),
        ("/homes", "ext4", False, ""),
        ("/home/fast/run", "xfs", False, ""),
        ("/old", "nfs", True, "nolock"),
        ("/a b/run", "fuse.sshfs", True, ""),
        ("/twice/run", "lustre", True, ""),
        ("/win/run", "cifs", True, "nobrl"),
        ("/disk/run", "fuseblk", False, ""),
        ("/lustre/run", "lustre", True, "localflock"),
    ],
)
def test_where_a_folder_lies(table, folder, kind, shared, unlocked):
    found = mount_of(Path(folder))
    assert (found.kind, found.shared, found.unlocked) == (kind, shared, unlocked)


def test_where_a_link_leads_and_systems_that_tell_nothing(table, tmp_path):
    (tmp_path / "link").symlink_to("/home/me")
    assert mount_of(tmp_path / "link" / "run").kind == "nfs4"
    table.unlink()
    assert mount_of(Path("/home")) == Mount()


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.setattr(database, "mount_of", lambda folder: Mount("nfs4", ("rw", "local_lock=none")))


def record(ledger: Ledger, number: int) -> None:
    ids = np.asarray([number], np.int32)
    trials = Trials.of([Trial(number, {"lr": 0.5}, number)])
    ledger.begin(Round(number, 2, np.full((1, 1), 0.5, np.float32), ids * 0 - 1, ids), trials)
    ledger.finish(number, trials, np.ones(1, np.float32), 1.0)


def test_a_journal_and_no_log(shared, tmp_path):
    with Ledger(tmp_path, write=True) as ledger:
        record(ledger, 0)
        assert ledger.rows("PRAGMA journal_mode") == [("truncate",)]
        assert ledger.rows("PRAGMA synchronous") == [(2,)]
        assert not (tmp_path / "ledger.sqlite-shm").exists()
        with Ledger(tmp_path) as reader, reader.snapshot():
            assert reader.reached() == (1, 1)
        record(ledger, 1)
        with pytest.raises(hp.Error, match="another process"):
            Ledger(tmp_path, write=True)
    assert sorted(os.listdir(tmp_path)) == ["ledger.sqlite", "lock"]


def test_a_log_that_a_local_search_left_is_taken_in(tmp_path, monkeypatch):
    with closing(Ledger(tmp_path, write=True)) as ledger:
        record(ledger, 0)
        monkeypatch.setattr(database, "_leave_one_file", lambda db: None)
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as other:  # so that the log is not taken in
            other.execute("SELECT * FROM rounds").fetchall()
            ledger.close()
            (tmp_path / "moved").mkdir()
            for name in ("ledger.sqlite", "ledger.sqlite-wal"):
                (tmp_path / "moved" / name).write_bytes((tmp_path / name).read_bytes())
    monkeypatch.setattr(database, "mount_of", lambda folder: Mount("nfs4"))
    with Ledger(tmp_path / "moved", write=True) as ledger:
        assert ledger.reached() == (1, 1)
        assert ledger.rows("PRAGMA journal_mode") == [("truncate",)]


@pytest.mark.parametrize("mount", [Mount("nfs", ("rw", "nolock")), Mount("lustre"), Mount("")])
def test_no_search_where_a_writer_locks_nobody_out(tmp_path, monkeypatch, mount):
    def refuse(number: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(database, "mount_of", lambda folder: mount)
    if not mount.options:
        monkeypatch.setattr(lock, "_lock", refuse)
    with pytest.raises(
        hp.Error, match=r"lock out others.*mount it with locks that all machines see, or choose"
    ) as told:
        Ledger(tmp_path, write=True)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "ledger.sqlite").exists()


KILLED = """
import os, signal, sys
import numpy as np
from jaxhp.store import database
from jaxhp.store.ledger import Ledger
from jaxhp.store.mounts import Mount
sys.path.insert(0, sys.argv[2])
from test_shared_file_systems import record
database.mount_of = lambda folder: Mount("nfs4")
ledger = Ledger(sys.argv[1], write=True)
record(ledger, 0)
ledger.rows("PRAGMA cache_size = 1")  # pages reach the file before the transaction ends
with ledger.transaction():
    for number in range(40):
        ledger.put_columns(number, {f"c{i}": np.full(5000, number, "<i4") for i in range(3)})
    ledger.rows("SELECT count(*) FROM columns")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def cut_short(tmp_path):
    """A directory whose writer was killed within a transaction, of which pages were written already."""
    directory = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(directory), str(Path(__file__).parent)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -signal.SIGKILL
    assert (directory / "ledger.sqlite-journal").stat().st_size > 10_000
    return directory


def test_what_a_killed_writer_had_begun_is_undone(cut_short, shared):
    files = {path.name: path.read_bytes() for path in cut_short.iterdir()}
    with Ledger(cut_short) as reader:
        assert reader.reached() == (1, 1)
        assert reader.rows("SELECT count(*) FROM columns WHERE name GLOB 'c[0-9]'") == [(0,)]
        digest = reader.digest()
    assert {path.name: path.read_bytes() for path in cut_short.iterdir()} == files, "a reader changes nothing"
    with Ledger(cut_short, write=True) as ledger:
        assert ledger.reached() == (1, 1)
        assert ledger.digest() == digest
        record(ledger, 1)
    with Ledger(cut_short) as reader:
        assert reader.reached() == (2, 2)
    assert sorted(os.listdir(cut_short)) == ["ledger.sqlite", "lock"]


def test_a_reader_sees_no_half_of_a_transaction_that_goes_on(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_WAIT_S", 0.1)
    with Ledger(tmp_path, write=True) as ledger:
        record(ledger, 0)
        with Ledger(tmp_path) as reader, ledger.transaction():
            ledger.event("some")
            assert reader.events() == []
            ledger.rows("PRAGMA cache_size = 1")
            ledger.put_columns(5, {f"c{i}": np.zeros(50_000, "<i4") for i in range(3)})
            with pytest.raises(hp.Error, match="database is locked"):
                Ledger(tmp_path)
        with Ledger(tmp_path) as reader:
            assert len(reader.events()) == 1


@pytest.mark.slow
def test_kills_lose_nothing_that_was_recorded(tmp_path):
    """A process says what it has recorded, and is killed while it goes on; all that it said is there, in order."""
    code = KILLED[: KILLED.index("record(ledger, 0)\nledger.rows")] + textwrap.dedent("""
        first = ledger.reached()[0]
        for number in range(first, first + 10**6):
            record(ledger, number)
            print(number, flush=True)
    """)
    said = -1
    for kill in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "run"), str(Path(__file__).parent)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(3 + kill):
            assert int(writer.stdout.readline()) == said + 1
            said += 1
        writer.kill()
        rest = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        said += len(rest)
        with Ledger(tmp_path / "run") as reader:
            begun, finished = reader.reached()
            assert begun in (said + 1, said + 2)
            assert finished in (said + 1, said + 2)
            assert reader.trials().trial_id.tolist() == [*range(begun)]
            said = finished - 1
