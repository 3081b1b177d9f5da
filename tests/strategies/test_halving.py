"""Halving and Hyperband: their schedules as tables, and who goes on."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp.strategies import TPE, Halving, Hyperband, Narrowing

KEY = jax.random.key(1)


@pytest.mark.parametrize(
    ("strategy", "epochs", "expected"),
    [
        (Halving(81), 27, [(81, 1), (27, 3), (9, 9), (3, 27)]),
        (Halving(81), 10, [(81, 1), (27, 3), (9, 10)]),
        (Halving(16, eta=2), 50, [(16, 1), (8, 2), (4, 4), (2, 7), (1, 14), (1, 26), (1, 50)]),
        (Halving(9, eta=3, min_epochs=2), 6, [(9, 2), (3, 6)]),
        (Halving(9), 2, [(9, 1), (3, 2)]),
        (Halving(9), 1, [(9, 1)]),
        (Halving(9, rounds=2), 3, [(9, 1), (3, 3), (9, 1), (3, 3)]),
        (Halving(9, refill=True), 9, [(9, 1), (9, 3), (9, 9)]),
        (Hyperband(9), 9, [(9, 1), (3, 3), (1, 9), (5, 3), (1, 9), (3, 9)]),
    ],
)
def test_schedule(strategy, epochs, expected):
    assert [tuple(rung) for rung in strategy.schedule(epochs)] == expected


def test_hyperbands_brackets_are_the_papers():
    """Table 1 of the paper, for R = 81 and eta = 3."""
    brackets = [[tuple(rung) for rung in bracket] for bracket in Hyperband(81).brackets(81)]
    assert brackets == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


def rounds(strategy, objective, dim=2, epochs=9):
    """(proposal, scores) of a whole schedule; `objective(unit, epochs)`."""
    state, out = strategy.init(KEY, dim, epochs), []
    for _ in strategy.schedule(epochs):
        proposal, state = strategy.ask(state)
        scores = objective(np.asarray(proposal.unit), proposal.budget)
        state = strategy.tell(state, proposal, jnp.asarray(scores, jnp.float32))
        out.append((proposal, scores))
    return out


@pytest.mark.parametrize("refill", [False, True])
def test_survivors_are_the_best_by_row_with_the_same_bits(refill):
    strategy = Halving(27, refill=refill)
    steps = rounds(strategy, lambda unit, epochs: -np.abs(unit - 0.37).sum(axis=1))
    for ((before, scores), (after, _)), kept in zip(itertools.pairwise(steps), (9, 3), strict=True):
        expected = np.sort(np.argsort(-scores, kind="stable")[:kept])
        np.testing.assert_array_equal(after.parent[:kept], expected)
        np.testing.assert_array_equal(after.unit[:kept], np.asarray(before.unit)[expected])
        assert (np.asarray(after.parent[kept:]) == -1).all()


def test_diverged_members_make_room_for_fresh_points():
    steps = rounds(Halving(27), lambda unit, epochs: np.where(np.arange(len(unit)) < 4, unit[:, 0], np.nan))
    parent = np.asarray(steps[1][0].parent)
    assert parent.tolist() == [0, 1, 2, 3, -1, -1, -1, -1, -1]
    assert len(np.unique(np.concatenate([p.unit for p, _ in steps[:2]]), axis=0)) == 27 + 5


def test_crossing_curves_are_survived_by_the_bracket_that_waits():
    """The best at the end is the worst at first: halving from one epoch loses it, Hyperband's last bracket does not."""

    def slow_starters(unit, epochs):
        return unit[:, 0] * (1 if epochs >= 9 else -1)

    best = {
        kind: max(s.max() for p, s in rounds(kind(27), slow_starters) if p.budget == 9) for kind in (Halving, Hyperband)
    }
    assert best[Halving] < 0.2
    assert best[Hyperband] > 0.7


@pytest.mark.parametrize("inner", [Narrowing(), TPE()], ids=["cem", "tpe"])
def test_inner_learns_from_the_highest_budget_with_enough_points(inner):
    strategy = Halving(27, rounds=2, inner=inner)
    steps = rounds(strategy, lambda unit, epochs: -np.abs(unit - 0.9).sum(axis=1) if epochs > 1 else unit[:, 0] * 0)
    first, second = np.asarray(steps[0][0].unit), np.asarray(steps[3][0].unit)
    assert np.abs(second - 0.9).mean() < np.abs(first - 0.9).mean() / 1.5


def test_recall_warms_the_inner_strategy_at_a_budget():
    strategy = Halving(27, inner=Narrowing())
    old = np.random.default_rng(0).random((60, 2), np.float32)
    state = strategy.recall(strategy.init(KEY, 2, 9), old, -np.abs(old - 0.9).sum(axis=1))
    assert np.median(strategy.ask(state)[0].unit) > 0.7
    with pytest.raises(ValueError, match=r"epochs: expected one of the budgets \[1, 3, 9\], got 5"):
        strategy.recall(state, old, old[:, 0], epochs=5)


def test_scores_must_be_told_before_the_next_ask():
    strategy = Halving(9)
    _, state = strategy.ask(strategy.init(KEY, 2, 9))
    with pytest.raises(ValueError, match="scores of round 1 to be told first"):
        strategy.ask(state)


@pytest.mark.parametrize("bad", [{"eta": 1}, {"population": 0}, {"min_epochs": 0}, {"rounds": 0}])
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=f"Halving {next(iter(bad))}: expected at least"):
        Halving(**bad)
    with pytest.raises(ValueError, match="Halving inner"):
        Halving(inner=Halving())
    with pytest.raises(ValueError, match="at least min_epochs=5, got 3"):
        Halving(min_epochs=5).schedule(3)
