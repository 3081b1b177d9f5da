"""A search on workers has the digest of one process, whatever happens to them."""

import os
import pickle
import signal
import threading
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from executors.threads import Threads, call
from small_search import digest, search, shared, task

import jaxhp as hp
from jaxhp.engine.events import Progressed, RoundFinished, Warned
from jaxhp.engine.work import Cost, Job, Outcome
from jaxhp.executors import under_way, worker
from jaxhp.executors.crew import Arrived
from jaxhp.executors.member_store import MemberStore
from jaxhp.executors.orders import Train, Trained, Who
from jaxhp.executors.pool import WorkerLost
from jaxhp.executors.scheduling import Schedule
from jaxhp.executors.strands import Strand
from jaxhp.executors.under_way import Ongoing, UnderWay
from jaxhp.executors.units import Unit
from jaxhp.executors.worker import Site


def test_the_digest_is_that_of_one_process_with_a_lost_worker_and_one_of_another_jaxlib(monkeypatch):
    lost, seen, search = [], [], shared("halving")
    monkeypatch.setattr(Site, "_population", lambda self, spec, _: search.population(spec, search.machine()))

    def meddle(worker, fn, args):
        if worker == "old":
            environment = {**args[0].environment, "jaxlib": "0.1.2"}  # so that this process has another one
            return fn(args[0]._replace(environment=environment), *args[1:])
        if worker == "weak" and not lost:
            lost.append(worker)
            raise WorkerLost("it died")
        return fn(*args)

    pool = Threads("old weak strong", meddle)
    found = super(type(search), search).run(executor=pool, quiet=True, watch=[seen.append])
    assert found.digest == digest("halving")
    refused = [event.text for event in seen if isinstance(event, Warned)]
    assert len(refused) == 1
    assert "its jaxlib is" in refused[0]
    assert "not '0.1.2'" in refused[0]
    assert lost
    trained = sum(event.member_epochs for event in seen if isinstance(event, Progressed))
    assert trained == 9 * 1 + 3 * 2 + 1 * 6  # rungs of 1, 3 and 9 epochs


def test_the_only_worker_trains_again_what_is_nowhere_any_more(monkeypatch, tmp_path):
    search, said = shared("halving"), []
    monkeypatch.setattr(Site, "_population", lambda self, spec, _: search.population(spec, search.machine()))

    def forget(event):
        said.append(event)
        if isinstance(event, RoundFinished) and event.round == 0:
            for path in (tmp_path / "members").rglob("*.member"):
                path.unlink()
            worker._sites.clear()

    options = {"members": tmp_path / "members", "executor": Threads("only"), "checkpoint_s": 1e9}
    found = super(type(search), search).run(tmp_path / "run", quiet=True, watch=[forget], **options)
    assert found.digest == digest("halving")
    assert any(event.text.endswith("missing") for event in said if isinstance(event, Warned))


class Nobody:
    """A pool that must not be asked for anything."""

    def workers(self):
        raise AssertionError("nobody is needed")

    submit = close = workers


def test_a_signal_before_a_worker_has_brought_anything_stops_the_search(monkeypatch, tmp_path):
    search, over = shared("halving"), threading.Event()
    monkeypatch.setattr(Site, "_population", lambda self, spec, _: search.population(spec, search.machine()))

    def stopped(worker, fn, args):
        os.kill(os.getpid(), signal.SIGTERM)
        over.wait(60)
        return fn(*args)

    with pytest.raises(hp.Stopped):
        super(type(search), search).run(tmp_path / "run", quiet=True, executor=Threads("a", stopped))
    over.set()


def test_two_runs_share_a_store_and_a_finished_one_hires_nobody(monkeypatch, tmp_path):
    search, said = shared("halving"), []
    monkeypatch.setattr(Site, "_population", lambda self, spec, _: search.population(spec, search.machine()))

    def run(dir, **options):
        known = {"members": tmp_path / "members", "checkpoint_s": 1e9, "quiet": True, "executor": Threads("only")}
        return super(type(search), search).run(tmp_path / dir, **(known | options)).digest

    def another(event):
        said.append(event)
        if isinstance(event, RoundFinished) and event.round == 0:
            assert run("second") == digest("halving")  # and takes what is its own from the store
            worker._sites.clear()  # so that members come from there

    assert run("first", watch=[another]) == digest("halving")
    assert not [event.text for event in said if isinstance(event, Warned)]
    assert not [*(tmp_path / "members").rglob("*")]
    assert run("first", executor=Nobody()) == digest("halving")


