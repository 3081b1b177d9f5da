"""An ensemble of a search's best networks, chosen on some validation examples and measured on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxhp import words
from jaxhp.compiling import jit
from jaxhp.data.dealing import classes
from jaxhp.data.fingerprints import fingerprint
from jaxhp.data.folds import joined
from jaxhp.data.splitting import split
from jaxhp.engine.exported import write_exported
from jaxhp.engine.mixture import Part, mixed, part_of, said_by_each
from jaxhp.engine.spec import Spec
from jaxhp.report.ensemble import Ensemble, Worth
from jaxhp.search.groups import Groups
from jaxhp.selection.greedy import greedy
from jaxhp.selection.intervals import crossed_mean
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.predicting import outcomes
from jaxhp.tasks.task import Task
from jaxhp.trials import Trial, Trials
from jaxhp.values import Config, Error

_ROW = "number of the row"
_APART = 0.02  # of the metric's size, or so much: what rounding may make of it


def ensemble(
    groups: Groups,
    seed: int,
    named: Mapping[str, str | None],
    networks: Callable[[Trials, Trials], list[PyTree[np.ndarray]]],
    trials: Trials,
    candidates: Trials,
    k: int,
) -> Ensemble:
    """Choose an ensemble of candidates; see `Result.ensemble`.

    Args:
      groups, seed: of the search.
      named: the columns by which examples belong together ("groups") or come one after another ("order").
      networks: gives those of trials, see `Retrainer`.
      trials: all of the search.
      candidates: which may be chosen.
      k: how many at most, with repetition.

    Raises:
      Error: the task has no `predict` and `measure`, or they give another metric, or there are too few examples.
    """
    of = list(candidates)
    specs = [groups.spec(trial.config) for trial in of]
    task = _task(specs)
    unseen = _unseen(groups, specs)
    nets = networks(trials, candidates)
    said = _said(specs, nets, of, unseen)
    measured = jit(partial(outcomes, task))
    _check_measure(of[0], float(np.mean(measured(said[0], unseen))))
    choosing, judging = _halves(task, unseen, seed, named) if specs[0].holdout is None else (slice(None), None)
    data = _rows(unseen, choosing)
    with_each = jit(
        lambda total, count, said, data: jax.lax.map(
            lambda one: outcomes(task, (total + one) / (count + 1), data).mean(), said
        )
    )
    alone = said[:, choosing]
    order = greedy(alone, lambda total, count: with_each(total, jnp.float32(count), alone, data), k, task.mode)
    if not order:
        raise Error(f"ensemble: expected networks whose {task.metric} is finite, got none")
    others = specs[0].holdout if judging is None else _rows(unseen, judging)
    judged = _said(specs, nets, of, others) if judging is None else said[:, judging]
    together = np.asarray(measured(judged[order].mean(0), others), np.float64)
    single = np.asarray(measured(judged[order[0]], others), np.float64)
    counts = Counter(order)
    parts = _parts(specs, nets, of, {place: count / len(order) for place, count in counts.items()})
    return Ensemble(
        trials={of[place].trial_id: count for place, count in counts.items()},
        metric=task.metric,
        mode=task.mode,
        worth=_worth(together),
        single=_worth(single),
        gain=_mean((together - single) * (1 if task.mode == "max" else -1)),
        chosen_on=alone.shape[1],
        examples=len(together),
        held_out=judging is None,
        networks=tuple(nets[place] for place in counts),
        _predict=jit(mixed(parts)),
        _export=partial(write_exported, mixed(parts), task.valid),
    )


def export_one(groups: Groups, network: PyTree, config: Config, path: str | Path, rows: int | None) -> tuple[str, ...]:
    """Write the prediction function of one network; see `Result.export`."""
    spec = groups.spec(config)
    if isinstance(spec.task, Loop) or spec.task.predict is None:
        raise Error("export: expected a task with predict=, got one without")
    return write_exported(mixed([part_of(spec, [network], [config], [1.0])]), spec.task.valid, path, rows)


def _task(specs: Sequence[Spec]) -> Task:
    for spec in specs:
        if isinstance(spec.task, Loop) or spec.task.measure is None:
            raise Error("ensemble: expected a task with predict= and measure=, got one without")
    task = specs[0].task
    assert isinstance(task, Task)
    return task


def _unseen(groups: Groups, specs: Sequence[Spec]) -> PyTree[np.ndarray]:
    """Return the examples that no candidate has trained on: with folds, those of the first replicate's fold."""
    found = {}
    for spec in {spec.key: spec for spec in specs}.values():
        dealt, task = groups.foldings.get(spec.key), spec.task
        assert isinstance(task, Task)
        data = task.valid if dealt is None else _rows(joined(task.train, task.valid), dealt.valid(0))
        found[fingerprint(data)] = data
    if len(found) > 1:
        raise Error("ensemble: expected networks that are validated on the same data, got those of different data")
    return next(iter(found.values()))


