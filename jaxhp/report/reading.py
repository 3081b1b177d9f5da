"""What the page tells of a run directory, read as it was at one moment."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxhp.report.result import Result
from jaxhp.selection.importance import Importance, importance
from jaxhp.space import Parameter, Space
from jaxhp.store.files import located, read_json
from jaxhp.store.ledger import Ledger, Round
from jaxhp.store.ours import SUMMARY
from jaxhp.trials import Status, Trial
from jaxhp.values import Error, Json

_COMPARED = 2000  # finished trials that the importance is taken of; more of them hardly tell more


@dataclass(frozen=True)
class RunRecord:
    """A run directory.

    Attributes:
      name: of the directory.
      rounds: those that have begun.
      events: in order, see `Ledger.events`.
      spent: see `Ledger.spent`.
      importance: what mattered, or why that cannot be said.
      summary: what the run that finished it has written of its cost; {} where there is none that can be read.
    """

    name: str
    directory: Path
    manifest: Json
    result: Result
    space: Space
    rounds: list[Round]
    events: list[Json]
    spent: dict[str, float]
    importance: Importance | str
    summary: Json = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters of the space, by name, in the order of the best config."""
        names = dict.fromkeys([*self.result.best.config, *self.space.parameters])
        return {name: self.space.parameters[name] for name in names if name in self.space.parameters}

    @property
    def chosen(self) -> int | None:
        """Return the id of the trial that was chosen; None where nothing is, or not yet."""
        return self.result.best.trial_id if self.result.decided else None

    def told(self, name: str) -> Any:
        """Return an entry of the manifest's environment, or None."""
        environment = self.manifest.get("environment")
        return environment.get(name) if isinstance(environment, Mapping) else None


def read(directory: str | Path) -> RunRecord:
    """Read a run directory; raises as `Result.load`."""
    place = located(directory)
    manifest = read_json(place / "manifest.json")
    with Ledger(directory) as ledger, ledger.snapshot():
        result = Result.read(ledger, manifest)
        space = result.space
        assert space is not None
        ledger.decode("a config", _check, result.trials, space)
        rounds, events, spent = ledger.rounds(), ledger.events(), ledger.spent()
        mattered = ledger.decode("a curve", _importance, result, space)
    return RunRecord(
        name=place.absolute().name,
        directory=place,
        manifest=manifest,
        result=result,
        space=space,
        rounds=rounds,
        events=events,
        spent=spent,
        importance=mattered,
        summary=_summary(place),
    )


def _summary(directory: Path) -> Json:
    try:
        return read_json(directory / SUMMARY)
    except (Error, OSError):
        return {}


def _check(trials: Sequence[Trial], space: Space) -> None:
    """Raise ValueError or TypeError where a value of a config is not one of its parameter."""
    for name, parameter in space.parameters.items():
        for trial in trials:
            if name in trial.config:
                parameter.unit(trial.config[name])


def _importance(result: Result, space: Space) -> Importance | str:
    finished = [trial for trial in result.trials if trial.status is not Status.RUNNING and trial.parent is None]
    if len(finished) > _COMPARED:
        finished = random.Random(0).sample(finished, _COMPARED)
    try:
        return importance(space, finished, result.mode, result.metric)
    except ValueError as error:
        return str(error).removeprefix("importance: ")