def test_a_plan_for_workers_has_their_number_and_what_a_member_moves():
    search = shared("halving")
    plan = search.plan(executor=Threads("a b"))
    assert plan.workers == 2
    state = 2 * 4 * 2 * 4  # weights and momentum, f32
    assert plan.moved_bytes >= 2 * state
    assert plan.groups[0].tile == search.plan().groups[0].tile


def test_what_a_lost_worker_puts_late_takes_the_place_of_nothing(monkeypatch, tmp_path):
    search = shared("halving")
    monkeypatch.setattr(Site, "_population", lambda self, spec, _: search.population(spec, search.machine()))

    def late(event):
        if isinstance(event, RoundFinished) and event.round == 0:
            for folder in [path for path in tmp_path.rglob("blobs")]:
                store = MemberStore(folder.parent)
                for name in [*store.names()]:
                    leaves = store.get(*name)
                    store.put(*name[:3], [leaves[0] + 1, *leaves[1:]], name.replicates)
                    written.append(name)
            worker._sites.clear()  # so that members come from the store

    written = []
    options = {"members": tmp_path / "members", "executor": Threads("only"), "checkpoint_s": 1e9}
    found = super(type(search), search).run(tmp_path / "run", quiet=True, watch=[late], **options)
    assert written
    assert found.digest == digest("halving")


def test_members_that_two_workers_make_differently_count_neither_way(monkeypatch, tmp_path):
    search, said, died = shared("halving"), [], []
    monkeypatch.setattr(Site, "_population", lambda self, spec, _: search.population(spec, search.machine()))

    def meddle(worker, fn, args):
        answer = fn(*args)
        store = MemberStore(args[0].store)
        if worker == "weak" and isinstance(args[1], Train) and (names := [*store.names()]) and not died:
            died.append(worker)
            for name in names:  # as if it had put others
                leaves = store.get(*name)
                store.drop(*name)
                store.put(*name[:3], [leaves[0] + 1, *leaves[1:]], name.replicates)
            raise WorkerLost("it died")
        return answer

    options = {"members": tmp_path / "members", "executor": Threads("weak strong", meddle), "checkpoint_s": 1e9}
    found = super(type(search), search).run(tmp_path / "run", quiet=True, watch=[said.append], **options)
    assert found.digest == digest("halving")
    warned = [event.text for event in said if isinstance(event, Warned)]
    assert any("made other bits of trial" in text and "than are in the store" in text for text in warned)


@pytest.mark.slow
def test_a_network_of_a_class_that_no_worker_can_send_back_comes_back(monkeypatch):
    class Params(NamedTuple):
        w: jax.Array

    def error(params, batch):
        return ((batch["x"] @ params.w).prod(-1) - batch["y"]) ** 2

    of = search(
        "random",
        epochs=1,
        task=task(
            init=lambda key, config: Params(jax.random.normal(key, (4, 2))),
            loss=lambda params, batch, key, config: jnp.mean(error(params, batch)),
            evaluate=lambda params, batch, config: {"error": error(params, batch)},
        ),
    )

    def sent(worker, fn, args):
        return pickle.loads(pickle.dumps(fn(*args)))

    with pytest.raises((pickle.PicklingError, AttributeError), match="Params"):
        pickle.dumps(Params(jnp.zeros(1)))
    made = of.population(of.groups.first, of.machine())
    monkeypatch.setattr(Site, "_population", lambda *_: made)
    monkeypatch.setattr(type(of), "population", lambda *_: made)
    found, alone = of.run(executor=Threads("a", sent), quiet=True), of.run(quiet=True)
    assert isinstance(found.best.params, Params)
    np.testing.assert_array_equal(found.best.params.w, alone.best.params.w)


class Crew:
    """Workers that answer at once with the bits that a test says, or when the test says so."""

    pinned = True

    def __init__(self, bits, hold):
        self.bits, self.hold, self.held, self.ready, self.dismissed = bits, hold, [], [], []

    def alive(self, *, anew=False):
        return [name for name in self.bits if name not in self.dismissed]

    def dismiss(self, worker, why):
        self.dismissed.append(worker)

    def send(self, order, worker, tag):
        job = order.unit.job
        score = np.full(len(job.trials), self.bits[worker], np.float32)
        zeros = np.zeros(len(job.trials), np.int32)
        curve = np.zeros((len(job.trials), job.stop, 2, 1), np.float32)
        outcome = Outcome(score, score, score[:, None], curve, zeros)
        who = Who("here", len(worker), 1)
        answer = Arrived(tag, worker, Trained(job.stop, outcome, None, score, curve, {}, 0, 0, Cost(), who))
        (self.held if worker == self.hold else self.ready).append(answer)

    def arrived(self):
        copies = [one for one in self.ready if any(one.tag == held.tag for held in self.held)]
        if copies:  # of what the slow one has: now it answers too, after it
            self.ready, self.held = [*self.ready, *self.held], []
        found, self.ready = self.ready[:1], self.ready[1:]
        return found


