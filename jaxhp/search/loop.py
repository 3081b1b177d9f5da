"""The search loop: ask, train, rank, record, tell; then the finals.

Everything that a round does follows from the seed and the ledger, so a search that was cut off is resumed by running
it again on its directory: finished rounds are told to the strategy as they were recorded, and the rest is trained.
"""

from __future__ import annotations

import resource
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.engine.determinism import on_host
from jaxhp.engine.local import Outcome, Progress, Rows
from jaxhp.engine.streams import Keys, key_of
from jaxhp.report.display import Display
from jaxhp.report.result import Result, table_rows
from jaxhp.search.definition import Definition
from jaxhp.search.durable import Durable
from jaxhp.search.finals import run_finals
from jaxhp.search.signals import Signals, Stopped
from jaxhp.store import Ledger, Round
from jaxhp.store.files import crash_point, write_json
from jaxhp.store.params import save
from jaxhp.strategies import include
from jaxhp.trials import Proposal, Status, Trial, higher_is_better, rank


class Run:
    """One run of a search over its ledger.

    Args:
      notes: lines to show before it starts.
      experiment: who started it, if that can be named to resume it.
    """

    def __init__(
        self,
        search: Definition,
        ledger: Ledger,
        signals: Signals,
        *,
        quiet: bool,
        checkpoint_s: float,
        notes: list[str],
        experiment: Mapping[str, Any] | None,
    ):
        self.search, self.ledger, self.notes = search, ledger, notes
        self.plan = search.plan()
        self.display = Display(self.plan.member_epochs, search.task.metric, quiet=quiet)
        self.work = Durable(
            search,
            ledger,
            checkpoint_s=checkpoint_s,
            signals=signals,
            resume=_how_to_resume(ledger.directory, experiment),
            note=self.display.note,
        )
        finished = (t for t in ledger.trials() if t.status is not Status.RUNNING)
        self.trials: dict[int, Trial] = {t.trial_id: t for t in finished}
        self.networks: dict[int, Any] = {}  # of the trials that may be chosen, as far as they were at hand
        self.began, self.earlier = time.perf_counter(), ledger.spent()

    def go(self) -> Result:
        """Runs what is left, and returns what was found."""
        search, ledger = self.search, self.ledger
        params = None
        if ledger.meta("finished") is None:
            try:
                with self.display:
                    for line in self.notes:
                        self.display.note(line)
                    params = self._run()
            except Stopped as stopped:
                ledger.record_spent(self._spent())
                print(stopped.message, file=sys.stderr)
                raise
        self.work.clear()
        result = Result(ledger, search.task.metric, search.task.mode, params)
        if ledger.directory is not None and (params is not None or not (ledger.directory / "summary.json").exists()):
            write_json(ledger.directory / "summary.json", self._summary(result))
            crash_point("summary written")
        return result

    def _run(self) -> Any:
        """Searches, and returns the chosen network."""
        search, ledger = self.search, self.ledger
        strategy: Any = search.strategy  # not every one has `recall`
        with on_host():
            key = key_of(jax.random.key(search.seed), Keys.CONFIGS, 0)
            state = strategy.init(key, search.space.dim, search.epochs)
            if len(search.recalled.score):
                state = strategy.recall(state, search.recalled.unit, search.recalled.score)
        units: dict[int, bytes] = {}
        for number, rung in enumerate(search.rungs):
            self.work.stop_if_asked()
            with on_host():
                proposal, state = search.strategy.ask(state)
                if number == 0 and len(search.included):
                    proposal = include(proposal, search.included)
            asked = self._identify(number, rung.epochs, proposal, units)
            recorded = ledger.round(number)
            if recorded is not None:
                asked = self._recorded(asked, recorded)
            units |= {int(i): point.tobytes() for i, point in zip(asked.trials, asked.unit, strict=True)}
            if asked.scores is None:
                asked = self._round(asked)
            else:
                self.work.rounds.append(asked)
                self.display.skip(rung.trials * rung.epochs * search.width)
            told = proposal._replace(unit=asked.unit, parent=asked.parent)
            assert asked.scores is not None
            with on_host():
                signed = jnp.asarray(higher_is_better(asked.scores, search.task.mode))
                state = search.strategy.tell(state, told, signed)
        if search.finals and ledger.meta("choice") is None:
            run_finals(search, search.finals, list(self.trials.values()), self.work, ledger, self.display)
        params = self._network()
        with ledger.transaction():
            ledger.set_meta("finished", "yes")
            ledger.event("finished")
        crash_point("search finished")
        return params

    def _identify(self, number: int, epochs: int, proposal: Proposal, units: Mapping[int, bytes]) -> Round:
        """The points as they are trained, and their trials: a slot that continues the same point is the same trial."""
        space = self.search.space
        previous = self.work.rounds[-1].trials if self.work.rounds else np.zeros(0, np.int32)
        unit = np.asarray(proposal.unit, np.float32).copy()
        parent = np.asarray(proposal.parent, np.int32)
        ids = np.empty(len(unit), np.int32)
        following = max(units, default=-1) + 1
        static = [i for i, p in enumerate(space.parameters.values()) if p.static]
        for slot in range(len(unit)):
            ancestor = int(previous[parent[slot]]) if parent[slot] >= 0 else None
            if ancestor is not None:  # weights fit only their own static group
                unit[slot, static] = np.frombuffer(units[ancestor], np.float32)[static]
            unit[slot] = space.unit(space.config(unit[slot]))
            if ancestor is not None and unit[slot].tobytes() == units[ancestor]:
                ids[slot] = ancestor
            else:
                ids[slot], following = following, following + 1
        return Round(number, epochs, unit, parent, ids)

    def _recorded(self, asked: Round, recorded: Round) -> Round:
        """What was recorded counts, also where the strategy would ask for something else by now."""
        same = all(np.array_equal(a, b) for a, b in zip(asked[1:5], recorded[1:5], strict=True))
        if not same:
            text = f"round {asked.number + 1}: other points are asked for now than were recorded; the recorded count"
            self.ledger.event("warning", text=text)
            self.display.note(text)
        return recorded

    def _round(self, asked: Round) -> Round:
        search, epochs, parent = self.search, asked.epochs, asked.parent
        before = self.work.rounds[-1] if self.work.rounds else None
        configs = search.space.configs(asked.unit)
        lineage = [int(before.trials[p]) if p >= 0 and before is not None else None for p in parent]
        start = np.where(parent >= 0, before.epochs if before is not None else 0, 0).astype(np.int32)
        drafts = [
            self.trials.get(int(i)) or Trial(int(i), config, asked.number, parent=None if ancestor == i else ancestor)
            for i, config, ancestor in zip(asked.trials, configs, lineage, strict=True)
        ]
        self.ledger.begin(asked, drafts)
        began = time.perf_counter()
        top = rank(self.trials.values(), search.task.mode)[:5]

        def progress(p: Progress) -> None:
            seen = [_scored(drafts[row], float(s), p.epoch) for row, s in zip(p.names, p.score, strict=True)]
            best = rank([*top, *rank(seen, search.task.mode)[:5]], search.task.mode)
            label = f"round {asked.number + 1}/{len(search.rungs)}"
            self.display.update(label, p.epoch, epochs, p.member_epochs, p.seconds, best)

        later = search.rungs[asked.number + 1 :]
        keep = bool(later) and later[0].epochs > epochs
        rows = Rows(configs, asked.trials, parent, start, np.arange(len(parent), dtype=np.int32))
        outcome = self.work.train(asked.number, rows, range(search.width), epochs, keep=keep, progress=progress)
        finished = [self._finished(draft, outcome, row, epochs) for row, draft in enumerate(drafts)]
        self.ledger.finish(asked.number, finished, outcome.score, time.perf_counter() - began, self._spent())
        self.trials |= {trial.trial_id: trial for trial in finished}
        asked = asked._replace(scores=outcome.score)
        self.work.finished(asked, keep=keep)
        self._keep_networks()
        return asked

    def _keep_networks(self) -> None:
        """Of the trials that are the best by now; what is not at hand can be trained again."""
        top = self.search.finals.top if self.search.finals else 1
        best = [t.trial_id for t in rank(self.trials.values(), self.search.task.mode)[:top]]
        kept = {i: self.networks[i] for i in best if i in self.networks}
        self.networks = kept | {i: self.work.variables(i) for i in best if self.work.held(i)}

    def _network(self) -> Any:
        """The chosen trial's, of its first replicate in the search; written to the run directory."""
        result = Result(self.ledger, self.search.task.metric, self.search.task.mode)
        best = result.best
        network = self.networks.get(best.trial_id)
        if network is None:
            network = self.work.variables(best.trial_id)
        if self.ledger.directory is not None:
            path = self.ledger.directory / "best.safetensors"
            save(path, network, trial_id=best.trial_id, config=best.config, epochs=best.epochs, replicate=0)
            crash_point("parameters written")
        return network

    def _finished(self, draft: Trial, outcome: Outcome, row: int, epochs: int) -> Trial:
        metrics = self.search.member(draft.config).shapes.metrics
        curve = {
            f"{part}_{name}": outcome.curve[row, :epochs, p, m]
            for p, part in enumerate(("train", "valid"))
            for m, name in enumerate(metrics)
        }
        diverged_at = int(outcome.diverged_at[row])
        status = Status.COMPLETE if epochs >= self.search.epochs else Status.STOPPED
        return Trial(
            trial_id=draft.trial_id,
            config=draft.config,
            round=draft.round,
            status=Status.DIVERGED if diverged_at else status,
            epochs=epochs,
            score=float(outcome.score[row]),
            stderr=float(outcome.stderr[row]),
            curve=curve,
            replicate_scores=tuple(outcome.replicate_scores[row].tolist()),
            diverged_at=diverged_at,
            parent=draft.parent,
        )

    def _cost(self) -> dict[str, float]:
        """Of this run, so far."""
        trainer = self.work.trainer
        populations = [group.population for group in trainer.groups.values()]
        return {
            "wall_s": time.perf_counter() - self.began,
            "compile_s": sum(p.compile_s for p in populations),
            "step_s": trainer.step_s,
            "compilations": sum(p.compilations for p in populations),
            "epochs_trained": trainer.member_epochs,
        }

    def _spent(self) -> dict[str, float]:
        """Of all runs; what one did after its last finished round before it was killed is not known."""
        now = self._cost() | {"runs": 1}
        return {name: self.earlier.get(name, 0) + value for name, value in now.items()}

    def _summary(self, result: Result) -> dict[str, Any]:
        """What the search cost, in this run, which finished it, and in the runs before."""
        plan, trainer = self.plan, self.work.trainer
        return self._cost() | {
            "earlier_runs": self.earlier,
            "members": len(result.trials) * self.search.width,
            "best": table_rows([result.best])[0],
            "digest": result.digest,
            "planned": {"flops": plan.flops, "seconds": plan.seconds, "peak_bytes": plan.peak_bytes},
            "measured": {
                "flops": trainer.member_epochs * max(group.epoch_flops for group in plan.groups),
                "seconds": trainer.step_s,
                "peak_bytes": _peak_bytes(self.search.devices),
            },
        }


def _how_to_resume(directory: Path | None, experiment: Mapping[str, Any] | None) -> str:
    if experiment:
        return f"stopped; everything so far is recorded. Go on with: jaxhp resume {shlex.quote(str(directory))}"
    script = sys.argv[0] if sys.argv and Path(sys.argv[0]).is_file() else ""
    again = f"python {shlex.join(sys.argv)}" if script else f"the same search, and run({str(directory)!r})"
    return f"stopped; everything so far is recorded. Go on with: {again}"


def _scored(trial: Trial, score: float, epochs: int) -> Trial:
    return Trial(trial.trial_id, trial.config, trial.round, epochs=epochs, score=score)


def _peak_bytes(devices: list[Any]) -> int:
    if devices[0].platform != "cpu":
        return int((devices[0].memory_stats() or {}).get("peak_bytes_in_use", 0)) * len(devices)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
