"""Static groups of few tiles train beside one another, and neither that nor a kill in between changes a number."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest
from populations import two_devices
from small_search import task

import jaxhp as hp
from jaxhp.engine.local import Local
from jaxhp.engine.population import Population
from jaxhp.engine.work import Job, Outcome

EPOCHS = 4
CONFIGS = [{"lr": lr, "width": width} for lr in (0.01, 0.1, 0.3) for width in (2, 3)]
IDS = np.arange(len(CONFIGS), dtype=np.int32)
JOB = Job(0, IDS, CONFIGS, 0 * IDS - 1, 0 * IDS, EPOCHS, [0], keep=True)
SPACE = hp.Space(lr=hp.LogUniform(1e-3, 1.0), width=hp.Choice([2, 3]))


def make(static: Mapping[str, Any]) -> hp.Task:
    return task(init=lambda key, config: {"w": 0.3 * jax.random.normal(key, (4, static["width"]))})


@pytest.fixture(scope="module")
def local():
    """Makes executors that share compiled populations."""
    search = hp.Search(make, SPACE, hp.Random(len(CONFIGS)), epochs=EPOCHS, tile=4, finals=None)
    first, compiled = search.local(search.machine()), dict[str, Population]()

    def compile(spec, at_most):
        if spec.key not in compiled:
            compiled[spec.key] = first._compile(spec, at_most)
        return compiled[spec.key]

    return lambda: Local(search.groups.spec, compile, lambda _: None)


def same(found: Outcome, expected: Outcome) -> None:
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.fixture(scope="module")
def one_group_after_another(local) -> Outcome:
    executor = local()
    parts = [executor.train(JOB.rows(group == IDS % 2), lambda _: None) for group in (0, 1)]
    whole = np.argsort([*IDS[::2], *IDS[1::2]])
    return Outcome(*(None if a is None else np.concatenate([a, b])[whole] for a, b in zip(*parts, strict=True)))


@two_devices
def test_groups_of_a_tile_are_under_way_at_once(local, one_group_after_another):
    executor, under_way, last = local(), [], []

    def watch(event):
        under_way.append(len(executor._waves))
        last.append(event.last)

    same(executor.train(JOB, watch), one_group_after_another)
    assert max(under_way) == 2
    assert last == [False] * (len(last) - 1) + [True]
    cost = executor.cost()
    assert cost.epochs_trained == EPOCHS * len(CONFIGS)
    assert cost.slot_epochs == EPOCHS * 2 * 4
    assert cost.compilations == 2
    assert executor.has(IDS, EPOCHS).all()


def test_what_is_saved_while_two_are_under_way_goes_on_to_the_same_numbers(local, one_group_after_another):
    executor, saved = local(), []
    executor.train(JOB, lambda _: saved.append(executor.save()))
    for snapshot in saved:
        names = [name for members in snapshot.members.values() for name in members.names()]
        start = 0 * IDS
        for trial, epoch in names:
            start[trial] = epoch
        going = start < EPOCHS
        other = local()
        other.load(snapshot, CONFIGS)
        job = JOB._replace(start=start, origin=np.where(start > 0, IDS, -1)).rows(going)
        if going.any():
            same(other.train(job, lambda _: None), one_group_after_another.rows(np.flatnonzero(going)))
    assert len(saved) >= 4
