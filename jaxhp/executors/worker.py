"""What a worker does: one order of one search at a time. It knows no ledger, and nobody but the store and its caller.

Between orders a process keeps the search (its programs, its data on the devices) and the members it trained, in its
memory up to a tenth of what is free.
"""

from __future__ import annotations

import math
import os
import pickle
import socket
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

import jax
import numpy as np

from jaxhp.engine.environment import environment
from jaxhp.engine.events import Event, Progressed
from jaxhp.engine.layout import tiles_needed
from jaxhp.engine.local import Local
from jaxhp.engine.plan import plan_group
from jaxhp.engine.population import Capacity, Population, compile
from jaxhp.engine.runtime import setup
from jaxhp.engine.sizes import host_memory_limit, member_bytes
from jaxhp.engine.spec import Spec
from jaxhp.engine.work import Members, Outcome, Snapshot
from jaxhp.executors.described import Described, described
from jaxhp.executors.hiring import unlike
from jaxhp.executors.member_store import Damaged, MemberStore
from jaxhp.executors.orders import (
    Address,
    Answer,
    Answered,
    Failed,
    Hand,
    Missing,
    Name,
    Order,
    Rank,
    Refused,
    Show,
    Train,
    Trained,
    Who,
)
from jaxhp.executors.ranking import ranked
from jaxhp.executors.recipe import Recipe
from jaxhp.executors.shipping import import_from, unpacked
from jaxhp.executors.units import Apart, Raw, Unit
from jaxhp.trials import Rung
from jaxhp.values import Json

Rows = list[tuple[Name, list[np.ndarray]]]

_KEPT = 0.1  # of the memory that is free, that members may fill
_PUT_S = 1e-8  # seconds a byte, before it is known
_SHARE = 20  # putting members into the store may take a twentieth of the time

_lock = threading.Lock()  # several threads of one process may be asked
_sites: dict[tuple[str, str], Site] = {}  # of the search that this process trains for


def work(place: Address, order: Order) -> Answer:
    """Do what is asked for; raises nothing of the task's, and nothing that another worker would not raise too."""
    with _lock:
        setup()
        who = _who()
        if other := unlike(place.environment, environment(jax.local_devices())):
            return Refused(other, who)
        key = place.store, place.recipe
        try:
            if key not in _sites:
                _sites.clear()  # of the search before
                import_from(place.folder)
                _sites[key] = Site(place.store, place.recipe)
            return _sites[key].answer(order, who)
        except Damaged as error:
            why = f"expected the search in {place.store}, which all workers must see: {error}"
            return Refused(why, who, blind=True)
        except Exception as error:  # whatever a function of the task raises
            return Failed(_as_bytes(error), "".join(traceback.format_exception(error)), who)


def describe() -> tuple[Who, list[Described], Json]:
    """Say who this process is, what its devices are, and where it runs."""
    with _lock:
        setup()
        devices = jax.local_devices()
        return _who(), described(devices), environment(devices)