class Stock:
    where = type("Where", (), {"found": lambda *_, **__: None, "given": lambda *_: None})()


@pytest.mark.parametrize("wrong", ["slow", None])
def test_a_result_that_comes_twice_is_compared_and_a_third_decides(monkeypatch, wrong):
    monkeypatch.setattr(under_way, "Schedule", partial(Schedule, least_s=0.0))
    bits = {"slow": 1.0, "quick": 1.0, "third": 1.0}
    if wrong:
        bits[wrong] = np.nextafter(np.float32(1), np.float32(2))
    ids = np.arange(1, dtype=np.int32)
    units = [Unit("a", ids + i, Job(0, ids + i, [{}], ids - 1, 0 * ids, 4, range(1))) for i in range(8)]
    shapes = type("Shapes", (), {"metrics": ("error",), "member": np.zeros(3, np.float32)})
    recipe = type("Recipe", (), {"tiles": {"a": 1}, "specs": {"a": type("S", (), {"shapes": shapes, "static": {}})}})
    recipe.epochs = 4
    crew, said = Crew(bits, "slow"), []
    work = UnderWay(crew, Stock(), recipe, 10.0, said.append)
    whole = Job(0, np.arange(8, dtype=np.int32), [{}] * 8, *[np.zeros(8, np.int32)] * 2, 4, range(1))
    call = Ongoing(whole, said.append, [Strand(unit) for unit in units])
    work.train(call)
    while wrong and not crew.dismissed:  # where it came after all others were done
        work.train(Ongoing(whole, said.append, [Strand(units[0])]))
    assert crew.dismissed == ([wrong] if wrong else [])
    warned = [event.text for event in said if isinstance(event, Warned)]
    assert len(warned) == (2 if wrong else 0)
    assert not wrong or "slow" in warned[1]
    assert all(part.outcome.score[0] == 1.0 for part in call.parts)


def test_who_trains_a_piece_again_just_as_far_can_agree_with_who_stopped_there():
    ids, score = np.zeros(1, np.int32), np.ones(1, np.float32)
    part = Strand(Unit("a", ids, Job(0, ids, [{}], ids - 1, ids, 4, range(1))))
    number = part.begin().number

    def trained(outcome, score=score):
        digests = {(0, 2): "of the member"}
        return Trained(2, outcome, None, score, np.ones((1, 4, 2, 1), np.float32), digests, 0, 0, Cost(), Who("", 1, 1))

    first = part.know(number, "stopped", trained(None))
    again = part.piece(number).job
    assert (again.stop, again.keep) == (2, True)
    outcome = Outcome(score, score, score[:, None], np.ones((1, 4, 2, 1), np.float32), ids)
    assert part.know(number, "other", trained(outcome)).bits == first.bits
    assert part.know(number, "wrong", trained(outcome, np.nextafter(score, score + 1))).bits != first.bits


def test_what_is_no_executor_is_refused_in_one_line():
    with pytest.raises(hp.Error, match=r"^executor: expected something with submit"):
        shared("random").run(executor=3)
    with pytest.raises(hp.Error, match=r"^executor: expected one of processes:4"):
        shared("random").run(executor="cloud")
    with pytest.raises(hp.Error, match=r"^members: expected none without an executor"):
        super(type(shared("random")), shared("random")).run(members="/tmp/nowhere")


def test_an_error_of_the_task_reaches_the_user_with_the_worker(monkeypatch):
    class Broken(Exception):
        pass

    def meddle(worker, fn, args):
        monkeypatch.setattr("jaxhp.executors.worker.Site.answer", lambda *_: (_ for _ in ()).throw(ValueError("mine")))
        return call(worker, fn, args)

    search = shared("random")
    with pytest.raises(ValueError, match="mine") as caught:
        super(type(search), search).run(executor=Threads("a", meddle), quiet=True)
    assert "process" in "".join(caught.value.__notes__)
