"""Searches on processes of this machine, which die at any time."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executors.kinds import search_of
from small_search import digest, search

import jaxhp as hp
from jaxhp.engine.events import Progressed, Retrained, RoundFinished, Warned
from jaxhp.executors import crew, remote
from jaxhp.executors import processes as of_processes
from jaxhp.executors.entry import describe
from jaxhp.executors.orders import Rank, Train
from jaxhp.executors.processes import visible_gpus
from jaxhp.search.workers import hired

HERE = Path(__file__).resolve()


@pytest.fixture(scope="module")
def processes():
    pool = hp.executors.Processes(2)
    yield pool
    pool.close()


def test_each_process_gets_a_gpu_that_this_one_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []


class Unreadable:
    """What a process can send, and nobody can read."""

    def __reduce__(self):
        return _fail, ("cannot be read",)


def _fail(why):
    raise ZeroDivisionError(why)


def test_an_answer_that_cannot_be_read_is_an_error_and_processes_end_with_their_pool():
    pool = hp.executors.Processes(1)
    with pytest.raises(ZeroDivisionError, match="cannot be read"):
        pool.submit(Unreadable).result(60)
    (process,) = pool._slots
    assert process is not None
    assert process.alive
    del pool
    gc.collect()
    assert process._process.wait(60) == -signal.SIGKILL


def test_processes_that_end_before_they_begin_are_given_up_with_what_they_said(tmp_path, monkeypatch):
    (tmp_path / "jaxhp").mkdir()
    (tmp_path / "jaxhp" / "__init__.py").write_text("import no_such_module_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(of_processes, "_PAUSE_S", 0.01)
    monkeypatch.chdir(tmp_path)
    pool, names = hp.executors.Processes(1), set()
    with (
        pytest.raises(hp.Error, match=r"^executor: 5 .*No module named 'no_such_module_anywhere'$"),
        hired(pool, None, None, print),
    ):
        pass
    with pytest.raises(hp.Error, match=r"5 processes ended.*No module named 'no_such_module_anywhere'$"):
        _wait_for_processes(pool, names)
    assert len(names) <= 5
    pool.close()


def _wait_for_processes(pool, names):
    for _ in range(3000):
        names |= {*pool.workers()}
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folds and finals", "pbt", "groups", "loop"])
def test_the_digest_is_that_of_one_process(kind, processes):
    of, pool = search_of(kind), Noted(processes)
    assert of.run(quiet=True, executor=pool).digest == of.run(quiet=True).digest
    assert (kind != "folds and finals") or Rank in pool.kinds  # means of what was trained apart are workers' too


@pytest.mark.slow
def test_members_come_in_pieces_and_a_killed_process_costs_one(processes, monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "UNIT_S", 0.0)
    killed, seen = [], []

    def kill(event):
        seen.append(event)
        if isinstance(event, Progressed) and len(killed) < 2 and len(seen) % 4 == 0:
            worker = processes.workers()[len(killed)]
            killed.append(processes.submit(describe, worker=worker).result()[0].pid)
            os.kill(killed[-1], signal.SIGKILL)

    found = search("halving").run(tmp_path / "run", quiet=True, executor=processes, watch=[kill])
    assert found.digest == digest("halving")
    assert len(killed) == 2
    assert not (tmp_path / "run" / "members").exists()


@pytest.mark.slow
def test_members_damaged_in_the_store_are_trained_again(processes, tmp_path):
    said = []

    def damage(event):
        said.append(event)
        if isinstance(event, RoundFinished) and event.round == 0:
            for path in (tmp_path / "run" / "members").rglob("*.member"):
                path.write_bytes(path.read_bytes()[:-1] + b"!")
            for worker in processes.workers():  # so that none has them in memory
                os.kill(processes.submit(describe, worker=worker).result()[0].pid, signal.SIGKILL)

    found = search("halving").run(tmp_path / "run", quiet=True, executor=processes, watch=[damage], checkpoint_s=1e9)
    assert found.digest == digest("halving")
    assert any("not what was put" in event.text for event in said if isinstance(event, Warned))


class Noted:
    """A pool that knows who trained last."""

    def __init__(self, pool):
        self.pool, self.trained, self.kinds = pool, "", set()

    def workers(self):
        return self.pool.workers()

    def submit(self, fn, /, *args, worker=None):
        self.kinds.add(type(args[-1]) if args else None)
        if args and isinstance(args[-1], Train):
            self.trained = worker
        return self.pool.submit(fn, *args, worker=worker)

    def close(self):
        raise AssertionError("whoever made it closes it")


@pytest.mark.slow
def test_what_a_halted_process_alone_holds_is_trained_again(processes, monkeypatch):
    monkeypatch.setattr(crew, "_PATIENCE_S", 1.0)
    pool, said, halted = Noted(processes), [], []

    def halt(event):
        said.append(event)
        if isinstance(event, RoundFinished) and event.round == 2:  # the last one: its network is still to be shown
            halted.append(processes.submit(os.getpid, worker=pool.trained).result())
            os.kill(halted[0], signal.SIGSTOP)

    try:
        found = search("halving").run(quiet=True, executor=pool, watch=[halt])
    finally:
        os.kill(halted[0], signal.SIGCONT)
    assert found.digest == digest("halving")
    assert any("has not answered for 1 s" in event.text for event in said if isinstance(event, Warned))
    assert any(isinstance(event, Retrained) for event in said)


SCRIPT = """
import os, sys
sys.path[:0] = {path!r}
import jaxhp as hp
from small_search import search
from jaxhp.engine.events import Progressed
from jaxhp.executors import remote

remote.UNIT_S, seen = 0.0, []

def kill(event):
    seen.append(isinstance(event, Progressed))
    if sum(seen) == {at}:
        os.kill(os.getpid(), 9)

search("halving").run({dir!r}, quiet=True, executor="processes:2", watch=[kill])
"""


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_killed_coordinator_loses_nothing(processes, tmp_path, elsewhere):
    directory = tmp_path / "run"
    script = tmp_path / "script.py"  # without `if __name__ == "__main__"`
    script.write_text(SCRIPT.format(path=[str(HERE.parents[2]), str(HERE.parents[1])], dir=str(directory), at=5))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = [*(directory / "members").rglob("*.member")]
    assert left
    seen = []
    again = search("halving").run(directory, quiet=True, executor=processes if elsewhere else None, watch=[seen.append])
    assert again.digest == digest("halving")
    if elsewhere:  # what was in the store is not trained again
        trained = sum(event.member_epochs for event in seen if isinstance(event, Progressed))
        assert trained < 9 * 1 + 3 * 2 + 1 * 6