class Site:
    """What a process keeps of one search.

    Args:
      store: the URL of the members' store.
      recipe: the digest of the search there.
    """

    def __init__(self, store: str, recipe: str):
        self._store = MemberStore(store)
        self._recipe: Recipe = unpacked(self._store.get_blob(recipe), self._store.open_array)
        self._locals: dict[str, Local] = {}
        self._standing: dict[str, tuple[int, ...]] = {}  # replicates of what each of these holds
        self._kept = Kept(int(_KEPT * host_memory_limit()))
        self._put_s = _PUT_S

    def answer(self, order: Order, who: Who) -> Answer:
        """Do what is asked for."""
        try:
            match order:
                case Train():
                    return self._trained(order, who)
                case Hand():
                    rows = self._in_memory(order.key, order.names, order.replicates)
                    digests, _, sent = self._put(order.key, rows, order.replicates, anew=True)
                    return Answered(digests, sent, who)
                case Show():
                    given = {} if order.given is None else {order.name: order.given}
                    self._hold(order.key, [order.name], order.replicates, given)
                    shown = self._local(order.key).variables(*order.name, order.config)
                    return Answered(jax.tree.leaves(shown), 0, who)  # classes of a script cannot be sent back
                case Rank(rows):
                    return Answered([self._ranked(one) for one in rows], 0, who)
        except _Absent as absent:
            return Missing(absent.names, absent.why, who)

    def _ranked(self, rows: Apart) -> Outcome:
        return ranked(self._recipe.specs[rows.key], self._recipe.epoch, rows.raw, rows.stop)

    def _local(self, key: str) -> Local:
        if key not in self._locals:
            spec = self._recipe.specs[key]
            self._locals[key] = Local(lambda _: spec, self._population, lambda _: None)
        return self._locals[key]

    def _population(self, spec: Spec, at_most: int | None) -> Population:
        """Compile a group for as many rows at once as fit."""
        recipe, devices = self._recipe, jax.local_devices()
        tile, epochs, together = recipe.tiles[spec.key], recipe.epochs, recipe.together
        rungs = (Rung(min(recipe.rows[spec.key], at_most or 2**30), epochs),)
        planned = plan_group(
            spec, tile=tile, rungs=rungs, replicates=together, epochs=epochs, devices=devices, memory=recipe.memory
        )
        tiles = tiles_needed(planned.rows, together, tile)
        return compile(
            spec,
            Capacity(tile, tiles, planned.rows, recipe.replicates, epochs),
            seed=recipe.seed,
            paired=recipe.paired,
            folds=recipe.foldings.get(spec.key),
            epoch=recipe.epoch,
            devices=devices[:tiles],
        )

    def _trained(self, order: Train, who: Who) -> Trained:
        unit, local = order.unit, self._local(order.unit.key)
        before = local.cost()
        brought, ran = self._run(order, local)
        members = ran.snapshot.members.get(unit.key, Members(np.zeros(0, int), np.zeros(0, int), []))
        rows = [(name, [leaf[row] for leaf in members.leaves]) for row, name in enumerate(members.names())]
        if not unit.job.outcomes:
            self._kept.add({(unit.key, name, unit.replicates): leaves for name, leaves in rows})
        put = order.put or ran.outcome is None
        digests, differing, sent = self._put(unit.key, rows, unit.replicates) if put else ({}, [], 0)
        return Trained(
            reached=unit.job.stop if ran.outcome is not None else ran.shown.epoch,
            outcome=ran.outcome,
            raw=_raw(unit, members) if order.raw and ran.outcome is not None else None,
            score=ran.shown.score,
            curve=np.asarray(ran.shown.curve)[: len(unit.rows)],
            digests=digests,
            brought=brought,
            sent=sent,
            cost=local.cost().plus(before, -1),
            who=who,
            differing=tuple(differing),
        )

    def _run(self, order: Train, local: Local) -> tuple[int, _Ran]:
        """Train until the unit's end or until it is enough, with fewer rows at once where the memory is too small."""
        unit = order.unit
        job = unit.job._replace(keep=unit.job.keep or order.put or order.raw)
        names = [(int(trial), int(start)) for trial, start in zip(job.origin, job.start, strict=True) if start > 0]
        brought = 0
        while True:
            brought += self._hold(unit.key, names, unit.replicates, order.given)
            self._standing.pop(unit.key, None)  # until it is trained
            watch = _Watch(local, len(job.trials), job.stop, self._enough_s(order))
            try:
                outcome = local.train(job, watch)
                self._standing[unit.key] = unit.replicates
                assert watch.shown is not None
                return brought, _Ran(outcome, local.save(), watch.shown)
            except _Enough as enough:
                local.forget()
                assert watch.shown is not None
                return brought, _Ran(None, enough.snapshot, watch.shown)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or local.shrink() is None:
                    raise

    def _enough_s(self, order: Train) -> float:
        """Return the seconds after which it is enough: many, where putting members into the store takes long."""
        job, shapes = order.unit.job, self._recipe.specs[order.unit.key].shapes
        if job.read is not None:  # whose rows are read on the way
            return math.inf
        size = len(job.trials) * len(job.replicates) * member_bytes(shapes, self._recipe.epochs)
        return max(order.seconds, _SHARE * size * self._put_s)

    def _hold(
        self, key: str, names: Sequence[Name], replicates: tuple[int, ...], given: Mapping[Name, list[np.ndarray]]
    ) -> int:
        """Have a group's executor hold these members; return the bytes that came from the store for that."""
        local = self._local(key)
        wanted = dict.fromkeys(names)
        if not wanted:
            return 0
        there = all(local.has(np.asarray([trial]), epoch).all() for trial, epoch in wanted)
        if there and self._standing.get(key) == replicates:
            return 0
        local.forget()
        found, brought, absent = [], 0, []
        for name in wanted:
            leaves = given.get(name) or self._kept.get((key, name, replicates))
            if leaves is None:
                try:
                    leaves = self._store.get(key, *name, replicates)
                except Damaged as error:
                    absent.append((name, str(error)))
                    continue
                brought += sum(leaf.nbytes for leaf in leaves)
            found.append(leaves)
        if absent:
            raise _Absent([name for name, _ in absent], absent[0][1])
        trial, epoch = np.asarray([*wanted], np.int32).T
        stacked = [np.stack(leaf) for leaf in zip(*found, strict=True)]
        local.load(Snapshot({key: Members(trial, epoch, stacked)}), [self._recipe.specs[key].static])
        self._standing[key] = replicates
        return brought

    def _in_memory(self, key: str, names: Sequence[Name], replicates: tuple[int, ...]) -> Rows:
        found = [(name, self._kept.get((key, name, replicates))) for name in names]
        for name, leaves in found:
            if leaves is None:
                raise _Absent([name], "no longer in the worker's memory")
        return [(name, leaves) for name, leaves in found if leaves is not None]

    def _put(
        self, key: str, rows: Rows, replicates: tuple[int, ...], *, anew: bool = False
    ) -> tuple[dict[Name, str], list[Name], int]:
        """Put members into the store; return their digests, those that others are there of, and how many bytes."""
        began, differing = time.perf_counter(), []
        digests = {}
        for name, leaves in rows:
            digests[name], there = self._store.put(key, *name, leaves, replicates, anew=anew)
            differing += [name] * (there != digests[name])
        sent = sum(leaf.nbytes for _, leaves in rows for leaf in leaves)
        if sent:
            self._put_s = (time.perf_counter() - began) / sent
        return digests, differing, sent


