"""An Optuna study as a strategy: Optuna's sampler asks for batches, its pruner says which trials train on.

The study is the state. What it is asked and told is written to it at once, so that it may live in a database, be
shared with others, and be gone on with; its trials are always what was trained. A strategy of jaxhp is a pure function
of its state otherwise; this one is as reproducible as its study: a new study whose sampler has a seed gives the same
search, bit for bit.

A study hears of every epoch, for all trials of a batch in step: values are reported from epoch 1, and the pruner is
asked after each. Those that it would prune end at the next rung. At its end a trial is COMPLETE, PRUNED or, where it
diverged, FAIL, with its learning curve as intermediate values.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from jaxtyping import PRNGKeyArray
from optuna.trial import FrozenTrial, TrialState

from jaxhp.interop.optuna_spaces import check, config_of, of_config, params, space, suggested
from jaxhp.objectives import Objectives
from jaxhp.space import Space
from jaxhp.store.files import located
from jaxhp.strategies.sampler import fresh, positive
from jaxhp.trials import STATUSES, Proposal, Rung, Status, Trials
from jaxhp.values import Config, Error, check_int

_MINE = "jaxhp.search"  # attribute of a trial: whose search it is of, round and row; of a study: directory to search
_WORDS = {"max": "maximize", "min": "minimize"}


class StudyState(NamedTuple):
    """Where a search stands in its study."""

    search: str  # the name of its trials
    epochs: int  # of a full training
    round: int = 0  # asked for
    unit: np.ndarray = np.zeros((0, 1), np.float32)  # f32[P, D], of the last round, as asked for or as trained
    trials: tuple[optuna.Trial, ...] = ()  # of its rows
    alive: np.ndarray = np.zeros(0, bool)  # bool[P], whether each may train on


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Let an Optuna study propose: `hp.Search(task, space, hp.optuna.Study(study, population=64, rounds=4))`.

    Attributes:
      study: whose sampler and pruner decide. Its directions have to be the modes of the task's objectives.
      population: trials asked for at once.
      rounds: how many times.
      rungs: the epochs, ascending, at which trials that the pruner has given up end; the full training is the last one
        in any case. None: its half, its quarter and so on; or none, where nothing is pruned: with a `NopPruner`, or of
        several objectives, where Optuna does not prune.
      search: the name under which the study knows this search's trials. A search of a name that it knows goes on with
        them; None: a new one for every run.
      space: whose parameters Optuna is asked for; that of the search, which sets it.
      objectives: likewise.
    """

    study: optuna.Study
    population: int = 64
    rounds: int = 4
    rungs: Sequence[int] | None = None
    search: str | None = None
    space: Space | None = field(default=None, kw_only=True)
    objectives: Objectives | None = field(default=None, kw_only=True)

    def __post_init__(self):
        if not isinstance(self.study, optuna.Study):
            raise Error(f"study: expected an optuna.Study, got {self.study!r:.80}")
        for name in ("population", "rounds"):
            object.__setattr__(self, name, positive(self, name, getattr(self, name)))
        if self.rungs is not None:
            if isinstance(self.rungs, str) or not isinstance(self.rungs, Sequence):
                raise Error(f"Study rungs: expected epochs, got {self.rungs!r}")
            rungs = tuple(check_int("Study rungs", epochs, 1) for epochs in self.rungs)
            if list(rungs) != sorted(set(rungs)):
                raise Error(f"Study rungs: expected ascending epochs, got {self.rungs!r}")
            object.__setattr__(self, "rungs", rungs)

    def __repr__(self) -> str:
        shown = f"{type(self.study.sampler).__name__}, {type(self.study.pruner).__name__}"
        return f"Study({shown}, population={self.population}, rounds={self.rounds}, rungs={self.rungs})"

    def fitted(self, space: Space, objectives: Objectives) -> Study:
        """Return the same for the space and the objectives of a search.

        Raises:
          Error: the study's directions are others, or Optuna has no distribution for a parameter.
        """
        directions = [direction.name.lower() for direction in self.study.directions]
        expected = [_WORDS[mode] for mode in objectives.modes]
        if directions != expected:
            wanted = ", ".join(f"{d} for {n}" for d, n in zip(expected, objectives.names, strict=True))
            raise Error(f"study: expected the directions of the task ({wanted}), got {', '.join(directions)}")
        check(space)
        return replace(self, space=space, objectives=objectives)

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """Plan the asks: the rungs of every round. Fewer trials than planned reach the later ones.

        Raises:
          Error: a rung is beyond the full training.
        """
        return tuple(Rung(self.population, stop) for stop in self._stops(epochs)) * self.rounds

    def _stops(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs of each rung of a round, ascending; the last is the full training."""
        if self.rungs is None:
            if len(self.study.directions) > 1 or isinstance(self.study.pruner, optuna.pruners.NopPruner):
                return (epochs,)
            halves = [epochs >> k for k in range(epochs.bit_length())]
            return tuple(sorted(set(halves)))
        if self.rungs and self.rungs[-1] > epochs:
            raise Error(f"Study rungs: expected at most {epochs} epochs, the full training, got {self.rungs}")
        return tuple(sorted({*self.rungs, epochs}))

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> StudyState:
        """Make the state before the first ask. Optuna's sampler has a seed of its own: the key plays no part."""
        return StudyState(self.search or uuid.uuid4().hex, epochs)

    def ask(self, state: StudyState) -> tuple[Proposal, StudyState]:
        """Ask the study for a batch; between the rungs of a round, propose those that are left of it."""
        if self.space is None:
            raise Error("strategy: expected a Study with a space, as a Search makes it, got one without")
        stops = self._stops(state.epochs)
        number, step = divmod(state.round, len(stops))
        if step:
            rows = np.flatnonzero(state.alive)
            unit, trials, parent = state.unit[rows], tuple(state.trials[row] for row in rows), rows.astype(np.int32)
        else:
            trials = tuple(self._asked(self.space, state.search, number))
            unit = np.stack([self.space.unit(config_of(self.space, trial.params)) for trial in trials])
            parent = fresh(self.population)
        after = state._replace(round=state.round + 1, unit=unit, trials=trials, alive=np.ones(len(unit), bool))
        return Proposal(unit, parent, stops[step]), after

    def tell(self, state: StudyState, proposal: Proposal, scores: Any) -> StudyState:
        """Refuse: a study wants whole trials; see `tell_trials`."""
        raise Error("strategy: expected a search that tells whole trials to a Study, got scores")

    def tell_trials(self, state: StudyState, proposal: Proposal, trials: Trials) -> StudyState:
        """Report what was measured, ask the pruner, and finish the trials that are at their end.

        What is told already, by a run that was cut off, is not told again.

        Args:
          state: past the ask for the proposal.
          proposal: its P points, as they were trained.
          trials: of its rows.
        """
        stops = self._stops(state.epochs)
        number, step = divmod(state.round - 1, len(stops))
        last = step + 1 == len(stops)
        unit = np.asarray(proposal.unit)
        rows = self._as_trained(state, number, step, unit, trials)
        records = self.study.get_trials(deepcopy=False)
        known = [records[trial.number] for trial in rows]
        pruned = self._reported(rows, known, trials, stops[step], ask=not last)
        alive = np.zeros(len(unit), bool)
        for row, (trial, before) in enumerate(zip(rows, known, strict=True)):
            diverged = trials.status[row] == STATUSES.index(Status.DIVERGED)
            if before.state.is_finished():
                further = before.state is not TrialState.PRUNED or (before.last_step or 0) > stops[step]
                alive[row] = further and not diverged and not last
            elif diverged or pruned[row] or last:
                self._finish(trial, trials, row, TrialState.PRUNED if pruned[row] else TrialState.COMPLETE)
            else:
                alive[row] = True
        return state._replace(unit=unit, trials=tuple(rows), alive=alive)

    def _asked(self, space: Space, search: str, number: int) -> list[optuna.Trial]:
        """Return the trials of a round: those that the study has, and new ones."""
        found = {}
        for trial in self.study.get_trials(deepcopy=False):
            mine = trial.user_attrs.get(_MINE)
            if mine and mine[:2] == [search, number]:
                found[mine[2]] = optuna.trial.Trial(self.study, trial._trial_id)
        for row in range(self.population):
            if row not in found:
                found[row] = trial = self.study.ask()
                suggested(trial, space)
                trial.set_user_attr(_MINE, [search, number, row])
        return [found[row] for row in range(self.population)]

    def _as_trained(
        self, state: StudyState, number: int, step: int, unit: np.ndarray, trials: Trials
    ) -> list[optuna.Trial]:
        """Return the trial of every row: the one that was asked for, or a new one where another point was trained.

        The space forbids some points, others were trained before, or a person or the record put in others.
        """
        waiting: dict[bytes, list[optuna.Trial]] = {}
        for point, trial in zip(state.unit, state.trials, strict=True):
            waiting.setdefault(point.tobytes(), []).append(trial)
        found = [same.pop(0) if (same := waiting.get(point.tobytes())) else None for point in unit]
        for trial in (trial for left in waiting.values() for trial in left):
            trial.set_user_attr(_MINE, [])
            self.study.tell(trial, state=TrialState.PRUNED if step else TrialState.FAIL)
        configs, first = trials.configs(), self.population if step else 0  # which tells rows of later rungs apart
        rows = [
            self._added([state.search, number, first + row], configs[row]) if trial is None else trial
            for row, trial in enumerate(found)
        ]
        for row, trial in enumerate(rows):
            if "trial_id" not in trial.user_attrs:
                trial.set_user_attr("trial_id", int(trials.trial_id[row]))
        return rows

    def _added(self, mine: list[Any], config: Config) -> optuna.Trial:
        """Add a trial with a config of one's own, that is being trained."""
        assert self.space is not None
        of = {"params": params(self.space, config), "distributions": of_config(self.space, config)}
        self.study.add_trial(
            optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={_MINE: mine}, **of)  # type: ignore[arg-type]
        )
        added = next(t for t in reversed(self.study.get_trials(deepcopy=False)) if t.user_attrs.get(_MINE) == mine)
        return optuna.trial.Trial(self.study, added._trial_id)

    def _reported(
        self, rows: Sequence[optuna.Trial], known: Sequence[FrozenTrial], trials: Trials, stop: int, *, ask: bool
    ) -> np.ndarray:
        """Report curves up to an epoch, all trials in step; return bool[P], which of them the pruner would prune.

        Args:
          known: the trials as the study has them.
          ask: whether the pruner is asked.
        """
        pruned = np.zeros(len(rows), bool)
        if len(self.study.directions) > 1 or not rows:
            return pruned
        assert self.objectives is not None
        curve = trials.curve[f"valid_{self.objectives.names[0]}"]
        reported = [set(trial.intermediate_values) for trial in known]
        for epoch in range(1, stop + 1):
            for row, trial in enumerate(rows):
                if known[row].state.is_finished() or 0 < trials.diverged_at[row] <= epoch:
                    continue
                if epoch not in reported[row]:
                    trial.report(float(curve[row, epoch - 1]), epoch)
                    asks = ask and not pruned[row]
                elif epoch == stop:  # a run was cut off before it heard the answer
                    asks = ask and not pruned[row] and max(reported[row]) <= stop
                else:
                    asks = False
                pruned[row] |= asks and trial.should_prune()
        return pruned

    def _finish(self, trial: optuna.Trial, trials: Trials, row: int, state: TrialState) -> None:
        """Tell the study how a trial ended: FAIL where it diverged, or where not all objectives are known."""
        assert self.objectives is not None
        one = trials[row : row + 1]
        names = self.objectives.names
        values = one.score.tolist() if len(names) == 1 else [float(self.objectives.values(one, n)[0]) for n in names]
        if one.having(Status.DIVERGED)[0] or not all(map(math.isfinite, values)):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        for name, bound in self.objectives.constraints.items():
            trial.set_constraint(name, min(float(bound.excess(self.objectives.values(one, name))[0]), 1e300))
        self.study.tell(trial, None if state is TrialState.PRUNED else values, state=state)


