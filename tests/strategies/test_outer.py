"""Outer moves, and when Auto makes them: where points are told elsewhere than they were asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp import Choice, IntUniform, LogUniform, Space, Uniform
from jaxhp.strategies import GP, Auto, Sobol, include
from jaxhp.strategies.history import COMPARED, displaced
from jaxhp.strategies.outer import moves
from jaxhp.trials import Proposal

KEY = jax.random.key(5)
POOL = np.random.default_rng(0).random((400, 3)).astype(np.float32)
GRID = ((np.stack(np.meshgrid(*[np.arange(9)] * 3), axis=-1).reshape(-1, 3) + 0.5) / 9).astype(np.float32)
AUTO = Auto(population=32, rounds=4)  # of the shapes of test_adversarial.py, whose programs serve these tests


def nearest(unit, pool=POOL):
    """The nearest configs of a pool, none taken twice."""
    free, rows = np.ones(len(pool), bool), []
    for point in np.asarray(unit):
        rows.append(np.where(free, np.square(pool - point).sum(axis=1), np.inf).argmin())
        free[rows[-1]] = False
    return pool[rows]


def worth(unit):
    return jnp.asarray(-np.abs(np.asarray(unit) - 0.3).sum(axis=1), jnp.float32)


def told(strategy, state, proposal, unit):
    parent = np.full(len(unit), -1, np.int32)
    return strategy.tell(state, Proposal(jnp.asarray(unit, jnp.float32), parent, 1), worth(unit))


def first_round(becomes, strategy=AUTO, dim=3):
    """The state after a first round whose f32[P, D] points were told as what `becomes` of them."""
    proposal, state = strategy.ask(strategy.init(KEY, dim))
    return told(strategy, state, proposal, becomes(proposal.unit))


def asked(state, strategy=AUTO):
    return np.asarray(strategy.ask(state)[0].unit)


def modelled(state):
    return asked(state, GP(population=32, rounds=4, trees=64))


@pytest.mark.slow
def test_three_of_four_rows_are_outer_moves_where_the_nearest_config_is_told():
    state = first_round(nearest)
    assert state.displaced
    ours, model = asked(state), modelled(state)
    np.testing.assert_array_equal(ours[::4], model[:8])
    outer = np.delete(ours, np.s_[::4], axis=0)
    assert np.isin(outer, (0.0, 1.0)).any(axis=1).mean() > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("becomes", [np.asarray, lambda unit: nearest(unit, GRID)], ids=["as_asked", "a_grid"])
def test_no_row_is_an_outer_move_where_points_are_told_as_asked_or_rounded(becomes):
    state = first_round(becomes)
    assert not state.displaced
    np.testing.assert_array_equal(asked(state), modelled(state))


SPACES = {
    "floats": Space(lr=LogUniform(1e-6, 1e-1), decay=LogUniform(1e-8, 1e-2), drop=Uniform(0, 0.7)),
    "mixed": Space(lr=LogUniform(1e-4, 1), layers=IntUniform(1, 5), kind=Choice(["a", "b", "c"])),
    "integers": Space(layers=IntUniform(1, 5), width=IntUniform(8, 512, log=True), depth=IntUniform(1, 10, log=True)),
    "conditional": Space(
        kind=Choice(["a", "b", "c"]),
        **{f"{kind}{i}": Uniform(0, 1, when={"kind": kind}) for kind in "abc" for i in range(3)},
    ),
}


@pytest.mark.parametrize("size", [4, 64])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_what_a_search_makes_of_points_is_no_displacement(space, size):
    unit = Sobol(size).ask(Sobol(size).init(KEY, space.dim))[0].unit
    canonical = np.stack([space.unit(config) for config in space.configs(np.asarray(unit))])
    assert not displaced(unit, jnp.asarray(canonical))


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.sampled_from([2, 5]), st.sampled_from([3, 16, COMPARED]))
def test_other_points_than_those_asked_for_are_no_displacement(seed, dim, size):
    rng = np.random.default_rng(seed)
    unit, other = rng.random((2, size, dim), np.float32)
    assert not displaced(jnp.asarray(unit), jnp.asarray(other))
    assert not displaced(jnp.asarray(unit), jnp.asarray(np.roll(unit, 1, axis=0)))
    assert not displaced(jnp.asarray(unit), jnp.asarray(np.where(np.arange(size)[:, None] < size // 3, other, unit)))


@pytest.mark.parametrize(("dim", "size"), [(3, 64), (7, 16), (7, 300), (20, 64)])
def test_a_pool_is_recognised_whatever_its_dimensions(dim, size):
    pool = np.random.default_rng(dim).random((1500, dim)).astype(np.float32)
    assert first_round(lambda unit: nearest(unit, pool), Auto(population=size), dim).displaced


def test_points_included_and_rounds_cut_short_are_compared_row_by_row():
    proposal, state = AUTO.ask(AUTO.init(KEY, 3))
    mine = include(proposal, POOL[:5])
    assert not told(AUTO, state, mine, np.asarray(mine.unit)).displaced
    assert told(AUTO, state, mine, nearest(mine.unit)).displaced
    assert told(AUTO, state, proposal, nearest(proposal.unit)[:22]).displaced
    assert not told(AUTO, state, proposal, np.asarray(proposal.unit)[:22]).displaced
    none = told(AUTO, state, proposal, np.zeros((0, 3), np.float32))
    assert not none.displaced
    more = told(AUTO, state, proposal, np.concatenate([np.asarray(proposal.unit), POOL]))
    assert not more.displaced
    halves = told(AUTO, told(AUTO, state, proposal, nearest(proposal.unit)[:24]), proposal, POOL[:8])
    assert halves.displaced


@pytest.mark.slow
def test_an_earlier_search_says_nothing_of_what_becomes_of_points():
    state = AUTO.recall(AUTO.init(KEY, 3), POOL[:32], worth(POOL[:32]))
    assert not state.displaced
    proposal, state = AUTO.ask(state)
    assert not told(AUTO, state, proposal, np.asarray(proposal.unit)).displaced
    assert told(AUTO, state, proposal, nearest(proposal.unit)).displaced


@pytest.mark.slow
def test_a_displaced_search_is_the_same_under_jit():
    ask, tell = jax.jit(AUTO.ask), jax.jit(AUTO.tell)
    proposal, state = ask(AUTO.init(KEY, 3))
    proposal = proposal._replace(unit=jnp.asarray(nearest(proposal.unit)))
    state = tell(state, proposal, worth(proposal.unit))
    assert state.displaced
    again, after = ask(state)
    np.testing.assert_allclose(again.unit[1::2], asked(state)[1::2], atol=1e-6)
    assert tell(after, again, worth(again.unit)).displaced


@pytest.mark.slow
def test_a_displaced_search_is_the_same_after_a_save():
    state = first_round(nearest)
    leaves, structure = jax.tree.flatten(state)
    loaded = jax.tree.unflatten(structure, [np.array(leaf) for leaf in leaves])
    proposal, after = AUTO.ask(loaded)
    np.testing.assert_array_equal(proposal.unit, asked(state))
    assert told(AUTO, after, proposal, nearest(proposal.unit)).displaced  # what the first round showed is kept


@pytest.mark.slow
def test_nothing_is_moved_while_all_diverged():
    proposal, state = AUTO.ask(AUTO.init(KEY, 3))
    unit = jnp.asarray(nearest(proposal.unit))
    state = AUTO.tell(state, proposal._replace(unit=unit), jnp.full(32, jnp.nan))
    assert state.displaced
    np.testing.assert_array_equal(asked(state), modelled(state))


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(0, 2**16), st.sampled_from([1, 4]), st.integers(1, 9))
def test_moves_descend_from_the_best_alive(seed, dim, alive):
    rng = np.random.default_rng(seed)
    unit = rng.random((12, dim), np.float32)
    score = np.where(np.arange(12) < alive, -np.arange(12.0), np.nan).astype(np.float32)
    made = jax.jit(moves, static_argnums=3)
    child = np.asarray(made(jax.random.key(seed), jnp.asarray(unit), jnp.asarray(score), 40))
    assert ((child >= 0) & (child <= 1)).all()
    inherited = (child[:, None] == unit[None, : min(alive, 5)]).any(axis=1)
    assert not inherited.all(axis=1).any()  # each moves at least one coordinate
    assert dim == 1 or inherited.mean() > 0.5
    assert not (child[:, None] == unit[None, min(alive, 5) :]).any()
