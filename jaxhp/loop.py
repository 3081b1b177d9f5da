"""The search loop: ask, train, rank, record, tell; then the finals.

Everything that a round does follows from the seed and the ledger, so a search that was cut off is resumed by running
it again on its directory: finished rounds are told to the strategy as they were recorded, and the rest is trained.
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.display import Display
from jaxhp.files import write_json
from jaxhp.finals import run_finals
from jaxhp.ranking import higher_is_better, rank
from jaxhp.result import Result, table_rows
from jaxhp.store import Ledger, Round
from jaxhp.training import Outcome, Progress, Rows, Trainer
from jaxhp.types import Proposal, Status, Trial

if TYPE_CHECKING:
    from jaxhp.search import Search

CONFIGS = 0  # the stream of random numbers that strategies draw from


class Run:
    """One run of a search over its ledger."""

    def __init__(self, search: Search, ledger: Ledger, manifest: dict[str, Any], quiet: bool):
        self.search, self.ledger, self.manifest = search, ledger, manifest
        self.plan = search.plan()
        self.trainer = Trainer(search._group, search.space.static, search.space.traced)
        self.display = Display(self.plan.member_epochs, search.task.metric, quiet=quiet)
        self.trials: dict[int, Trial] = {t.trial_id: t for t in ledger.trials() if t.status is not Status.RUNNING}

    def go(self) -> Result:
        search, began = self.search, time.perf_counter()
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(search.seed), CONFIGS), 0)
        state = search.strategy.init(key, search.space.dim, search.epochs)
        previous: np.ndarray | None = None  # trial ids of the last round, by slot
        units: dict[int, bytes] = {}
        with self.display:
            for number, rung in enumerate(search.rungs):
                proposal, state = search.strategy.ask(state)
                unit, ids = self._identify(proposal, previous, units)
                recorded = self.ledger.round(number)
                if recorded is None or recorded.scores is None:
                    scores = self._round(number, rung.epochs, unit, ids, np.asarray(proposal.parent), previous)
                else:
                    scores = recorded.scores
                    self.display.skip(rung.trials * rung.epochs * search.width)
                signed = higher_is_better(scores, search.task.mode)
                state = search.strategy.tell(state, proposal._replace(unit=unit), jnp.asarray(signed))
                previous = ids
            if search.finals and self.ledger.meta("choice") is None:
                run_finals(search, search.finals, list(self.trials.values()), self.trainer, self.ledger, self.display)
        result = Result(self.ledger, search.task.metric, search.task.mode)
        if self.ledger.directory is not None:
            write_json(self.ledger.directory / "summary.json", self._summary(result, time.perf_counter() - began))
        return result

    def _identify(self, proposal: Proposal, previous: np.ndarray | None, units: dict[int, bytes]):
        """Points as they are evaluated, f32[P, D], and trial ids i32[P]: a slot that continues the same point is the
        same trial."""
        space = self.search.space
        unit = np.asarray(proposal.unit, np.float32).copy()
        parent = np.asarray(proposal.parent)
        ids = np.empty(len(unit), np.int32)
        following = max(units, default=-1) + 1
        static = [i for i, p in enumerate(space.parameters.values()) if p.static]
        for slot in range(len(unit)):
            ancestor = int(previous[parent[slot]]) if parent[slot] >= 0 and previous is not None else None
            if ancestor is not None:  # weights fit only their own static group
                unit[slot, static] = np.frombuffer(units[ancestor], np.float32)[static]
            unit[slot] = space.unit(space.config(unit[slot]))
            if ancestor is not None and unit[slot].tobytes() == units[ancestor]:
                ids[slot] = ancestor
                continue
            ids[slot], following = following, following + 1
            units[int(ids[slot])] = unit[slot].tobytes()
        return unit, ids

    def _round(self, number: int, epochs: int, unit, ids, parent, previous) -> np.ndarray:
        search = self.search
        configs = search.space.configs(unit)
        lineage = [int(previous[p]) if p >= 0 and previous is not None else None for p in parent]
        held = set().union(*(group.place for group in self.trainer.groups.values()))
        start = np.zeros(len(ids), np.int32)
        for slot, p in enumerate(parent):
            ancestor = lineage[slot]
            if ancestor is None:
                continue
            if int(p) in held:
                start[slot] = self.trials[ancestor].epochs
            elif ancestor != ids[slot]:
                raise RuntimeError(f"trial {ids[slot]}: expected the weights of trial {ancestor} to be held")
        drafts = [
            self.trials.get(int(i)) or Trial(int(i), config, number, parent=None if ancestor == i else ancestor)
            for i, config, ancestor in zip(ids, configs, lineage, strict=True)
        ]
        self.ledger.begin(Round(number, epochs, unit, parent.astype(np.int32), ids), drafts)
        began = time.perf_counter()
        top = rank(self.trials.values(), search.task.mode)[:5]

        def progress(p: Progress) -> None:
            seen = [_scored(drafts[row], float(s), p.epoch) for row, s in zip(p.rows, p.score, strict=True)]
            best = rank([*top, *rank(seen, search.task.mode)[:5]], search.task.mode)
            label = f"round {number + 1}/{len(search.rungs)}"
            self.display.update(label, p.epoch, epochs, p.member_epochs, p.seconds, best)

        later = search.rungs[number + 1 :]
        outcome = self.trainer.train(
            Rows(configs, ids, parent, start),
            range(search.width),
            epochs,
            keep=bool(later) and later[0].epochs > epochs,
            progress=progress,
        )
        finished = [self._finished(draft, outcome, row, epochs) for row, draft in enumerate(drafts)]
        self.ledger.finish(number, finished, outcome.score, time.perf_counter() - began)
        self.trials |= {trial.trial_id: trial for trial in finished}
        return outcome.score

    def _finished(self, draft: Trial, outcome: Outcome, row: int, epochs: int) -> Trial:
        metrics = self.search._member(draft.config)[1].metrics
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

    def _summary(self, result: Result, wall_s: float) -> dict[str, Any]:
        populations = [group.population for group in self.trainer.groups.values()]
        return {
            "wall_s": wall_s,
            "compile_s": sum(p.compile_s for p in populations),
            "step_s": self.trainer.step_s,
            "compilations": sum(p.compilations for p in populations),
            "members": len(result.trials) * self.search.width,
            "epochs_trained": self.trainer.member_epochs,
            "best": table_rows([result.best])[0],
            "digest": result.digest,
            "planned": {"flops": self.plan.flops, "peak_bytes": max(g.peak_bytes for g in self.plan.groups)},
            "measured": {"peak_bytes": _peak_bytes(self.search.devices)},
        }


def _scored(trial: Trial, score: float, epochs: int) -> Trial:
    return Trial(trial.trial_id, trial.config, trial.round, epochs=epochs, score=score)


def _peak_bytes(devices: list[Any]) -> int:
    if devices[0].platform != "cpu":
        return int((devices[0].memory_stats() or {}).get("peak_bytes_in_use", 0)) * len(devices)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