def search_in(study: optuna.Study, dir: str | Path | None) -> str:
    """Return the name of a directory's search in a study: the one that it has, or a new one where nothing is begun.

    Raises:
      Error: the directory is no path, or the study is none.
    """
    if not isinstance(study, optuna.Study):
        raise Error(f"study: expected an optuna.Study, got {study!r:.80}")
    name = uuid.uuid4().hex
    if dir is None:
        return name
    place, known = str(located(dir)), dict(study.user_attrs.get(_MINE) or {})
    if place in known and (Path(place) / "manifest.json").exists():
        return known[place]
    study.set_user_attr(_MINE, known | {place: name})
    return name


def space_in(study: optuna.Study) -> Space:
    """Return the space that a study's trials have in common.

    Raises:
      Error: they have none, or some have more.
    """
    trials = study.get_trials(deepcopy=False)
    common = optuna.search_space.intersection_search_space(trials, include_pruned=True)
    more = {name for trial in trials for name in trial.distributions} - set(common)
    if not common or more:
        got = f"trials of which only some have {min(more)}" if more else "no trial that is finished"
        raise Error(f"space: expected one, or a study whose trials all have the same parameters, got {got}")
    return space(common)


def give_up(strategy: Study) -> None:
    """Tell a study that the trials of a search which were being trained failed."""
    for trial in strategy.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if (trial.user_attrs.get(_MINE) or [None])[0] == strategy.search:
            strategy.study.tell(trial.number, state=TrialState.FAIL)
