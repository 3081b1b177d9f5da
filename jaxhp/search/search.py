"""A hyperparameter search that runs, in a directory of its own or in memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jaxhp.report.result import Result
from jaxhp.report.tested import Tested
from jaxhp.search.definition import Definition
from jaxhp.search.loop import Run
from jaxhp.search.manifest import claim, differences, recorded
from jaxhp.search.sealed import open_test
from jaxhp.search.signals import Signals
from jaxhp.store import Ledger


class Search(Definition):
    """A hyperparameter search over a task.

    Args:
      task: what to train; or a function from the static part of a config (a dict of its fixed values and static
        choices) to a `Task`, where those change shapes, data or batch size.
      space: the hyperparameters.
      strategy: what proposes configs, such as `hp.Narrowing(population=64, rounds=4)`.
      epochs: the full budget of a trial, in passes over the training data.
      seed: root of all random numbers.
      replicates: members of each trial, with different seeds.
      folds: K-fold cross-validation over train and valid together, K members for each replicate; None: no folds.
      paired: whether the trials of a replicate share initial weights, minibatch order and noise. Sharing minibatches
        makes training faster. It need not make comparisons more certain: what pairs these is above all that every
        trial meets the same validation examples, paired or not (measured in `experiments/honest_numbers.py`).
      finals: how finalists are run again; None: no finals. By default their size is at most a fifth of the search.
      tile: members of a tile; None: chosen from the task and the kind of device.
      memory: bytes that may be filled; None: what is free. What does not fit is trained in waves.
      devices: None: all local devices.
      include: configs to try in the first round, in place of that many that the strategy asked for.
      warm_start: trials of earlier searches, such as `Result.load(dir).trials`, told to the strategy before its first
        round. Those count that were trained to their full budget or diverged, and have a point in this space.

    Raises:
      ValueError, TypeError: anything about the arguments that does not fit, before anything is trained.
    """

    def run(
        self,
        dir: str | Path | None = None,
        *,
        quiet: bool = False,
        accept_environment: bool = False,
        checkpoint_s: float = 60.0,
        experiment: Mapping[str, Any] | None = None,
    ) -> Result:
        """Runs the search, or what is left of it where `dir` holds an earlier run of the same search.

        Args:
          dir: the run directory; None keeps the record in memory.
          quiet: print nothing.
          accept_environment: go on with a search that was begun on another kind of device or with other versions,
            although what is trained from here on may differ in its last bits.
          checkpoint_s: members in training are saved every so many seconds of training, and at rungs; more rarely
            where that would take more than a tenth of the time. 0: after every call of the step.
          experiment: who started the search, kept in the manifest so that it can be resumed from there.

        Raises:
          ValueError: `dir` holds another search, or a damaged one.
          OSError: `dir` cannot be written.
          RuntimeError: another process runs the search in `dir`.
          Stopped: a signal asked to stop; everything up to there is recorded.
        """
        with Signals(listen=dir is not None) as signals, Ledger(dir, write=True) as ledger:
            notes, started_by = self._take(ledger, accept_environment, experiment)
            run = Run(
                self,
                ledger,
                signals,
                quiet=quiet,
                checkpoint_s=checkpoint_s,
                notes=notes,
                experiment=started_by,
            )
            result = run.go()
        result.space, result.opener = self.space, partial(open_test, self)
        return result

    def test(self, dir: str | Path, seeds: int = 8) -> Tested:
        """Opens the sealed test data for the trial that a finished run of this search in `dir` chose.

        See `Result.test`.

        Raises:
          ValueError: `dir` holds another search, or one that is not finished.
        """
        with Ledger(dir) as ledger:
            before, now = recorded(ledger) or {}, self.manifest()
            last = ledger.round(len(self.rungs) - 1)
            unfinished = last is None or last.scores is None or (self.finals and ledger.meta("choice") is None)
        named = ("space", "strategy", "data", "epochs", "seed", "replicates", "folds", "paired", "finals", "metric")
        other = differences({n: before.get(n) for n in named}, {n: now[n] for n in named})
        if other:
            raise ValueError(f"dir: {dir} holds another search: its {', '.join(name for name, _, _ in other)} differs")
        if unfinished:
            raise ValueError(f"dir: expected a finished search, got {dir}, which has not got so far; resume it first")
        result = Result.load(dir)
        result.opener = partial(open_test, self)
        return result.test(seeds)

    def _take(
        self, ledger: Ledger, accept_environment: bool, experiment: Mapping[str, Any] | None
    ) -> tuple[list[str], Mapping[str, Any] | None]:
        """Makes a directory this search's, or checks that it is; what is harmlessly different, and who started it."""
        before = recorded(ledger)
        self._recorded_tiles = self._read_tiles(before) if before else {}
        manifest = self.manifest() | ({"experiment": dict(experiment)} if experiment else {})
        notes = claim(ledger, manifest, accept_environment=accept_environment)
        if self.recalled.left_out:
            told = len(self.recalled.score)
            notes.append(
                f"warm start: {told} of {told + self.recalled.left_out} earlier trials are finished and in the space"
            )
        return notes, experiment or (before or {}).get("experiment")