def _rows(data: PyTree[np.ndarray], rows: Any) -> PyTree[np.ndarray]:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data)


def _halves(task: Task, data: PyTree, seed: int, named: Mapping[str, str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that choose, and those that judge: of each class alike, and whole groups."""
    n = len(jax.tree.leaves(data)[0])
    known = {name: column for name, column in named.items() if column is not None}
    label = task.label if "order" not in known else None
    if label is not None and np.bincount(classes(data, label, "Task label")).min() < 2:
        label = None
    columns = {name: np.asarray(data[name]) for name in {*known.values(), *([label] if label else [])}}
    try:
        chosen, judged = split({_ROW: np.arange(n), **columns}, 0.5, seed, stratify=label, **known)
    except Error as error:
        raise Error(f"ensemble: expected validation examples that fall into two halves: {error}") from error
    return np.sort(chosen[_ROW]), np.sort(judged[_ROW])


def _parts(
    specs: Sequence[Spec], nets: Sequence[PyTree], of: Sequence[Trial], weight: Mapping[int, float]
) -> list[Part]:
    """Stack the networks that have a weight, group by group."""
    places: dict[str, list[int]] = {}
    for place in weight:
        places.setdefault(specs[place].key, []).append(place)
    return [
        part_of(specs[some[0]], [nets[i] for i in some], [of[i].config for i in some], [weight[i] for i in some])
        for some in places.values()
    ]


def _said(specs: Sequence[Spec], nets: Sequence[PyTree], of: Sequence[Trial], data: PyTree) -> np.ndarray:
    """Return [K, n, ...], what each network says of each example."""
    found: dict[int, np.ndarray] = {}
    for key in dict.fromkeys(spec.key for spec in specs):
        some = [place for place, spec in enumerate(specs) if spec.key == key]
        part = part_of(specs[some[0]], [nets[i] for i in some], [of[i].config for i in some], [0.0] * len(some))
        found |= dict(zip(some, said_by_each(part, data), strict=True))
    return np.stack([found[place] for place in range(len(specs))])


def _check_measure(trial: Trial, value: float) -> None:
    """Check that `predict` and `measure` give the metric that `evaluate` gave of the same network."""
    recorded = trial.replicate_scores[0]
    if not np.isclose(value, recorded, rtol=_APART, atol=_APART):
        raise Error(
            f"Task measure: expected the {trial.metric} that evaluate gives, {recorded:.4g} of trial "
            f"{trial.trial_id}, got {value:.4g} of what predict says"
        )


def _worth(values: np.ndarray) -> Worth:
    """Return a mean over examples with its interval: Wilson's of shares, which is right where all are alike too."""
    found = crossed_mean(values[None])
    if not np.isin(values, (0, 1)).all():
        return _mean(values)
    n, z = len(values), words.NORMAL
    middle, half = found.mean + z**2 / (2 * n), z * (found.mean * (1 - found.mean) / n + z**2 / (4 * n**2)) ** 0.5
    return Worth(found.mean, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))


def _mean(values: np.ndarray) -> Worth:
    found = crossed_mean(values[None])
    return Worth(found.mean, *found.interval())
