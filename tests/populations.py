"""Populations trained directly, shared by the tests of what a member's numbers may depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import jaxhp as hp
from jaxhp.engine import population
from jaxhp.engine.layout import Layout, arrange
from jaxhp.engine.population import Capacity, Population
from jaxhp.engine.scores import Ranked
from jaxhp.engine.tile import State
from jaxhp.search.groups import spec_of

two_devices = pytest.mark.skipif(
    jax.default_backend() != "cpu" and len(jax.local_devices()) < 2, reason="needs two accelerators"
)


class Trained(NamedTuple):
    population: Population
    params: list[Any]  # of each config's first replicate
    ranked: Ranked
    state: State
    columns: dict[str, np.ndarray]
    layout: Layout


def train(
    task: hp.Task,
    configs: Sequence[dict[str, float]],
    epochs: int,
    *,
    tile: int = 4,
    stops: Sequence[int] = (),
    replicates: Sequence[int] = (0,),
    trials: Sequence[int] | None = None,
    dtype: Any = np.float32,
    devices: Sequence[Any] = (),
    **options: Any,
) -> Trained:
    """Trains configs side by side, with a call of the step up to each of `stops` and then up to `epochs`.

    On one device if no `devices` are given: each has a program of its own, and most tests compile longer than they run.
    """
    columns = {name: np.asarray([config[name] for config in configs], dtype) for name in configs[0]}
    spec = spec_of(task, {}, dict.fromkeys(columns, dtype))
    layout = arrange([0] * len(configs), replicates, tile)
    capacity = Capacity(tile, layout.tiles, len(configs), len(replicates), epochs)
    devices = list(devices or jax.local_devices()[:1])
    compiled = population.compile(spec, capacity, devices=devices, **options)
    state, begun = compiled.init(), 0
    ids = np.arange(len(configs)) if trials is None else np.asarray(trials)
    for stop in (*stops, epochs):
        state, ranked = compiled.step(state, columns, ids.astype(np.int32), layout, begun, stop)
        begun = stop
    flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[3:]), state.member.variables)
    params = [jax.tree.map(lambda leaf, slot=slot: leaf[slot], flat) for slot in layout.slots[:, 0]]
    return Trained(compiled, params, jax.device_get(ranked), state, columns, layout)
