"""Landscapes made to mislead: every strategy that learns must keep its head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp.strategies import GP, TPE, Auto, Narrowing, Random
from jaxhp.strategies.gp import FLAT, spacing

LEARNERS = {
    "cem": Narrowing(32, 4),
    "box": Narrowing(32, 4, shape="box"),
    "tpe": TPE(32, 4),
    "auto": Auto(32, 4),
}
SHARP = {name: LEARNERS[name] for name in ("cem", "tpe", "auto")}


def each(strategies):
    """Auto's models take long to compile."""
    marked = {"auto": [pytest.mark.slow]}
    known = [pytest.param(strategy, id=name, marks=marked.get(name, [])) for name, strategy in strategies.items()]
    return pytest.mark.parametrize("strategy", known)


learners, sharp = each(LEARNERS), each(SHARP)


def search(strategy, objective, seed=0, dim=3):
    """f32[rounds, P, D] points and the f32[rounds, P] scores told."""
    state, units, scores = strategy.init(jax.random.key(seed), dim), [], []
    for number in range(strategy.rounds):
        proposal, state = strategy.ask(state)
        units.append(np.asarray(proposal.unit))
        scores.append(np.asarray(objective(units[-1], np.random.default_rng([seed, number])), np.float32))
        state = strategy.tell(state, proposal, jnp.asarray(scores[-1]))
    return np.stack(units), np.stack(scores)


@learners
def test_pure_noise_does_not_collapse_the_search(strategy):
    units, _ = search(strategy, lambda unit, rng: rng.normal(size=len(unit)))
    assert units[-1].std(axis=0).min() > 0.03
    assert len(np.unique(units[-1], axis=0)) > 24


@sharp
@pytest.mark.parametrize("corner", [(0.0, 0.0, 1.0), (1.0, 0.5, 0.5)], ids=["corner", "face"])
def test_optimum_on_a_corner_or_a_face(strategy, corner):
    def objective(unit, rng):
        return -np.abs(unit - np.array(corner)).sum(axis=1)

    best = search(strategy, objective)[1].max()
    assert best > np.median([search(Random(32, 4), objective, seed)[1].max() for seed in range(5)])
    assert best > -0.35


@sharp
def test_irrelevant_dimensions_stay_spread_while_the_relevant_one_narrows(strategy):
    units, _ = search(strategy, lambda unit, rng: -((unit[:, 0] - 0.7) ** 2))
    assert np.median(np.abs(units[-1][:, 0] - 0.7)) < 0.15
    assert units[-1][:, 1:].std(axis=0).min() > 0.1


@learners
def test_half_of_the_cube_diverging_is_avoided(strategy):
    def objective(unit, rng):
        return np.where(unit[:, 0] > 0.5, np.nan, unit[:, 0] - np.abs(unit[:, 1] - 0.3))

    _, scores = search(strategy, objective)
    assert np.isnan(scores[1:]).mean() < 0.4
    assert np.nanmax(scores) > 0.3


@learners
def test_massive_ties_are_no_reason_to_crowd(strategy):
    units, scores = search(strategy, lambda unit, rng: np.floor(2 * unit[:, 0]))
    assert np.mean(scores[-1]) > 0.6
    assert units[-1][:, 1:].std(axis=0).min() > 0.1


@sharp
def test_heteroscedastic_noise_does_not_hide_the_optimum(strategy):
    def objective(unit, rng):
        truth = -np.square(unit - 0.3).sum(axis=1)
        return truth + 0.5 * unit[:, 0] * rng.normal(size=len(unit))

    units, _ = search(strategy, objective)
    first, later = (np.median(np.square(u - 0.3).sum(axis=-1)) for u in (units[0], units[1:]))
    assert later < first


@pytest.mark.slow
def test_gp_stands_equal_points_and_a_long_history():
    gp = GP(population=16, rounds=2)
    rng = np.random.default_rng(0)
    unit = np.concatenate([np.full((300, 2), 0.5), rng.random((4200, 2))]).astype(np.float32)
    state = gp.recall(gp.init(jax.random.key(0), 2), unit, -np.abs(unit - 0.8).sum(axis=1))
    proposal, _ = gp.ask(state)
    assert np.isfinite(np.asarray(proposal.unit)).all()
    assert np.abs(np.asarray(proposal.unit) - 0.8).sum(axis=1).min() < 0.05
    auto = Auto(population=16).ask(state)[0]
    assert np.median(np.abs(np.asarray(auto.unit) - 0.8)) < 0.2


@pytest.mark.slow
def test_gp_finds_a_smooth_optimum_closely():
    _, scores = search(GP(32, 4), lambda unit, rng: -np.square(unit - np.array([0.21, 0.5, 0.83])).sum(axis=1))
    assert scores.max() > -1e-3


@pytest.mark.slow
@pytest.mark.parametrize("tell_evaluated", [True, False], ids=["told_the_config", "told_the_point"])
def test_gp_spends_few_rows_on_configs_already_tried(tell_evaluated):
    pool = np.random.default_rng(0).random((300, 3)).astype(np.float32)
    gp, tried = GP(32, 4), []
    state = gp.init(jax.random.key(0), 3)
    for _ in range(4):
        proposal, state = gp.ask(state)
        nearest = np.square(np.asarray(proposal.unit)[:, None] - pool).sum(axis=2).argmin(axis=1)
        tried.append(nearest)
        told = proposal._replace(unit=jnp.asarray(pool[nearest])) if tell_evaluated else proposal
        state = gp.tell(state, told, jnp.asarray(-np.square(pool[nearest] - 0.4).sum(axis=1)))
    assert len(np.unique(np.concatenate(tried))) > 60  # without the distance: 45
    assert np.square(pool - 0.4).sum(axis=1).argmin() in np.concatenate(tried)


@pytest.mark.slow
def test_gp_keeps_a_distance_while_rounds_are_left_and_on_plateaus():
    unit, slope = jnp.linspace(0, 1, 101)[:, None], jnp.linspace(0, 1, 101)
    present, none, half = jnp.arange(101) < 101, jnp.float32(0), jnp.float32(0.5)
    assert spacing(unit, slope, present, none) == 0
    assert spacing(unit, slope, present, half) == pytest.approx(0.005, rel=0.01)
    flat_at_the_top, flat_at_the_bottom = jnp.minimum(slope, 0.9), jnp.maximum(slope, 0.5)
    assert spacing(unit, flat_at_the_top, present, none) == pytest.approx(0.01 * FLAT, rel=0.01)
    assert spacing(unit, flat_at_the_bottom, present, none) == 0
    assert spacing(unit, jnp.full(101, jnp.nan), present, half) == 0


@pytest.mark.slow
def test_gp_fills_a_batch_larger_than_the_room_that_the_distance_leaves():
    gp = GP(population=(8, 100))
    state, units = gp.init(jax.random.key(0), 1), []
    for _ in range(2):
        proposal, state = gp.ask(state)
        units.append(np.asarray(proposal.unit)[:, 0])
        state = gp.tell(state, proposal, jnp.zeros(len(units[-1])))
    assert len(np.unique(units[1])) > 95
