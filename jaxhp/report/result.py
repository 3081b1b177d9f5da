"""What a search found, read from its ledger."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp import words
from jaxhp.objectives import Objectives
from jaxhp.report.axes import Pictures
from jaxhp.report.chosen import Chosen
from jaxhp.report.ensemble import Ensemble
from jaxhp.report.found import Like, asked, found
from jaxhp.report.frames import Columns, by_epoch, by_trial, package
from jaxhp.report.notebook import html
from jaxhp.report.retrainer import Retrainer
from jaxhp.report.rows import table_rows
from jaxhp.report.stage import Ruin, Stage
from jaxhp.report.summary import Findings, lines
from jaxhp.report.table import trials_text
from jaxhp.report.tested import Tested
from jaxhp.selection.edges import best_at_edges
from jaxhp.selection.importance import Importance, importance
from jaxhp.selection.stretches import Stretch
from jaxhp.selection.verdict import Estimate, Finalist, Measured
from jaxhp.space import Space
from jaxhp.store.digest import digest
from jaxhp.store.files import located, read_json
from jaxhp.store.ledger import Ledger
from jaxhp.trials import Trial, Trials
from jaxhp.values import Error, Json, is_int

if TYPE_CHECKING:
    import pandas
    import polars  # pyright: ignore[reportMissingImports]
    from jaxtyping import PyTree


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
      space: whose configs they are.
      strategy: what proposed them, as it is written; None where that is not recorded.
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
    strategy: str | None
    _scores: dict[int, np.ndarray]  # of the finals, those that finalists did not take part in included
    _retrainer: Retrainer | None
    _judged: bool  # whether the finals chose
    _saved: bool  # whether a checkpoint holds the best
    _whole: bool  # whether all trials were loaded
    _curves: bool  # whether their curves were
    plot = Pictures()

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
        retrainer: Retrainer | None = None,
        budget: int | None = None,
        epoch: str = "last",
        objectives: Objectives | None = None,
        like: Like = lambda _: None,
        strategy: str | None = None,
    ) -> Result:
        """Read a result from an open ledger.

        Args:
          metric, mode, budget, epoch: of the search, see `Trial`.
          objectives: of the search; None: the metric alone.
          params: the chosen network, where it is at hand.
          top, curves, retrainer: as in `load`.
          space: whose configs they are.
          like: gives the shapes of what `init` makes of a config, where the task is known.
          strategy: as its search's manifest has it.

        Raises:
          Error: the ledger is damaged, or holds no trials yet.
        """
        return cls(
            **found(ledger, metric, mode, params, top, curves, budget, epoch, objectives, like),
            space=space,
            strategy=strategy,
            _retrainer=retrainer,
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
    def load(cls, directory: str | Path, top: int | None = None, *, curves: bool = True) -> Result:
        """Read the result of a run directory, finished or not.

        Args:
          directory: of the run.
          top: load only so many of the best trials; quick, however many there are. None: all.
          curves: whether to load the learning curves.

        Raises:
          FileNotFoundError: it is not a run directory.
          Error: it is damaged, or holds no trials yet.
        """
        manifest = read_json(located(directory) / "manifest.json")
        with Ledger(directory) as ledger, ledger.snapshot():
            return cls.read(ledger, manifest, top, curves=curves)

    @classmethod
    def read(
        cls,
        ledger: Ledger,
        manifest: Json,
        top: int | None = None,
        *,
        curves: bool = True,
        retrainer: Retrainer | None = None,
        like: Like = lambda _: None,
    ) -> Result:
        """Read what `load` does, from an open ledger and its manifest."""
        known = asked(ledger, manifest)
        return cls.of(ledger, top=top, curves=curves, retrainer=retrainer, like=like, **known)

    def test(self, seeds: int = 8) -> Tested:
        """Open the sealed test data for the chosen config, and records in the ledger that it did.

        The config is trained anew on train and validation data together, then evaluated once. A second opening is
        possible; it is counted and shown, since a number that was looked at twice is no longer a test.

        Args:
          seeds: fresh replicates, at least 2.

        Raises:
          Error: the result was read by `Result.load`, which does not know the task, the task has no test data, or
            every trial diverged.
        """
        again = self._again("test")
        if not is_int(seeds, 2):
            raise Error(f"seeds: expected an integer of at least 2, got {seeds!r}")
        if self.ruin is not None:
            raise Error("test: expected a chosen trial, but every trial diverged")
        tested = again.test(self.best.trial_id, self._in_full(), self.directory, self.opened, int(seeds))
        self.opened = tested.opening
        self.tests.append(tested)
        return tested

    def _again(self, what: str) -> Retrainer:
        """Return what trains again; raises Error where the result does not hold its task."""
        if self._retrainer is None:
            raise Error(
                f"{what}: expected a result of search.run(dir) or search.load(dir), which know the task, got one of "
                "Result.load, which does not"
            )
        return self._retrainer

    def networks(self, k: int = 1) -> list[PyTree[np.ndarray]]:
        """Train the `k` best trials again, bit for bit, and return their networks in that order.

        Each is what `init` made, of the first replicate, after the epoch that its score is of. Trials that diverged
        are none of them, so there may be fewer.

        Raises:
          Error: the result was read by `Result.load`, which does not know the task, or holds only some of the trials.
        """
        again = self._again("networks")
        return again.networks(self.trials, self._healthy("networks", k))

    def ensemble(self, k: int = 8, candidates: int = 32) -> Ensemble:
        """Average the predictions of networks that are better together than each alone.

        The best trials are trained again, bit for bit. Of their networks up to `k` are chosen, with repetition, one
        after another, each that one that makes the mean the best (Caruana 2004), on one half of the validation
        examples; what the ensemble is worth is measured on the other half, next to the best single network by the same
        choice. The search has ranked its trials by both halves, so both numbers are a little too good; with
        `Finals(holdout=)` the choice has all validation examples, and the measure those held out.

        Args:
          k: networks at most, repetitions counted.
          candidates: how many of the best trials may be chosen.

        Raises:
          Error: the result was read by `Result.load`; the task has no `predict` and `measure`, or they do not give the
            metric that `evaluate` gives; or there are too few validation examples.
        """
        again = self._again("ensemble")
        if not is_int(k, 1):
            raise Error(f"k: expected a positive integer, got {k!r}")
        if self.ruin is not None:
            raise Error("ensemble: expected a trained network, but every trial diverged")
        return again.ensemble(self.trials, self._healthy("ensemble", candidates, "candidates"), int(k))

    def export(self, path: str | Path, rows: int | None = None) -> tuple[str, ...]:
        """Write the chosen network's `predict` as a file that runs without jaxhp and without the task's code.

        `jax.export.deserialize(Path(path).read_bytes()).call(batch)` gives the predictions, on the kind of device that
        it was written on. A batch has the columns that `predict` reads.

        Args:
          path: the file.
          rows: of a batch; None: any number.

        Returns:
          The names of those columns; () where examples are no dict.

        Raises:
          Error: the result was read by `Result.load`, the task has no `predict`, or no trial was chosen yet.
        """
        return self._again("export").export(self.best.params, self.best.config, path, rows)

    def refit(self) -> PyTree[np.ndarray]:
        """Train the chosen config once more, on training and validation data together, as `test` does.

        In a run directory the network is kept as `refit.safetensors`, with its digest in the ledger; it is read where
        it is there already. Its score is not known; what `test` found is of networks that are trained so.

        Raises:
          Error: the result was read by `Result.load`, the task is a `Loop`, every trial diverged, or the file is
            damaged or another's.
        """
        again = self._again("refit")
        if self.ruin is not None:
            raise Error("refit: expected a chosen trial, but every trial diverged")
        return again.refit(self.best.trial_id, self._in_full(), self.directory)

    def _healthy(self, what: str, k: int, name: str = "k") -> Trials:
        """Return the `k` best trials that did not diverge."""
        if not is_int(k, 1):
            raise Error(f"{name}: expected a positive integer, got {k!r}")
        trials = self.whole(what)
        return trials[trials.healthy()][:k]

    def whole(self, what: str) -> Trials:
        """Return all trials; raises Error, in the name of what needs them, where only some were loaded."""
        if not self._whole:
            raise Error(f"{what}: expected a result with all trials, got one loaded with top=")
        return self.trials

    def _in_full(self) -> tuple[Stretch, ...]:
        """Return how the chosen trial is trained anew."""
        *before, last = self.best.history
        return (*before, last._replace(upto=self.best.measured_at))

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
        """Make what a notebook shows: the summary, the curves of the best trials, and the ten best."""
        chosen = self.best if self.decided else None
        return html(self.trials, chosen, self.metric, self.mode, self.lines(), self.finals, self.others)

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

    def to_pandas(self, curves: bool = False) -> pandas.DataFrame:
        """Make a data frame of all trials that were loaded, best first.

        A row a trial: `trial_id`, `config.<name>`, `score` and `stderr`, every metric at the epoch of the score
        (`valid_<metric>`, `train_<metric>`), `replicate.<r>` (with K folds replicate r is of fold r % K), `status`,
        `round` (from 0), `epochs`, `scored_at`, `diverged_at`, `parent`, `chosen`, and `final.<r>`, the finalists'
        scores on fresh replicates.

        Args:
          curves: a row an epoch instead: `trial_id`, `epoch` (from 1) and every metric after it.

        Raises:
          Error: pandas is missing, or the result was loaded without curves.
        """
        frame = package("pandas", "to_pandas").DataFrame(self._columns(curves))
        return frame if curves else frame.astype({"diverged_at": "Int64", "parent": "Int64"})

    def to_polars(self, curves: bool = False) -> polars.DataFrame:
        """Make the data frame of `to_pandas` for polars."""
        return package("polars", "to_polars").DataFrame(self._columns(curves), strict=False)

    def _columns(self, curves: bool) -> Columns:
        if not self._curves:
            raise Error("curves: expected a result with learning curves, got one loaded with curves=False")
        if curves:
            return by_epoch(self.trials)
        return by_trial(self.trials, self.finals, self.best.trial_id if self.decided else None)

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
            saved=self._saved if self.directory else None,
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