class Kept:
    """Members in memory, the last ones, up to so many bytes.

    Args:
      most: bytes.
    """

    def __init__(self, most: int):
        self._most, self._bytes = most, 0
        self._found: OrderedDict[tuple[str, Name, tuple[int, ...]], list[np.ndarray]] = OrderedDict()

    def add(self, members: dict[tuple[str, Name, tuple[int, ...]], list[np.ndarray]]) -> None:
        """Keep these too, in the place of the oldest."""
        for key, leaves in members.items():
            self._bytes -= sum(leaf.nbytes for leaf in self._found.pop(key, []))
            self._found[key] = leaves
            self._bytes += sum(leaf.nbytes for leaf in leaves)
        while self._bytes > self._most:
            self._bytes -= sum(leaf.nbytes for leaf in self._found.popitem(last=False)[1])

    def get(self, key: tuple[str, Name, tuple[int, ...]]) -> list[np.ndarray] | None:
        """Return a member's leaves, [R, ...] each; None where it is not kept."""
        return self._found.get(key)


class _Ran(NamedTuple):
    outcome: Outcome | None  # None where it was enough before the end
    snapshot: Snapshot
    shown: Progressed


class _Enough(Exception):
    """It is time to put what is trained into the store."""

    def __init__(self, snapshot: Snapshot):
        self.snapshot = snapshot


class _Absent(Exception):
    """Members are not here."""

    def __init__(self, names: list[Name], why: str):
        self.names, self.why = names, why


class _Watch:
    """Observes a unit's training, and ends it after so many seconds.

    Args:
      local: trains it.
      rows: of the unit; where they are trained in waves, it goes on to its end.
      stop: the epoch where it ends.
      seconds: of training.
    """

    def __init__(self, local: Local, rows: int, stop: int, seconds: float):
        self._local, self._rows, self._stop, self._left = local, rows, stop, seconds
        self.shown: Progressed | None = None

    def __call__(self, event: Event) -> None:
        """See `Observer`."""
        if not isinstance(event, Progressed):
            return
        self.shown = event
        self._left -= event.seconds
        if self._left <= 0 and event.epoch < self._stop and len(event.trials) == self._rows:
            raise _Enough(self._local.save())


def _who() -> Who:
    return Who(socket.gethostname(), os.getpid(), jax.local_device_count())


def _raw(unit: Unit, members: Members) -> Raw:
    """Return what is known of each member of a unit, row by row."""
    place = {trial: row for row, (trial, _) in enumerate(members.names())}
    rows = [place[int(trial)] for trial in unit.job.trials]
    return Raw(*(leaf[rows] for leaf in members.leaves[-3:]))


def _as_bytes(error: Exception) -> bytes:
    """Return an error as bytes, none where it does not bear it."""
    try:
        content = import_module("cloudpickle").dumps(error)
        pickle.loads(content)
    except Exception:  # whatever an error of the user's makes a pickler raise
        return b""
    return content
