"""Whether recorded trials are what training them gives: they are trained again, and every bit is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxhp.engine.environment import environment
from jaxhp.engine.work import Outcome
from jaxhp.search.again import train_again
from jaxhp.search.extension import recorded_in
from jaxhp.search.manifest import other_bits
from jaxhp.selection.stretches import stretches
from jaxhp.trials import Status, Trial
from jaxhp.values import Error, is_int

if TYPE_CHECKING:
    from jaxhp.search.search import Search


class Difference(NamedTuple):
    """A number that is another one when its trial is trained again.

    Attributes:
      trial_id: whose number it is.
      what: `score`, `stderr`, `diverged_at`, `replicate 2`, or `valid_<metric> of epoch 3`.
      recorded, trained: the number in the directory, and that of the training.
    """

    trial_id: int
    what: str
    recorded: float
    trained: float

    def __str__(self) -> str:
        return f"trial {self.trial_id}: its {self.what} was recorded as {self.recorded!r}, and is {self.trained!r} now"


class Verified(NamedTuple):
    """What `verify` found.

    Attributes:
      trials: ids of those that were trained again.
      of: how many finished trials are recorded.
      differences: all numbers that differ, by trial; () where every bit is the same.
      elsewhere: what is another here than where the directory was written, on which bits may depend; "" for nothing.
    """

    trials: tuple[int, ...]
    of: int
    differences: tuple[Difference, ...]
    elsewhere: str

    def __str__(self) -> str:
        some = f"{len(self.trials)} of {self.of} trials trained again"
        if not self.differences:
            told = [f"{some}: every bit is as it was recorded"]
        else:
            wrong = len({difference.trial_id for difference in self.differences})
            told = [f"{some}: {wrong} differ from the record", *map(str, self.differences[:10])]
            if len(self.differences) > 10:
                told.append(f"and {len(self.differences) - 10} more numbers")
        if self.elsewhere:
            told.append(f"the record was written elsewhere, and last bits may differ for it: {self.elsewhere}")
        return "\n".join(told)


def verify(search: Search, dir: str | Path, trials: int | None = 20) -> Verified:
    """Train recorded trials again and compare every bit of what was measured; writes nothing.

    Compared are score, standard error, the score of each replicate, the learning curves, and where one diverged; and of
    the network in `best.safetensors` its digest.

    Args:
      search: that was run in the directory.
      dir: of the run, finished or not.
      trials: how many to train: the one that was chosen, and others at equal distances; None: all.

    Returns:
      What differs. One jaxlib, kind of device and tile give the same bits; `elsewhere` names what is another here.

    Raises:
      FileNotFoundError: it is not a run directory.
      Error: it holds another search, is damaged, or has no finished trial.
    """
    if trials is not None and not is_int(trials, 1):
        raise Error(f"trials: expected a positive integer or None, got {trials!r}")
    begun = recorded_in(dir)
    search = search.held(begun)
    result = search.load(dir)
    known = result.trials[np.argsort(result.trials.trial_id)]
    done = known[~known.having(Status.RUNNING)]
    if not len(done):
        raise Error(f"dir: expected a finished trial in {dir}, found none")
    if result.best.file is not None:
        result.best.params  # noqa: B018, raises where it is damaged
    at = np.unique(np.linspace(0, len(done) - 1, min(trials or len(done), len(done))).astype(int))
    chosen = np.flatnonzero(done.trial_id == result.best.trial_id)
    if len(chosen) and chosen[0] not in at:
        at = np.sort(np.append(at[:-1], chosen[0]))
    machine = search.machine_of(begun)
    budgets, of = [rung.epochs for rung in search.rungs], list(done[at])
    histories = [stretches(result.trials, t.trial_id, budgets, t.epochs) for t in of]
    found: dict[int, list[Difference]] = {t.trial_id: [] for t in of}
    for ended in train_again(histories, search.local(machine), range(search.members), keep=False):
        for row, place in enumerate(ended.places):
            names = search.groups.spec(of[place].config).shapes.metrics
            found[of[place].trial_id] += _differences(of[place], ended.outcome.rows(np.asarray([row])), names)
    where = other_bits(begun, {"environment": environment(list(machine.devices))})
    return Verified(tuple(found), len(done), tuple(d for some in found.values() for d in some), where)


def _differences(trial: Trial, outcome: Outcome, metrics: tuple[str, ...]) -> Iterator[Difference]:
    """Yield what differs of a trial, whose outcome is the only row."""
    for what, recorded, trained in _pairs(trial, outcome, metrics):
        before, now = np.float32(recorded), np.float32(trained)
        if before.tobytes() != now.tobytes() and not (np.isnan(before) and np.isnan(now)):
            yield Difference(trial.trial_id, what, float(recorded), float(trained))


def _pairs(trial: Trial, outcome: Outcome, metrics: tuple[str, ...]) -> Iterator[tuple[str, float, float]]:
    """Yield every number of a trial: its name, as it was recorded and as it is now."""
    yield "score", trial.score, outcome.score[0]
    yield "stderr", trial.stderr, outcome.stderr[0]
    yield "diverged_at", trial.diverged_at, outcome.diverged_at[0]
    for r, (recorded, trained) in enumerate(zip(trial.replicate_scores, outcome.replicate_scores[0], strict=True)):
        yield f"replicate {r}", recorded, trained
    now: Mapping[str, np.ndarray] = {
        f"{part}_{name}": outcome.curve[0, : trial.epochs, p, m]
        for m, name in enumerate(metrics)
        for p, part in enumerate(("train", "valid"))
    }
    for name, curve in trial.curve.items():
        trained = now.get(name, np.full(len(curve), np.nan, np.float32))  # a metric of other static groups alone
        for epoch, pair in enumerate(zip(curve, trained, strict=True), 1):
            yield f"{name} of epoch {epoch}", *pair
