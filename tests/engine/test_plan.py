"""What the plan says before anything runs is what the search then needs."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import search, task

import jaxhp as hp
from jaxhp.engine import rate
from jaxhp.engine.plan import Plan
from jaxhp.engine.rate import product_rate
from jaxhp.engine.sizes import default_tile
from jaxhp.tasks.check import check

CONFIG = {name: jax.ShapeDtypeStruct((), np.dtype(np.float32)) for name in ("lr", "weight_decay")}


def plan(memory: int | None = None, **changes) -> Plan:
    return search("random", **changes).plan(memory=memory)


def test_operations_are_those_of_the_members_and_their_epochs():
    one, group = plan(), plan().groups[0]
    assert one.member_epochs == 2 * 9 * 9
    assert one.slot_epochs == 2 * 10 * 9  # nine trials in tiles of two
    assert one.flops == one.slot_epochs * group.epoch_flops
    twice = plan(epochs=18)
    assert twice.flops == pytest.approx(2 * one.flops)
    assert twice.seconds == pytest.approx(2 * one.seconds)


def test_compiling_is_planned_by_the_operations_of_each_group_and_a_group_costs_what_it_costs_alone():
    def make(static):
        return task(loss=lambda p, batch, key, config: sum(jnp.abs(p["w"]).sum() for _ in range(static["times"])))

    spaces = [hp.Space(lr=hp.Uniform(0.1, 1), times=hp.Choice(times)) for times in ([5], [5, 40])]
    options = {"task": make, "space": spaces[1]}
    one, two = (search(**(options | {"space": space})) for space in spaces)
    short, long = (group.compile_seconds for group in two.plan().groups)
    assert 1 < short < long
    assert one.plan().compile_seconds == short
    assert two.plan().compile_seconds == short + long
    assert search(strategy=hp.Random(1), **options).plan().compile_seconds == long  # one trial is of one group
    told = str(two.plan()).splitlines()
    assert f"compiling   about {short + long:.0f} s for 2 groups, none for what earlier processes have kept" in told
    assert two.plan().to_json()["compile_seconds"] == short + long


def test_compiling_counts_the_groups_that_trials_begin_in():
    """Of 24 groups six stand for all; so many trials are of so many groups at most, at worst of the dearest."""
    one = plan()
    six = [replace(one.groups[0], compile_seconds=float(seconds)) for seconds in (1, 2, 3, 4, 5, 6)]

    def seconds(*rungs: tuple[int, int]) -> float:
        return replace(one, groups=six, of_groups=24, rungs=list(rungs)).compile_seconds

    assert seconds((100, 3)) == 24 * 3.5
    assert seconds((8, 3)) == 8 * (6 + 5) / 2
    assert seconds((2, 3)) == seconds((2, 1), (1, 3)) == 2 * 6  # those that go on are of the same groups
    assert seconds((1, 3), (1, 3)) == 2 * 6


@pytest.mark.parametrize(
    ("platform", "hidden", "tile"),
    [("cpu", (100,) * 6, 4), ("cpu", (32,), 16), ("gpu", (100,) * 6, 256), ("gpu", (32,), 1024), ("gpu", (20_000,), 2)],
)
def test_a_tile_is_as_large_as_keeps_the_device_busy(platform, hidden, tile):
    task = hp.tasks.mlp(hp.data.mnist_sample(500), hidden=hidden)
    assert default_tile(check(task, CONFIG), SimpleNamespace(platform=platform)) == tile


@pytest.mark.parametrize(
    ("rounds", "tile"),
    [
        ([(64, 10)] * 4, 64),  # 64 of 64, not of 256: 257 instead of 645 microseconds a step were measured on an H200
        ([(48, 10)], 64),
        ([(100, 10)], 128),
        ([(64, 1), (200, 50)], 256),
        ([(200, 1), (64, 50)], 64),
        ([(1000, 10)], 256),
        ([(1, 1)], 1),
    ],
)
def test_a_tile_of_an_accelerator_is_no_larger_than_rounds_need(rounds, tile):
    shapes = check(hp.tasks.mlp(hp.data.mnist_sample(500)), CONFIG)
    assert default_tile(shapes, SimpleNamespace(platform="gpu"), rounds) == tile
    assert default_tile(shapes, SimpleNamespace(platform="cpu"), rounds) == 4


def test_activations_are_what_the_backward_pass_keeps_of_hidden_layers():
    def kept(width: int, pixels: int) -> int:
        data = {"image": np.zeros((500, pixels), np.uint8), "label": np.arange(500) % 10}
        task = hp.tasks.mlp(hp.data.arrays(data), hidden=(width,))
        return check(task, CONFIG).activations

    assert kept(32, 784) == kept(32, 64)  # neither weights nor images
    hidden = 4 * 100 * 1000
    assert hidden <= kept(1032, 64) - kept(32, 64) <= 3 * hidden  # values, and the signs that the gradient needs


def test_memory_grows_by_members_and_what_does_not_fit_goes_in_waves():
    small, large = (plan(strategy=hp.Random(n)).groups[0] for n in (100, 200))
    a_member = (large.state_bytes - small.state_bytes) / 100
    weights = 4 * 4 * 2
    assert 2 * weights <= a_member <= 2 * weights + 9 * 2 * 4 + 16  # weights, momentum, a curve of nine epochs
    room = large.peak_bytes - large.state_bytes // 2
    halved = plan(strategy=hp.Random(200), memory=room).groups[0]
    assert halved.waves == 2
    assert halved.peak_bytes <= room


def test_one_tile_that_does_not_fit_is_refused():
    with pytest.raises(MemoryError, match=r"plan: one tile of 2 members .* smaller tile"):
        plan(memory=100)


def test_the_machine_is_measured_when_somebody_asks_how_long_it_takes(monkeypatch):
    measured = []
    monkeypatch.setattr(rate, "product_rate", lambda devices: measured.append(devices) or 2e9)
    planned = plan()
    assert not measured
    assert planned.seconds == planned.to_json()["seconds"] == planned.flops / (rate.SHARE * 2e9)
    assert replace(planned, workers=4).seconds == planned.seconds / 4
    assert "expect" not in planned.to_json()
    assert replace(planned, expect=None).to_json()["seconds"] is None
    assert measured == [tuple(jax.local_devices())] * 2


def test_the_rate_is_one_of_this_machine():
    found = product_rate(tuple(jax.local_devices()))
    assert np.isfinite(found)
    assert 1e8 < found < 1e16
    assert "less than a second of training" in str(plan())
