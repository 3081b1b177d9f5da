"""What a search found, read from its ledger."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp import words
from jaxhp.objectives import Objectives
from jaxhp.report.markup import joined
from jaxhp.report.pieces import pairs, table
from jaxhp.report.rows import table_rows
from jaxhp.report.stage import Ruin, Stage, is_saved
from jaxhp.report.summary import Findings, lines
from jaxhp.report.table import cells_of, trials_text
from jaxhp.report.tested import OPENED, TESTED, Tested
from jaxhp.selection.edges import best_at_edges
from jaxhp.selection.importance import Importance, importance
from jaxhp.selection.stretches import Stretch, stretches
from jaxhp.selection.verdict import Estimate, Finalist, Measured, Verdict
from jaxhp.space import Space

if TYPE_CHECKING:
    from jaxtyping import PyTree
from jaxhp.store.digest import digest, manifest_digest
from jaxhp.store.files import located, read_json
from jaxhp.store.ledger import Ledger
from jaxhp.store.params import check, load
from jaxhp.trials import MODES, Trial, Trials, rank
from jaxhp.values import Config, Error, Json, is_int

Tester = Callable[[int, tuple[Stretch, ...], Path | None, int, int], Tested]
"""Tests a trial: (trial_id, how it was trained, run directory, openings so far, seeds); see `search/sealed.py`."""


@dataclass(frozen=True)
class Chosen(Trial):
    """The chosen trial, with its network.

    Attributes:
      history: how it was trained: with which config up to which epoch, one after another where it inherited weights.
    """

    history: tuple[Stretch, ...] = field(default=(), repr=False)
    network: PyTree[np.ndarray] = field(default=None, repr=False, compare=False)
    file: Path | None = field(default=None, repr=False, compare=False)
    sha256: str | None = field(default=None, repr=False, compare=False)  # of the file, where it was recorded
    like: PyTree = field(default=None, repr=False, compare=False)  # shapes of what `init` makes, if known

    @property
    def params(self) -> PyTree[np.ndarray]:
        """Return what the task's `init` made, trained to the epoch that its score is of: the trial's first replicate.

        It is the pytree that `init` made. Read from a run directory without the task (`Result.load`), objects in it
        other than dicts, lists and tuples are dicts of their attributes.

        Raises:
          Error: the search has not got so far, or the file is damaged or another run's.
          FileNotFoundError: the file is gone.
        """
        if self.network is not None:
            from jaxhp.keys import keyed  # with JAX, which who reads a directory does without

            return self.network if self.like is None else keyed(self.network, self.like)
        if self.file is None:
            raise Error("params: expected a finished search that chose a trial, got one that has not, or not yet")
        check(self.file, self.trial_id, self.config, self.sha256)
        return load(self.file, self.like)


@dataclass(eq=False, repr=False)
class Result:
    """The ranked trials of a search and the one that was chosen.

    Attributes:
      trials: `Trials`, every one, best first; or as many as were loaded.
      best: the one that the finals chose (see `Finalist`), or `raw_best` without finals; the best yet of a search that
        is not finished. Its score is NaN where every trial diverged. Of several objectives it is the point of the
        front that is best in the first one; where no trial keeps all constraints, the one that comes nearest to it.
      raw_best: the first of the ranking: the best score among the trials that were trained longest, so under Halving
        not always the best score seen. It is biased by the choice.
      estimate: mean and 95% interval of `best` on replicates that the choice has not seen, and how many trials were
        tried; None without finals.
      finalists: what the finals found of each finalist.
      finals: trial_id to f32[R], the finalists' scores on fresh replicates.
      opened: how many times the test data was opened.
      tests: what each opening found, see `Tested`.
      metric, mode: what the trials are ranked by; of several objectives the first.
      objectives: all that they are compared by, see `Objectives`.
      front: `Trials`, those that keep all constraints and that no other such trial beats in all objectives, in the
        order of the first one; of one objective the best. It is what the search saw, and biased by the choice.
      measured: what the finals measured of each point of the front (at most `Finals.top`, which dominate most) on
        fresh replicates: every objective and constraint, see `Measured`. None with one objective and no constraints.
      stage: how far the search had come, see `Stage`.
      ruin: where it went wrong if no trial has a score that counts, see `Ruin`; else None.
    """

    metric: str
    mode: str
    stage: Stage
    ruin: Ruin | None
    directory: Path | None
    trials: Trials
    raw_best: Trial
    objectives: Objectives
    front: Trials
    best: Chosen
    estimate: Estimate | None
    finalists: tuple[Finalist, ...]
    measured: tuple[Measured, ...]
    finals: dict[int, np.ndarray]
    opened: int
    tests: list[Tested]
    space: Space | None
    _scores: dict[int, np.ndarray]  # of the finals, those that finalists did not take part in included
    _tester: Tester | None
    _judged: bool  # whether the finals chose
    _saved: bool  # whether a checkpoint holds the best
    _whole: bool  # whether all trials were loaded
    _curves: bool  # whether their curves were

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        metric: str,
        mode: str,
        params: PyTree[np.ndarray] = None,
        top: int | None = None,
        curves: bool = True,
        space: Space | None = None,
        tester: Tester | None = None,
        budget: int | None = None,
        epoch: str = "last",
        objectives: Objectives | None = None,
        like: Callable[[Config], PyTree] = lambda _: None,
    ) -> Result:
        """Read a result from an open ledger.

        Args:
          metric, mode, budget, epoch: of the search, see `Trial`.
          objectives: of the search; None: the metric alone.
          params: the chosen network, where it is at hand.
          top, curves, tester: as in `load`.
          space: whose configs they are.
          like: gives the shapes of what `init` makes of a config, where the task is known.

        Raises:
          Error: the ledger is damaged, or holds no trials yet.
        """
        objectives = objectives or Objectives((metric,), (mode,))
        # which tell the epoch that a score is of, and the other metrics
        curves = curves or epoch == "best" or not objectives.plain
        text = ledger.meta("choice")
        verdict = ledger.decode("the choice", _verdict, text) if text else None
        finalists, measured = (verdict.finalists, verdict.measured) if verdict else ((), ())
        played = {f.trial_id: f.replicates for f in (*measured, *finalists)}
        if top is None or not objectives.plain:
            trials = rank(ledger.trials(curves=curves), mode)
        else:
            trials = ledger.best(mode, max(top, len(finalists), 1), curves=curves)
        trials = objectives.ranked(trials.ranked_by(metric, mode, budget, epoch))
        if not len(trials):
            raise Error(f"{ledger.directory}: expected at least one trial in the ledger, found none")
        place = np.flatnonzero(trials.trial_id == verdict.trial_id) if verdict else np.zeros(1, int)
        if not len(place):
            raise Error(f"{ledger.path}: the choice is damaged: there is no such trial")
        best, stage = trials[int(place[0])], Stage.of(ledger)
        history = ledger.decode("the lineage of the chosen trial", _history, ledger, best)
        lost = ledger.trials(curves=False) if top is not None and not trials.healthy().any() else trials
        ruin = ledger.decode("the trials", Ruin.of, lost)
        has_file = ledger.directory is not None and stage.finished and ruin is None
        file = ledger.directory / "best.safetensors" if ledger.directory is not None and has_file else None
        scores = ledger.finals()
        return cls(
            metric=metric,
            mode=mode,
            stage=stage,
            ruin=ruin,
            directory=ledger.directory,
            trials=trials[:top],
            raw_best=trials[0],
            objectives=objectives,
            front=trials[:1] if objectives.plain else trials[objectives.front(trials)],
            best=Chosen(
                **vars(best),
                history=history,
                network=params,
                file=file,
                sha256=ledger.meta("network"),
                like=like(best.config),
            ),
            estimate=verdict.estimate if verdict else None,
            finalists=finalists,
            measured=measured,
            finals=ledger.decode("the finals", lambda: {i: scores[i][:count] for i, count in played.items()}),
            opened=len(ledger.events(OPENED)),
            tests=[ledger.decode("a test", _tested, event) for event in ledger.events(TESTED)],
            space=space,
            _scores=scores,
            _tester=tester,
            _judged=verdict is not None,
            _saved=not stage.finished and is_saved(ledger, best),
            _whole=top is None,
            _curves=curves,
        )

    @functools.cached_property
    def digest(self) -> str:
        """Return what `jaxhp digest` prints, see `jaxhp.store.digest`.

        Raises:
          Error: the result was loaded without some trials or curves.
        """
        if not (self._whole and self._curves):
            raise Error("digest: expected all trials and their curves, got a result loaded without some of them")
        return digest(self.trials, self._scores)

    @classmethod
    def load(
        cls, directory: str | Path, top: int | None = None, *, curves: bool = True, tester: Tester | None = None
    ) -> Result:
        """Read the result of a run directory, finished or not.

        Args:
          directory: of the run.
          top: load only so many of the best trials; quick, however many there are. None: all.
          curves: whether to load the learning curves.
          tester: opens the sealed test data, see `test`.

        Raises:
          FileNotFoundError: it is not a run directory.
          Error: it is damaged, or holds no trials yet.
        """
        manifest = read_json(located(directory) / "manifest.json")
        with Ledger(directory) as ledger, ledger.snapshot():
            return cls.read(ledger, manifest, top, curves=curves, tester=tester)

    @classmethod
    def read(
        cls,
        ledger: Ledger,
        manifest: Json,
        top: int | None = None,
        *,
        curves: bool = True,
        tester: Tester | None = None,
    ) -> Result:
        """Read what `load` does, from an open ledger and its manifest."""
        metric, mode, space, epochs = (manifest.get(name) for name in ("metric", "mode", "space", "epochs"))
        if not isinstance(metric, str) or mode not in MODES or not isinstance(space, Mapping):
            raise Error(
                f"{ledger.directory}/manifest.json: expected a metric, a mode and a space, "
                f"got {metric!r}, {mode!r}, {space!r:.80}"
            )
        known = manifest_digest(manifest)
        if ledger.meta("manifest") not in (None, known) and ledger.meta("manifest before") != known:
            text = f"{ledger.directory}/manifest.json: expected the manifest of the search in the ledger"
            raise Error(f"{text}, got another or damaged one (its SHA-256)")
        return cls.of(
            ledger,
            metric,
            mode,
            top=top,
            curves=curves,
            space=Space.from_json(space),
            tester=tester,
            budget=epochs if is_int(epochs) else None,
            epoch="best" if manifest.get("epoch") == "best" else "last",
            objectives=ledger.decode("manifest.json", _objectives, manifest),
        )

    def test(self, seeds: int = 8) -> Tested:
        """Open the sealed test data for the chosen config, and records in the ledger that it did.

        The config is trained anew on train and validation data together, then evaluated once. A second opening is
        possible; it is counted and shown, since a number that was looked at twice is no longer a test.

        Args:
          seeds: fresh replicates, at least 2.

        Raises:
          Error: the result was loaded from a directory and does not hold its task (see `Search.test`), the task
            has no test data, or every trial diverged.
        """
        if self._tester is None:
            raise Error("test: expected a result of Search.run; for a directory use search.test(dir)")
        if not is_int(seeds, 2):
            raise Error(f"seeds: expected an integer of at least 2, got {seeds!r}")
        if self.ruin is not None:
            raise Error("test: expected a chosen trial, but every trial diverged")
        *before, last = self.best.history
        history = (*before, last._replace(upto=self.best.measured_at))
        found = self._tester(self.best.trial_id, history, self.directory, self.opened, int(seeds))
        self.opened = found.opening
        self.tests.append(found)
        return found

    def importance(self) -> Importance:
        """Find out which hyperparameters made the difference; prints as a table, has marginals and the stability edge.

        Trials that inherited weights (`PBT`) are left out, here and in `edges`: no config alone made their scores.

        Raises:
          Error: fewer than 16 other trials are finished, all have the same score, or only some trials were loaded.
        """
        if self.space is None or not self._whole:
            raise Error("importance: expected a result with its space and all trials, got one loaded with top=")
        return importance(self.space, self.trials, self.mode, self.metric)

    @property
    def edges(self) -> dict[str, int]:
        """Name the parameters whose best values lie at the lower (-1) or upper (1) edge of their range.

        `space.widened(result.edges)` is the space to search next. An ordered Choice counts too: one of numbers is
        widened by one more, and of another only you know what comes after its values, so `widened` refuses it by name.

        Raises:
          Error: the result was made without its space, or holds only some of the trials.
        """
        if self.space is None or not self._whole:
            raise Error("edges: expected a result with its space and all trials, got one loaded with top=")
        return best_at_edges(self.space, self.trials, self.mode)

    def __repr__(self) -> str:
        told = "; ".join(f"{name} {words.plain(text)}" for name, text in self.lines()[:2])
        return f"<Result of {len(self.trials)} trials: {told}>"

    def _repr_html_(self) -> str:
        """Make what a notebook shows: the ten best trials and the summary."""
        headings, *rows = cells_of(self.trials, self.metric, 10, self.finals, self.others)
        return joined(table(headings, rows, "Ranked trials"), pairs(self.lines()))

    def table(self, top: int = 10) -> str:
        """Write the `top` best trials as text, best first."""
        return trials_text(self.trials, self.metric, top, self.finals, self.others)

    def summary(self) -> str:
        """Say what was chosen and what its score means, in a few lines.

        Of a search that is not finished, how far it is and the best yet; where every trial diverged, where that was.
        """
        return "\n".join(f"{name:10s}{words.plain(text)}" for name, text in self.lines())

    @property
    def others(self) -> dict[str, np.ndarray]:
        """Return f32[N] of `trials`, by name: the objectives after the first, and what constraints are about."""
        return {name: self.objectives.values(self.trials, name) for name in self.objectives.measured[1:]}

    def rows(self, top: int | None = None) -> list[dict[str, Any]]:
        """Return the `top` best trials as JSON objects, what `jaxhp show --json` prints."""
        return table_rows(self.trials[:top], self.objectives, self.front)

    def lines(self) -> list[tuple[str, str]]:
        """Return what `summary` says, as names and sentences."""
        findings = Findings(
            metric=self.metric,
            objectives=self.objectives,
            front=self.front,
            measured=self.measured,
            stage=self.stage,
            ruin=self.ruin,
            decided=self.decided,
            saved=self._saved,
            best=self.best,
            history=self.best.history,
            raw_best=self.raw_best,
            estimate=self.estimate,
            finalists=bool(self.finalists or self.measured),
            edges=self.edges if self.space is not None and self._whole else {},
            space=self.space,
            tests=self.tests,
            opened=self.opened,
        )
        return lines(findings)

    @property
    def decided(self) -> bool:
        """Tell whether a trial was chosen: the finals are over, or the search ended without any."""
        return self.ruin is None and (self._judged or self.stage.finished)


def _history(ledger: Ledger, trial: Trial) -> tuple[Stretch, ...]:
    if trial.parent is None:
        return (Stretch(trial.trial_id, trial.config, trial.scored_at),)
    budgets = [asked.epochs for asked in ledger.rounds()]
    return stretches(ledger.trials(curves=False), trial.trial_id, budgets, trial.epochs)


def _objectives(manifest: Json) -> Objectives | None:
    record = manifest.get("objectives")
    return None if record is None else Objectives.from_json(record)


def _verdict(text: str) -> Verdict:
    choice = Verdict.from_json(json.loads(text))
    estimates = [choice.estimate or (), *(e for one in choice.measured for e in one.estimates.values())]
    numbers = [value for e in estimates for value in e if value is not None]
    _check_numbers(choice.trial_id, *numbers, *(value for f in choice.finalists for value in f))
    _check_numbers(*(value for one in choice.measured for value in one[:2]))
    return choice


def _tested(event: Json) -> Tested:
    found = Tested.from_event(event)
    _check_numbers(*found.scores, found.trial_id, found.mean, found.low, found.high, found.opening)
    return found


def _check_numbers(*values: object) -> None:
    for value in values:
        if not isinstance(value, (int, float)):
            raise Error(f"expected numbers, got {value!r:.100}")
        float(value)  # an integer may be too large for it
