"""Auto: its rungs as tables, who goes on, what it learns from rungs, and where its forest has a part."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp.strategies import GP, Auto, budgets
from jaxhp.strategies.auto import few_values
from jaxhp.trials import Proposal

KEY = jax.random.key(5)
AUTO = Auto(population=32, rounds=4)  # of the shapes of test_adversarial.py, whose programs serve these tests


@pytest.mark.parametrize(
    ("strategy", "epochs", "expected"),
    [
        (Auto(64, 1), 27, [(64, 3), (26, 9), (11, 27)]),
        (Auto(64, 1), 50, [(64, 6), (26, 17), (11, 50)]),
        (Auto(9, 2), 10, [(9, 1), (4, 3), (2, 10)] * 2),
        (Auto((9, 2)), 9, [(9, 1), (4, 3), (2, 9), (2, 1), (1, 3), (1, 9)]),
        (Auto(9, 1), 4, [(9, 1), (2, 4)]),
        *[(Auto(9, 2), epochs, [(9, epochs)] * 2) for epochs in (1, 2, 3)],
    ],
)
def test_schedule(strategy, epochs, expected):
    assert [tuple(rung) for rung in strategy.schedule(epochs)] == expected


def test_a_search_takes_at_most_a_third_of_the_epochs_of_full_trainings():
    for epochs in (9, 10, 27, 50, 100):
        (first, second, last), n = Auto(64, 1).schedule(epochs), 64
        trained = n * first.epochs + second.trials * (second.epochs - first.epochs)
        assert trained + last.trials * (last.epochs - second.epochs) <= n * epochs / 3


def rounds(strategy, objective, dim=2, epochs=9, state=None):
    """(proposal, scores) of a whole schedule; `objective(unit, epochs)`."""
    state, out = state or strategy.init(KEY, dim, epochs), []
    for _ in strategy.schedule(epochs):
        proposal, state = strategy.ask(state)
        scores = objective(np.asarray(proposal.unit), int(proposal.budget))
        state = strategy.tell(state, proposal, jnp.asarray(scores, jnp.float32))
        out.append((proposal, scores))
    return out


@pytest.mark.slow
def test_the_best_go_on_with_the_same_bits():
    steps = rounds(Auto(12, 2), lambda unit, epochs: -np.square(unit - 0.3).sum(axis=1))
    for (before, scores), (after, _) in itertools.pairwise(steps):
        parent, kept = np.asarray(after.parent), len(after.unit)
        if kept == 12:
            assert (parent == -1).all()
            continue
        np.testing.assert_array_equal(parent, np.sort(np.argsort(-scores, kind="stable")[:kept]))
        np.testing.assert_array_equal(after.unit, np.asarray(before.unit)[parent])


@pytest.mark.slow
def test_the_process_expects_what_full_trainings_gave_and_knows_rungs_apart():
    """Scores at the first rung say the opposite of those at the full budget, where both are known."""
    unit = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    rows = np.concatenate([np.c_[unit, np.zeros(40)], np.c_[unit, np.ones(40)]]).astype(np.float32)
    score = np.concatenate([-unit[:, 0] - 2, unit[:, 0]]).astype(np.float32)
    belief = budgets.learn(np.zeros(2, np.uint32), 1, rows, score, 80)
    hope = np.asarray(budgets.expected(belief, jnp.asarray(unit)))
    assert np.corrcoef(hope, unit[:, 0])[0, 1] > 0.9
    np.testing.assert_array_equal(np.asarray(budgets.first(belief)), rows[:, 2] == 0)


@pytest.mark.slow
def test_recalled_points_are_full_trainings():
    old = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    auto = Auto(12, 2)
    state = auto.recall(auto.init(KEY, 2, 9), old, -np.abs(old - 0.9).sum(axis=1))
    assert np.median(auto.ask(state)[0].unit) > 0.7
    assert float(state.unit[:40, -1].min()) == 1.0


def test_without_rungs_any_number_of_any_points_may_be_told():
    proposal, state = AUTO.ask(AUTO.init(KEY, 3))
    few = Proposal(proposal.unit[:5], proposal.parent[:5], 1)
    state = AUTO.tell(AUTO.tell(state, few, jnp.zeros(5)), few, jnp.zeros(5))
    assert state.told == 10


def test_rungs_are_told_one_by_one():
    auto = Auto(12, 2)
    proposal, state = auto.ask(auto.init(KEY, 2, 9))
    with pytest.raises(ValueError, match="scores of round 1 to be told first"):
        auto.ask(state)
    with pytest.raises(ValueError, match=r"scores: expected shape \(12,\), the last proposal's, got \(11,\)"):
        auto.tell(state, proposal, jnp.zeros(11))
    with pytest.raises(ValueError, match=r"unit: expected points of shape \(P, 2\), got \(12, 3\)"):
        auto.tell(state, proposal._replace(unit=jnp.zeros((12, 3))), jnp.zeros(12))


@pytest.mark.parametrize(("levels", "told", "few"), [(10, 16, 1), (10, 64, 1), (None, 16, 0), (50, 64, 0)])
def test_few_values_are_known_by_what_was_told(levels, told, few):
    unit = np.asarray(Auto(told).ask(Auto(told).init(KEY, 5))[0].unit)
    unit = unit if levels is None else ((np.floor(unit * levels) + 0.5) / levels).astype(np.float32)
    more = np.concatenate([unit, np.repeat(unit[:1], 60, 0)])  # told after the first rung, or not yet
    rung = np.r_[np.zeros(told), np.ones(20), np.zeros(40)].astype(np.float32)
    assert bool(few_values(jnp.asarray(more), jnp.asarray(rung), told + 20)) == few


def test_values_are_not_few_where_later_points_have_coordinates_of_earlier_ones():
    unit = np.random.default_rng(0).random((32, 3)).astype(np.float32)
    assert not few_values(jnp.asarray(np.concatenate([unit, unit[:2].repeat(80, 0)])), jnp.zeros(192), 192)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [None, 9])
def test_the_forest_has_a_part_where_values_are_few(levels):
    proposal, state = AUTO.ask(AUTO.init(KEY, 3))
    unit = np.asarray(proposal.unit)
    unit = unit if levels is None else ((np.floor(unit * levels) + 0.5) / levels).astype(np.float32)
    state = AUTO.tell(state, proposal._replace(unit=jnp.asarray(unit)), jnp.asarray(-np.abs(unit - 0.3).sum(1)))
    of = GP(population=32, rounds=4, trees=64 if levels else 0)
    np.testing.assert_array_equal(AUTO.ask(state)[0].unit, of.ask(state)[0].unit)
