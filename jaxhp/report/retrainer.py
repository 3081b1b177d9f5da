"""What a search does for its result: what takes its task to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxhp.report.ensemble import Ensemble
from jaxhp.report.tested import Tested
from jaxhp.selection.stretches import Stretch
from jaxhp.trials import Trials
from jaxhp.values import Config


class Retrainer(NamedTuple):
    """Functions that train again what a search has trained.

    Attributes:
      test: tests a trial: (trial_id, how it was trained, run directory, openings so far, seeds), see `Result.test`.
      networks: gives the networks of trials: (all trials of the search, those that are asked for).
      ensemble: chooses one: (all trials, the candidates, networks at most), see `Result.ensemble`.
      export: writes a prediction function: (network, its config, path, rows of a batch), see `Result.export`.
      refit: trains a trial on all data: (trial_id, how it was trained, run directory), see `Result.refit`.
    """

    test: Callable[[int, Sequence[Stretch], Path | None, int, int], Tested]
    networks: Callable[[Trials, Trials], list[Any]]
    ensemble: Callable[[Trials, Trials, int], Ensemble]
    export: Callable[[Any, Config, str | Path, int | None], tuple[str, ...]]
    refit: Callable[[int, Sequence[Stretch], Path | None], Any]
