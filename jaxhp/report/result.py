"""What a search found, read from its ledger."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxhp.report.table import trials_table
from jaxhp.report.tested import OPENED, TESTED, Tested
from jaxhp.selection.edges import best_at_edges
from jaxhp.selection.importance import Importance, importance
from jaxhp.selection.verdict import Estimate, Finalist, Verdict
from jaxhp.space import Space
from jaxhp.store import Ledger
from jaxhp.store.digest import digest
from jaxhp.store.files import read_json
from jaxhp.store.params import load
from jaxhp.trials import MODES, Config, Error, Trial, Trials, is_int, rank

Tester = Callable[[int, Config, Path | None, int, int], Tested]
"""Tests a trial: (trial_id, config, run directory, openings so far, seeds); see `jaxhp.search.sealed.open_test`."""


@dataclass(frozen=True)
class Chosen(Trial):
    """The chosen trial, with its network."""

    network: Any = field(default=None, repr=False, compare=False)
    file: Path | None = field(default=None, repr=False, compare=False)

    @property
    def params(self) -> Any:
        """What the task's `init` made, trained for `epochs`: of the trial's first replicate in the search.

        In the process that ran the search the pytree itself; read from a run directory, nested dicts and lists.
        """
        if self.network is not None:
            return self.network
        if self.file is None:
            raise Error("params: expected a finished search, this one has not got so far")
        return load(self.file)


@dataclass(eq=False)
class Result:
    """The ranked trials of a search and the one that was chosen.

    Attributes:
      trials: `Trials`, every one, best first; or as many as were loaded.
      best: the one that the finals chose (see `Finalist`), or `raw_best` without finals.
      raw_best: the trial with the best score seen. Its score is biased upward by the choice.
      estimate: mean and 95% interval of `best` on replicates that the choice has not seen, and how many trials were
        tried; None without finals.
      finalists: what the finals found of each finalist.
      finals: trial_id to f32[R], the finalists' scores on fresh replicates.
      opened: how many times the test data was opened.
      tests: what each opening found, see `Tested`.
      metric, mode: what the trials are ranked by.
    """

    metric: str
    mode: str
    directory: Path | None
    trials: Trials
    raw_best: Trial
    best: Chosen
    estimate: Estimate | None
    finalists: tuple[Finalist, ...]
    finals: dict[int, np.ndarray]
    opened: int
    tests: list[Tested]
    space: Space | None
    _scores: dict[int, np.ndarray]  # of the finals, those that finalists did not take part in included
    _tester: Tester | None
    _whole: bool  # whether all trials were loaded
    _curves: bool  # whether their curves were

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        metric: str,
        mode: str,
        params: Any = None,
        top: int | None = None,
        curves: bool = True,
        space: Space | None = None,
        tester: Tester | None = None,
    ) -> Result:
        """Read a result from an open ledger.

        Args:
          params: the chosen network, where it is at hand.
          top, curves, tester: as in `load`.
          space: whose configs they are.

        Raises:
          Error: the ledger is damaged, or holds no trials yet.
        """
        text = ledger.meta("choice")
        verdict = ledger.decode("the choice", _verdict, text) if text else None
        finalists = verdict.finalists if verdict else ()
        if top is None:
            trials = rank(ledger.trials(curves=curves), mode)
        else:
            trials = ledger.best(mode, max(top, len(finalists), 1), curves=curves)
        if not len(trials):
            raise Error(f"{ledger.directory}: expected at least one trial in the ledger, found none")
        place = np.flatnonzero(trials.trial_id == verdict.trial_id) if verdict else np.zeros(1, int)
        if not len(place):
            raise Error(f"{ledger.path}: the choice is damaged: there is no such trial")
        file = ledger.directory / "best.safetensors" if ledger.directory is not None else None
        scores = ledger.finals()
        return cls(
            metric=metric,
            mode=mode,
            directory=ledger.directory,
            trials=trials[:top],
            raw_best=trials[0],
            best=Chosen(**vars(trials[int(place[0])]), network=params, file=file),
            estimate=verdict.estimate if verdict else None,
            finalists=finalists,
            finals=ledger.decode(
                "the finals", lambda: {f.trial_id: scores[f.trial_id][: f.replicates] for f in finalists}
            ),
            opened=len(ledger.events(OPENED)),
            tests=[ledger.decode("a test", _tested, event) for event in ledger.events(TESTED)],
            space=space,
            _scores=scores,
            _tester=tester,
            _whole=top is None,
            _curves=curves,
        )

    @functools.cached_property
    def digest(self) -> str:
        """What `jaxhp digest` prints, see `jaxhp.store.digest`."""
        if not (self._whole and self._curves):
            raise Error("digest: expected all trials and their curves, got a result loaded without some of them")
        return digest(self.trials, self._scores)

    @classmethod
    def load(
        cls, directory: str | Path, top: int | None = None, *, curves: bool = True, tester: Tester | None = None
    ) -> Result:
        """The result of a run directory, finished or not.

        Args:
          top: load only so many of the best trials; quick, however many there are. None: all.
          curves: whether to load the learning curves.
          tester: opens the sealed test data, see `test`.

        Raises:
          FileNotFoundError: it is not a run directory.
          Error: it is damaged, or holds no trials yet.
        """
        manifest = read_json(Path(directory) / "manifest.json")
        with Ledger(directory) as ledger, ledger.snapshot():
            return cls.read(ledger, manifest, top, curves=curves, tester=tester)

    @classmethod
    def read(
        cls,
        ledger: Ledger,
        manifest: Mapping[str, Any],
        top: int | None = None,
        *,
        curves: bool = True,
        tester: Tester | None = None,
    ) -> Result:
        """As `load`, from an open ledger and its manifest."""
        metric, mode, space = (manifest.get(name) for name in ("metric", "mode", "space"))
        if not isinstance(metric, str) or mode not in MODES or not isinstance(space, Mapping):
            raise Error(
                f"{ledger.directory}/manifest.json: expected a metric, a mode and a space, "
                f"got {metric!r}, {mode!r}, {space!r:.80}"
            )
        return cls.of(ledger, metric, mode, top=top, curves=curves, space=Space.from_json(space), tester=tester)

    def test(self, seeds: int = 8) -> Tested:
        """Opens the sealed test data for the chosen config, and records in the ledger that it did.

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
        if not np.isfinite(self.best.score):
            raise Error("test: expected a chosen trial, but every trial diverged")
        found = self._tester(self.best.trial_id, self.best.config, self.directory, self.opened, int(seeds))
        self.opened = found.opening
        self.tests.append(found)
        return found

    def importance(self) -> Importance:
        """Which hyperparameters made the difference; prints as a table, and has marginals and the stability edge.

        Raises:
          Error: fewer than 16 trials are finished, all have the same score, or only some trials were loaded.
        """
        if self.space is None or not self._whole:
            raise Error("importance: expected a result with its space and all trials, got one loaded with top=")
        return importance(self.space, self.trials, self.mode, self.metric)

    @property
    def edges(self) -> dict[str, int]:
        """Parameters whose best values lie at the lower (-1) or upper (1) edge of their range.

        `space.widened(result.edges)` is the space to search next.

        Raises:
          Error: the result was made without its space, or holds only some of the trials.
        """
        if self.space is None or not self._whole:
            raise Error("edges: expected a result with its space and all trials, got one loaded with top=")
        return best_at_edges(self.space, self.trials, self.mode)

    def table(self, top: int = 10) -> str:
        """The best trials as text."""
        text = io.StringIO()
        Console(file=text, width=1000).print(trials_table(self.trials, self.metric, top, self.finals))
        return text.getvalue()

    def summary(self) -> str:
        """The chosen configuration and what its score means, in a few lines."""
        config = ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.best.config.items())
        lines = [f"chosen    trial {self.best.trial_id}: {config}"]
        if self.estimate is not None:
            e = self.estimate
            interval = f"95% interval {e.low:.4f} to {e.high:.4f}"
            lines.append(f"estimate  {self.metric} {e.mean:.4f}, {interval} ({e.basis})")
        elif not self.finalists:
            lines.append("estimate  none: no finals were run, so nothing corrects the choice")
        lines.append(
            f"raw best  {self.metric} {self.raw_best.score:.4f} (trial {self.raw_best.trial_id}): the best score seen, "
            "biased by the choice"
        )
        for name, side in self.edges.items() if self.space is not None and self._whole else ():
            which = "upper" if side > 0 else "lower"
            lines.append(f"edge      {name}: the best lie at the {which} end of its range; search beyond it")
        for test in self.tests:
            opening = "" if test.opening == 1 else f"; opening {test.opening}: no longer a test"
            lines.append(
                f"test      {self.metric} {test.mean:.4f}, 95% interval {test.low:.4f} to {test.high:.4f} "
                f"(trial {test.trial_id}, {len(test.scores)} seeds, trained on train and validation data{opening})"
            )
        if self.opened > len(self.tests):
            lines.append(f"test      opened {self.opened} times, {self.opened - len(self.tests)} without a result")
        return "\n".join(lines)


def _verdict(text: str) -> Verdict:
    choice = Verdict.from_json(json.loads(text))
    _check_numbers(choice.trial_id, *(choice.estimate or ()), *(value for f in choice.finalists for value in f))
    return choice


def _tested(event: Mapping[str, Any]) -> Tested:
    found = Tested.from_event(event)
    _check_numbers(*found.scores, found.trial_id, found.mean, found.low, found.high, found.opening)
    return found


def _check_numbers(*values: Any) -> None:
    for value in values:
        if not isinstance(value, (int, float)):
            raise Error(f"expected numbers, got {value!r:.100}")
        float(value)  # an integer may be too large for it


def table_rows(trials: Iterable[Trial]) -> list[dict]:
    """Trials as JSON objects, in the order given; a diverged trial's score is null."""
    return [
        {
            "trial_id": t.trial_id,
            "config": t.config,
            "score": t.score if np.isfinite(t.score) else None,
            "stderr": t.stderr if np.isfinite(t.stderr) else None,
            "status": str(t.status),
            "round": t.round,
            "epochs": t.epochs,
            "diverged_at": t.diverged_at or None,
            "parent": t.parent,
        }
        for t in trials
    ]
