"""The composition root: a search's ledger, checkpoints, durable executor and observers are made, wired and run here.

What a search brings is its `Wiring`, with the executor that does the work; `Search._wire` makes that one.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.events import (
    Event,
    Noted,
    Observer,
    SearchBegan,
    SearchFinished,
    Shrunk,
    StopAsked,
    Stored,
    Warned,
)
from jaxhp.engine.plan import Plan
from jaxhp.engine.runtime import Device, host_peak_bytes
from jaxhp.engine.work import Emit, Executor
from jaxhp.objectives import Objectives
from jaxhp.report.display import Display
from jaxhp.report.front_line import FrontLine
from jaxhp.report.result import Result
from jaxhp.report.retrainer import Retrainer
from jaxhp.report.rows import table_rows
from jaxhp.report.stage import NO_FINALS, RUNGS
from jaxhp.search.best import Best
from jaxhp.search.durable import Durable
from jaxhp.search.enough import Ending, Pace, Until
from jaxhp.search.extension import Request, limit_of
from jaxhp.search.finals import Setting, run_finals
from jaxhp.search.lineage import Lineage
from jaxhp.search.loop import Course, run_rounds
from jaxhp.search.manifest import claim, is_other, recorded, trained
from jaxhp.search.signals import Signals, Stopped, at_a_prompt
from jaxhp.search.stopping import with_finished
from jaxhp.search.time_left import TimeLeft
from jaxhp.search.watching import guarded, read_only, told, unrepeated, warning
from jaxhp.store.checkpoints import Checkpoints
from jaxhp.store.files import write_json
from jaxhp.store.ledger import Ledger
from jaxhp.store.ours import NETWORK, SUMMARY, refuse_foreign
from jaxhp.store.params import save
from jaxhp.trials import Status, Trials
from jaxhp.values import Config, Json

_ID = "id"  # the name under which the ledger keeps what tells a search from all others


class Wiring(NamedTuple):
    """What a search brings to be run."""

    course: Course
    finals: Setting | None
    executor: Executor
    devices: Sequence[Device]
    plan: Plan
    manifest: Json
    metric: str
    objectives: Objectives
    retrainer: Retrainer  # what a result has its task for
    like: Callable[[Config], PyTree]  # shapes of what the task's `init` makes of a config
    no_finals: str  # why there are none; "" where there are
    request: Request
    folds: int  # 1 without folds
    parent: str | None  # directory of the search whose trials it learns from
    ended_after: Callable[[int], Wiring]  # the same without the rounds after so many of its schedule
    warnings: Sequence[str] = ()  # for a person, before it starts
    notes: Sequence[str] = ()


def run_search(
    dir: str | Path | None,
    wire: Callable[[Json, str, Emit], Wiring],
    *,
    until: Until,
    grow: Callable[[Ledger, Wiring, Emit], Wiring] | None,
    quiet: bool,
    accept_environment: bool,
    checkpoint_s: float,
    experiment: Json | None,
    watch: Sequence[Observer],
) -> Result:
    """Run a search, or what is left of it; see `Search.run`.

    Args:
      wire: makes the wiring, from the manifest that the directory was begun with, {} for a new one, from the search's
        id, and from what tells all observers.
      until: when to end early.
      grow: makes the directory that of a larger search, and the wiring of that; None: it stays as it is.
    """
    began = time.perf_counter()
    observers, failures = guarded(watch)
    emit = unrepeated(told(observers))
    with (
        Signals(listen=dir is not None) as signals,
        Ledger(dir, write=True, stored=lambda what: emit(Stored(what))) as ledger,
    ):
        of = _claimed(ledger, wire, grow, experiment, accept_environment, emit)
        pace = Pace(of.plan, of.course.members, time.perf_counter, began)
        left = TimeLeft(of.plan, of.course.members, pace.elapsed, _parts_of_finals(of), until.seconds)
        display = Display(
            of.plan.member_epochs, of.metric, of.course.mode, epochs=of.course.epochs, speed=left, quiet=quiet
        )
        front = FrontLine(of.objectives, display.note)
        observers[:0] = [partial(_record, ledger), pace.observe, left.observe, display.observe, front.observe]
        lineage = Lineage(of.course.space, of.course.allows, of.course.included.exact)
        checkpoints = Checkpoints(ledger) if ledger.directory is not None else None
        executor = Durable(
            of.executor,
            lineage,
            checkpoints,
            checkpoint_s=checkpoint_s,
            replicates=of.course.members,
            signals=signals,
            resume=_how_to_resume(ledger.directory, of.manifest.get("experiment")),
            emit=emit,
        )
        account = _Account(executor, ledger)
        networks = Best(executor, lineage, of.course.mode, of.finals.finals.top if of.finals else 1)
        ending = Ending(until, of, pace, ledger, emit)
        observers += [executor.observe, networks.observe, warning(failures, emit)]
        params = None
        try:
            with display:
                emit(_began(ledger, of.manifest))
                if ledger.meta("finished") is None:
                    _declare(of, ledger)
                    _say_first(of.notes, of.warnings, ledger, emit)
                    of, params = _train(of, ledger, lineage, executor, account, networks, ending, emit)
        except (Stopped, KeyboardInterrupt) as cause:
            ledger.record_spent(account.spent())
            raise with_finished(cause, ledger, len(of.course.rungs), partial(_so_far, of, ledger, networks)) from None
        if checkpoints is not None:
            checkpoints.clear()
        result = _result(of, ledger, params)
        _summarize(of, account, ledger, result, anew=params is not None)
        emit(_ended(result))
        return result


def _parts_of_finals(of: Wiring) -> list[int]:
    """Return the fresh replicates of each part of the finals, after which finalists may be given up; [] for one."""
    if of.finals is None or of.finals.several:
        return []
    rounds, estimating = of.finals.finals.blocks(of.folds)
    return [*rounds, estimating]


def _claimed(
    ledger: Ledger,
    wire: Callable[[Json, str, Emit], Wiring],
    grow: Callable[[Ledger, Wiring, Emit], Wiring] | None,
    experiment: Json | None,
    accept_environment: bool,
    emit: Emit,
) -> Wiring:
    """Make the directory this search's, or a larger one's.

    Returns:
      what is run, with the rounds that it has; its manifest names who started it.
    """
    before = recorded(ledger) or {}
    of = wire(before, identity(ledger), emit)
    if before and is_other(before, of.manifest) and not trained(ledger):  # most often one with a fault, now mended
        before, of = {}, wire({}, identity(ledger), emit)
    manifest = {**of.manifest} | ({"experiment": dict(experiment)} if experiment else {})
    notes = claim(ledger, manifest, accept_environment=accept_environment, parent=of.parent)
    of = of if grow is None else grow(ledger, of, emit)
    limit = limit_of(ledger)
    of = of if limit is None else of.ended_after(limit)
    known = experiment or before.get("experiment")
    manifest = {**of.manifest} | ({"experiment": dict(known)} if known else {})
    return of._replace(manifest=manifest, notes=[*notes, *of.notes])


def _result(of: Wiring, ledger: Ledger, params: PyTree[np.ndarray] | None) -> Result:
    course = of.course
    known = {"space": course.space, "retrainer": of.retrainer, "budget": course.epochs, "epoch": course.epoch}
    known |= {"objectives": of.objectives, "strategy": of.manifest["strategy"]}
    return Result.of(ledger, of.metric, course.mode, params, like=of.like, **known)


def _so_far(of: Wiring, ledger: Ledger, networks: Best) -> Result:
    """Return the result of the rounds that are finished, with the network of the best where it is at hand."""
    return _result(of, ledger, networks.at_hand(_result(of, ledger, None).best))


def _say_first(notes: Sequence[str], warnings: Sequence[str], ledger: Ledger, emit: Observer) -> None:
    """Say what a person should know before it starts; warnings stand once in the record, and on every screen."""
    for text in notes:
        emit(Noted(text))
    for text in warnings:
        emit(Warned(text) if ledger.round(0) is None else Noted(text))


def _train(
    of: Wiring,
    ledger: Ledger,
    lineage: Lineage,
    executor: Durable,
    account: _Account,
    networks: Best,
    ending: Ending,
    emit: Observer,
) -> tuple[Wiring, PyTree[np.ndarray] | None]:
    """Run rounds and finals.

    Returns:
      what was run, with as many rounds as there were; and the chosen network, which is written to the run directory,
      None if all diverged.
    """
    refuse_foreign(ledger.directory)
    executor.stop_if_asked()
    run_rounds(of.course, ledger, lineage, executor, account.spent, emit, ending.enough)
    if len(lineage.rounds) < len(of.course.rungs):
        of = of.ended_after(len(lineage.rounds))
        _declare(of, ledger)
    if of.finals and ledger.meta("choice") is None:
        run_finals(of.finals, ledger.trials(), executor, ledger, emit, executor.stop_if_asked)
    course = of.course
    result = Result.of(ledger, of.metric, course.mode, curves=False, epoch=course.epoch, objectives=of.objectives)
    best = result.best
    network, sha256 = networks.of(best) if result.ruin is None else None, None
    if ledger.directory is not None and network is not None:
        ledger.check_held()
        refuse_foreign(ledger.directory)
        facts = {"trial_id": best.trial_id, "config": best.config, "epochs": best.scored_at, "replicate": 0}
        sha256 = save(ledger.directory / NETWORK, network, **facts, search=ledger.meta("manifest"))
        ledger.stored("parameters written")
    networks.keep()
    with ledger.transaction():
        if sha256 is not None:
            ledger.set_meta("network", sha256)
        ledger.set_meta("finished", "yes")
        ledger.event("finished")
    ledger.stored("search finished")
    return of, network


class _Account:
    """What this run, and all runs of the search, have cost."""

    def __init__(self, executor: Durable, ledger: Ledger):
        self._executor, self._began, self.earlier = executor, time.perf_counter(), ledger.spent()

    def cost(self) -> dict[str, float]:
        """Return what this run has cost so far."""
        return {"wall_s": time.perf_counter() - self._began} | self._executor.cost()._asdict()

    def spent(self) -> dict[str, float]:
        """Return what all runs have; what one did after its last finished round before it was killed is not known."""
        now = self.cost() | {"runs": 1}
        return {name: self.earlier.get(name, 0) + value for name, value in now.items()}


def _began(ledger: Ledger, manifest: Json) -> SearchBegan:
    """Return how a run begins."""
    return SearchBegan(_finished(ledger.trials()), identity(ledger), ledger.directory, manifest)


def identity(ledger: Ledger) -> str:
    """Return what tells a search from all others; it is made in the first run."""
    if ledger.meta(_ID) is None:
        ledger.set_meta(_ID, uuid.uuid4().hex)
    return ledger.meta(_ID) or ""


def _ended(result: Result) -> SearchFinished:
    """Return how a run ends, with a result of the observers' own."""
    own = {name: read_only(getattr(result, name)) for name in ("trials", "front", "finals")}
    return SearchFinished(replace(result, **own))


