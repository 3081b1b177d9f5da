"""What adapters to engines promise: calls, answers, errors, and workers that are lost, without an engine."""

import json
import operator
import pickle
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import jaxhp as hp
from jaxhp.executors import answers, options, pool, post, slurm
from jaxhp.executors.mailbox import Mailbox
from jaxhp.executors.serve import serve
from jaxhp.packages import needed


def until(condition):
    """Wait for what happens, however busy the machine is."""
    for _ in range(6000):
        if found := condition():
            return found
        time.sleep(0.01)
    raise TimeoutError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mailbox")


@pytest.fixture(scope="module")
def mail(folder):
    """A mailbox with one worker, which is a thread."""
    box = Mailbox(folder)
    worker = threading.Thread(target=serve, args=(folder,))
    worker.start()
    yield box
    box.dismiss()
    worker.join()


def said(folder: Path) -> dict:
    return {place.name: json.loads((place / "said").read_bytes()) for place in (folder / "workers").iterdir()}


def test_a_mailbox_holds_calls_until_a_worker_joins_and_hands_on_what_it_answers(mail):
    assert mail.submit(operator.add, 1, 2).result() == 3
    (name,) = mail.workers()
    assert [mail.submit(pow, 2, n, worker=name) for n in range(5)][3].result() == 8


def test_an_error_comes_back_as_what_it_was_and_says_where(mail):
    with pytest.raises(ZeroDivisionError) as caught:
        mail.submit(operator.truediv, 1, 0).result()
    assert "on a worker:\nTraceback" in caught.value.__notes__[0]
    with pytest.raises((AttributeError, TypeError), match="lock"):
        mail.submit(len, threading.Lock()).result()


def test_nobody_is_called_who_is_not_there(mail):
    with pytest.raises(hp.executors.WorkerLost, match="nobody: gone"):
        mail.submit(len, "", worker="nobody").result()


def test_files_of_calls_do_not_pile_up(mail, folder):
    mail.submit(len, "").result()
    (place,) = (folder / "workers").iterdir()
    until(lambda: sorted(file.name for file in place.iterdir() if file.name[0] != ".") == ["said", "told"])


def test_a_worker_whose_beat_stands_still_is_lost_with_its_calls_and_a_folder_of_long_ago_is_no_worker(tmp_path):
    """The beats are written here: a file of long ago, then one that grows twice, then none any more."""
    place = tmp_path / "workers" / "me"
    place.mkdir(parents=True)
    record = {"beat": 7, "by": None, "done": 0, "left": False}
    post.write(place / "said", record)
    box = Mailbox(tmp_path, patience=1.5)

    def beats():
        place.mkdir(exist_ok=True)
        record["beat"] += 1
        post.write(place / "said", record)
        return "me" in box.workers()

    assert not box.workers()
    until(lambda: not place.exists())
    until(beats)
    with pytest.raises(hp.executors.WorkerLost, match="me: gone"):
        box.submit(len, "", worker="me").result()
    assert not box.workers()
    until(lambda: not place.exists())
    waits = box.submit(len, "")
    box.close()
    with pytest.raises(hp.executors.WorkerLost, match="closed"):
        waits.result()


def test_a_worker_that_was_taken_for_lost_joins_again_under_another_name_and_one_that_leaves_says_so(tmp_path):
    box = Mailbox(tmp_path)
    worker = threading.Thread(target=serve, args=(tmp_path,))
    worker.start()
    (first,) = until(box.workers)
    assert not said(tmp_path)[first]["left"]
    for file in (tmp_path / "workers" / first).iterdir():
        file.unlink()
    (tmp_path / "workers" / first).rmdir()
    (second,) = until(lambda: [name for name in said(tmp_path) if name != first])
    until(lambda: second in box.workers())
    assert box.submit(operator.add, 2, 2, worker=second).result() == 4
    box.dismiss()
    worker.join()
    assert said(tmp_path)[second]["left"]


def test_a_worker_ends_when_nobody_calls_and_whoever_calls_later_takes_over(tmp_path):
    first = Mailbox(tmp_path)
    second = Mailbox(tmp_path)
    until(lambda: first._over)
    with pytest.raises(hp.Error, match="another process has taken over"):
        first.workers()
    second.close()
    serve(tmp_path, idle=0.05)


def test_jobs_that_slurm_refuses_are_one_line_and_leave_no_folder_and_no_thread(tmp_path, monkeypatch):
    class Refusing:
        def update_parameters(self, **_):
            pass

        @contextmanager
        def batch(self):
            yield
            raise RuntimeError("sbatch: error:\nInvalid account")

        def submit(self, worker):
            return "a job"

    monkeypatch.setattr(slurm, "needed", lambda *_: SimpleNamespace(AutoExecutor=lambda *_, **__: Refusing()))
    before = threading.active_count()
    with pytest.raises(hp.Error, match=r"^executor: expected jobs that Slurm takes: sbatch: error: Invalid account$"):
        slurm.Slurm(tmp_path, account="nobody")
    assert not [*tmp_path.iterdir()]
    assert threading.active_count() == before


def test_half_a_file_is_looked_at_again_and_ends_nothing(tmp_path):
    (tmp_path / "half").write_text('{"beat": 1, "b')
    assert post.read(tmp_path / "half") == {}
    box = Mailbox(tmp_path)
    place = tmp_path / "workers" / "me"
    place.mkdir()
    (place / "said").write_text("")
    (tmp_path / "post").write_text("")
    until(lambda: post.read(tmp_path / "post").get("beat", 0) > 1)
    assert not box.workers()
    record = {"beat": 1, "by": None, "done": 0, "left": False}

    def beats():
        record["beat"] += 1
        post.write(place / "said", record)
        return box.workers()

    until(beats)
    box.close()


def test_waits_are_looked_at_again_after_a_hundredth():
    assert [post.pause(waited) for waited in (0.0, 10.0, 1000.0)] == [0.01, 0.1, 0.5]


class Odd(Exception):
    """An error that cannot be made again from its pickle."""

    def __init__(self, one, two):
        super().__init__(one)


def odd():
    raise Odd(1, 2)


def test_an_error_that_cannot_be_sent_becomes_one_that_can():
    future = Future()
    answers.settle(future, answers.answered(pickle.dumps((odd, ()))))
    with pytest.raises(RuntimeError, match="Odd: 1"):
        future.result()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("slurm:nodes=many", "name=value with a whole number, got 'nodes=many'"),
        ("slurm:nodes", "expected name=value with a whole number, got 'nodes'"),
        ("dask:", "expected dask://host:port"),
        ("mailbox:", "expected mailbox:FOLDER"),
        ("mpi:4", "how many ranks there are mpiexec says"),
        ("kubernetes", "expected one of processes:4, ray"),
    ],
)
def test_a_text_that_names_no_workers_is_refused(text, why):
    with pytest.raises(hp.Error, match=why):
        pool.parsed(text)


def test_options_have_their_types():
    found = options.options("nodes=8,gres=gpu:1,mem_gb=1.5", {"nodes": int, "mem_gb": float})
    assert found == {"nodes": 8, "gres": "gpu:1", "mem_gb": 1.5}


def test_an_engine_that_is_missing_is_one_line_with_what_to_install():
    with pytest.raises(hp.Error, match=r"needs the package ray \(.*\): pip install ray, or 'jaxhp\[ray\]'"):
        needed("no_such_module", "executor:", "ray", "ray")
