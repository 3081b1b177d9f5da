"""Pareto: its scalarisations by hand, what it makes of constraints, and that it goes to the front."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxhp as hp
from jaxhp.strategies import TPE, Pareto, Random, Sobol
from jaxhp.strategies.pareto import AUGMENTED, scalarised
from jaxhp.trials import Proposal


def test_the_scalarisation_is_the_augmented_tchebycheff_function():
    """Of points whose front has the ideal (4, 4) and the nadir (0, 0): the weights follow from what it gives of two."""
    scores = np.asarray([[4, 0], [0, 4], [3, 3], [1, 2], [-2, 1], [9, 9], [8, 8], [np.nan, 1]], np.float32)
    violation = np.asarray([0, 0, 0, 0, 0, 0.5, np.inf, 0], np.float32)
    padded = np.pad(scores, ((0, 2), (0, 0)), constant_values=np.nan)
    seed = jnp.asarray([1, 2], jnp.uint32)
    seeds, worth = scalarised(seed, 1, padded, np.pad(violation, (0, 2)), 8, 5)
    assert len(np.unique(np.asarray(seeds), axis=0)) == 5
    worth = np.asarray(worth)
    drawn = []
    for found in worth:
        weight = -found[1] / (1 + AUGMENTED)  # of (0, 4), which costs (1, 0)
        assert -found[0] / (1 + AUGMENTED) == pytest.approx(1 - weight, abs=1e-6)
        costs = np.asarray([weight, 1 - weight]) * (4 - scores[:5]) / 4
        np.testing.assert_allclose(found[:5], -(costs.max(1) + AUGMENTED * costs.sum(1)), rtol=1e-5)
        # what breaks a constraint ranks below all that keep it; of what nobody knows there is no score
        assert found[5] == pytest.approx(found[:5].min() - 1.5, rel=1e-5)
        assert np.isnan(found[6:]).all()
        drawn.append(weight)
    assert len(set(np.floor(np.asarray(drawn) * 4))) >= 3  # they are spread


def test_weights_of_three_objectives_lie_on_the_simplex():
    scores = np.asarray([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    _, worth = scalarised(jnp.asarray([1, 2], jnp.uint32), 0, scores, np.zeros(3, np.float32), 3, 64)
    sums = -np.asarray(worth)  # of each the largest of two weights, and a twentieth of both
    total = sums.sum(1)  # twice the largest, the second largest once, and 2 * AUGMENTED * 1
    largest_twice_and_second = total - 2 * AUGMENTED
    assert np.all(largest_twice_and_second > 1)
    assert np.all(largest_twice_and_second <= 2 + 1e-6)


def losses(unit):
    """Two objectives whose front is where the last coordinates are 0.3."""
    off = ((unit[:, 1:] - 0.3) ** 2).sum(1)
    return np.stack([unit[:, 0] + off, (1 - unit[:, 0]) ** 2 + off], 1)


def run(strategy, objective, violation=lambda unit: np.zeros(len(unit)), seed=0):
    state, points = strategy.init(jax.random.key(seed), 4), []
    for _ in range(strategy.rounds):
        proposal, state = strategy.ask(state)
        unit = np.asarray(proposal.unit)
        points.append(unit)
        told = (-objective(unit)).astype(np.float32), violation(unit).astype(np.float32)
        state = strategy.tell_objectives(state, proposal, *told)
    return points, state


STRATEGY = Pareto(population=24, rounds=4, inner=TPE())


def test_it_closes_in_on_the_front_and_keeps_its_whole_length():
    points, _ = run(STRATEGY, losses)
    off = [np.mean((unit[:, 1:] - 0.3) ** 2) for unit in points]
    assert np.mean(off[2:]) < 0.7 * off[0]
    late = np.concatenate(points[2:])[:, 0]
    assert late.min() < 0.25
    assert late.max() > 0.75


def test_it_goes_where_the_constraints_are_kept():
    points, _ = run(STRATEGY, losses, lambda unit: np.maximum(unit[:, 3] - 0.1, 0))
    kept = [np.mean(unit[:, 3] <= 0.1) for unit in points]
    assert kept[0] < 0.2
    assert np.mean(kept[2:]) > 2 * kept[0]


def test_points_follow_from_what_was_told():
    """Vectors count, not only the first objective; and equal ones give equal bits."""
    (first, _), (again, _) = (run(STRATEGY, losses) for _ in range(2))
    other, _ = run(STRATEGY, lambda unit: losses(unit) * [1, -1])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_an_earlier_search_leads_the_first_round():
    unit = np.random.default_rng(0).random((40, 4)).astype(np.float32)
    state = STRATEGY.init(jax.random.key(0), 4)
    told = STRATEGY.tell_objectives(state, Proposal(unit, np.full(40, -1), 1), -losses(unit), np.zeros(40, np.float32))
    first, _ = STRATEGY.ask(told)
    assert not np.array_equal(first.unit, STRATEGY.ask(state)[0].unit)


def test_others_than_before_are_refused():
    state = STRATEGY.init(jax.random.key(0), 4)
    proposal, state = STRATEGY.ask(state)
    state = STRATEGY.tell_objectives(state, proposal, np.zeros((24, 2), np.float32), np.zeros(24, np.float32))
    with pytest.raises(hp.Error, match=r"scores: expected shape \(24, 2\), objectives of each point, got \(24, 3\)"):
        STRATEGY.tell_objectives(state, proposal, np.zeros((24, 3), np.float32), np.zeros(24, np.float32))
    with pytest.raises(hp.Error, match="Pareto inner: expected a sampler"):
        Pareto(inner=hp.Halving())


def test_samplers_that_look_at_no_score_take_vectors():
    for strategy in (Random(population=4), Sobol(population=4), hp.Grid((2, 2))):
        state = strategy.init(jax.random.key(0), 2)
        proposal, state = strategy.ask(state)
        after = strategy.tell_objectives(state, proposal, np.zeros((4, 2), np.float32), np.zeros(4, np.float32))
        assert after.told == 4