def _declare(of: Wiring, ledger: Ledger) -> None:
    """Record what whoever reads an unfinished search cannot know otherwise: its rounds, and why it has no finals."""
    for name, text in ((RUNGS, json.dumps(of.course.rungs)), (NO_FINALS, of.no_finals)):
        if ledger.meta(name) != text:
            ledger.set_meta(name, text)


def _finished(trials: Trials) -> Trials:
    return trials[~trials.having(Status.RUNNING)]


def _record(ledger: Ledger, event: Event) -> None:
    """Write what the ledger keeps of an event."""
    if isinstance(event, Warned):
        ledger.event("warning", text=event.text)
    elif isinstance(event, StopAsked):
        ledger.event("stopped", signal=event.signal)
    elif isinstance(event, Shrunk):
        ledger.event("out of memory", **event._asdict())


def _summarize(of: Wiring, account: _Account, ledger: Ledger, result: Result, *, anew: bool) -> None:
    """Write what the search cost, where this run finished it or it is not written yet."""
    if ledger.directory is not None and (anew or not (ledger.directory / SUMMARY).exists()):
        ledger.check_held()
        refuse_foreign(ledger.directory)
        write_json(ledger.directory / SUMMARY, _summary(of, account, result))
        ledger.stored("summary written")


def _summary(of: Wiring, account: _Account, result: Result) -> Json:
    """Return what the search cost, in this run, which finished it, and in the runs before."""
    cost = account.cost()
    return cost | {
        "earlier_runs": account.earlier,
        "members": len(result.trials) * of.course.members,
        "best": table_rows([result.best])[0],
        "digest": result.digest,
        "planned": {"flops": of.plan.flops, "seconds": of.plan.seconds, "peak_bytes": of.plan.peak_bytes}
        | ({"workers": of.plan.workers, "moved_bytes": of.plan.moved_bytes} if of.plan.workers else {}),
        "measured": {
            "flops": cost["slot_epochs"] * of.plan.flops / of.plan.slot_epochs,
            "seconds": cost["step_s"],
            "peak_bytes": _peak_bytes(of.devices),
        },
    }


def _how_to_resume(directory: Path | None, experiment: Json | None) -> str:
    if experiment:
        return f"stopped; everything so far is recorded. Go on with: jaxhp resume {shlex.quote(str(directory))}"
    script = not at_a_prompt() and sys.argv and Path(sys.argv[0]).is_file()
    again = f"python {shlex.join(sys.argv)}" if script else f"the same search, and run({str(directory)!r})"
    return f"stopped; everything so far is recorded. Go on with: {again}"


def _peak_bytes(devices: Sequence[Device]) -> int | None:
    if devices[0].platform != "cpu":
        return int((devices[0].memory_stats() or {}).get("peak_bytes_in_use", 0)) * len(devices)
    return host_peak_bytes()
