"""Random, Sobol, Grid and Narrowing, and the history they share."""

import itertools
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp.strategies import Grid, Halving, Narrowing, Random, Sobol, include
from jaxhp.strategies.edges import edges
from jaxhp.strategies.history import append, empty, ranks
from jaxhp.trials import Proposal, Rung

KEY = jax.random.key(7)


def ask_all(strategy, dim, objective=lambda unit: -jnp.sum(unit, axis=1)):
    state = strategy.init(KEY, dim, 3)
    for _ in strategy.schedule(3):
        proposal, state = strategy.ask(state)
        state = strategy.tell(state, proposal, objective(proposal.unit))
    return state


@pytest.mark.parametrize("kind", [Random, Sobol])
def test_a_larger_population_begins_with_the_smaller_ones_points(kind):
    small, large, rounds = (ask_all(s, 3).unit for s in (kind(16), kind(64), kind(16, rounds=4)))
    np.testing.assert_array_equal(small, large[:16])
    np.testing.assert_array_equal(rounds, large)


def test_sobol_fills_every_interval_once():
    unit = np.asarray(ask_all(Sobol(population=128, rounds=2), 64).unit)
    for axis in unit.T:
        assert len(np.unique(np.floor(axis * 256))) == 256


def test_sobol_fills_every_square_of_the_first_two_dimensions_once():
    unit = np.asarray(ask_all(Sobol(population=256), 2).unit)
    assert len(np.unique(np.floor(unit * 16), axis=0)) == 256


def test_sobol_beyond_its_dimensions_is_uniform_and_independent():
    unit = np.asarray(ask_all(Sobol(population=512), 70).unit)[:, 62:]
    np.testing.assert_allclose(unit.mean(0), 0.5, atol=0.06)
    assert np.abs(np.corrcoef(unit.T) - np.eye(8)).max() < 0.2


def test_grid_is_the_whole_grid_in_order():
    grid = Grid(shape=(3, 2, 1), population=4)
    assert grid.schedule(5) == (Rung(4, 5), Rung(2, 5))
    expected = list(itertools.product([0.0, 0.5, 1.0], [0.0, 1.0], [0.5]))
    np.testing.assert_array_equal(ask_all(grid, 3).unit, expected)


def test_grid_gives_each_choice_once():
    for count in (1, 2, 3, 7, 10):
        unit = np.asarray(ask_all(Grid(shape=(count,)), 1).unit)[:, 0]
        assert np.minimum((unit * count).astype(int), count - 1).tolist() == list(range(count))


def test_grid_says_when_it_is_at_its_end():
    grid = Grid(shape=(2, 2))
    with pytest.raises(ValueError, match="4 points"):
        grid.ask(ask_all(grid, 2))
    with pytest.raises(ValueError, match="3 dimensions"):
        grid.init(KEY, 3)


@pytest.mark.parametrize("shape", ["cem", "box"])
def test_narrowing_closes_in_on_the_optimum(shape):
    target = jnp.array([[0.2, 0.7, 0.4]])
    state = ask_all(Narrowing(64, 4, shape=shape), 3, lambda unit: -jnp.sum(jnp.square(unit - target), axis=1))
    unit = np.asarray(state.unit).reshape(4, 64, 3)
    first, last = (np.median(np.abs(part - target), axis=0) for part in (unit[0], unit[-1]))
    assert (last < first / 2).all()


@pytest.mark.parametrize("shape", ["cem", "box"])
def test_narrowing_asks_for_the_same_points_however_many_rounds_follow(shape):
    """Bit for bit: sums over a history are rounded by its room, of which 300 and 500 points had different ones."""
    rng = np.random.default_rng(2)
    noise = [0.1 * rng.normal(size=100) for _ in range(2)]

    def asked(rounds):
        strategy = Narrowing(100, rounds, shape=shape)
        state, found = strategy.init(jax.random.key(2), 3), []
        for luck in (*noise, None):
            proposal, state = strategy.ask(state)
            found.append(np.asarray(proposal.unit))
            if luck is not None:
                score = (luck - ((found[-1] - 0.3) ** 2).sum(1)).astype(np.float32)
                state = strategy.tell(state, proposal, score)
        return np.stack(found)

    few = asked(3)
    assert all(np.array_equal(asked(rounds), few) for rounds in (4, 5, 8))


def test_box_stays_within_the_bounding_box_of_the_elites():
    box = Narrowing(population=(100, 50), shape="box")
    unit = np.asarray(ask_all(box, 2).unit)[:150]
    elite = unit[:100][np.argsort(unit[:100].sum(axis=1))[:10]]
    assert (unit[100:] >= elite.min(axis=0)).all()
    assert (unit[100:] <= np.maximum(elite.max(axis=0), elite.mean(axis=0) + 0.1)).all()


def test_edges_names_the_axes_at_whose_bounds_the_best_lie():
    narrowing = Narrowing(64, 4)
    state = ask_all(narrowing, 3, lambda u: u[:, 0] - u[:, 1] - 4 * jnp.square(u[:, 2] - 0.5))
    assert narrowing.edges(state).tolist() == [1, -1, 0]
    assert edges(np.array([[0.0]]), np.array([np.nan])).tolist() == [0]


def test_one_lucky_point_at_an_edge_is_not_an_edge():
    unit = np.linspace(0, 1, 101)[:, None]
    score = -np.abs(unit[:, 0] - 0.5)
    score[0] = 1.0
    assert edges(unit, score).tolist() == [0]


@settings(max_examples=5)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_history_grows_and_keeps_everything(batches):
    history, units, scores = empty(KEY, 2, 1, 3), [], []
    for number, batch in enumerate(batches):
        rng = np.random.default_rng(number)
        units.append(rng.integers(0, 2**24, (batch, 2), endpoint=True) / 2.0**24)
        scores.append(rng.normal(size=batch).astype(np.float32))
        history = append(history, units[-1], scores[-1])
    assert history.told == sum(batches)
    np.testing.assert_array_equal(history.unit[: history.told], np.concatenate(units).astype(np.float32))
    np.testing.assert_array_equal(history.score[: history.told], np.concatenate(scores))
    assert np.isnan(history.score[history.told :]).all()


def test_ranks_shares_ties_and_puts_diverged_last():
    score = jnp.array([0.5, jnp.nan, 0.9, 0.5, 0.1])
    assert ranks(score).tolist() == [2, 5, 1, 2, 4]


def test_an_earlier_search_can_be_recalled():
    narrowing = Narrowing(population=32, rounds=2)
    old = np.random.default_rng(0).random((200, 2), np.float32)
    score = -np.abs(old - 0.9).sum(axis=1)
    proposal, _ = narrowing.ask(narrowing.recall(narrowing.init(KEY, 2), old, score))
    assert np.median(proposal.unit) > 0.7


def test_points_of_ones_own_can_be_included():
    halving = Halving(9)
    asked, state = halving.ask(halving.init(KEY, 2, 3))
    mine = include(asked, np.full((2, 2), 0.25, np.float32))
    np.testing.assert_array_equal(mine.unit[:2], 0.25)
    np.testing.assert_array_equal(mine.unit[2:], asked.unit[2:])
    state = halving.tell(state, mine, jnp.arange(9.0)[::-1])
    after, _ = halving.ask(state)
    np.testing.assert_array_equal(after.unit[:2], 0.25)
    with pytest.raises(ValueError, match="at most 0 points of 2 dimensions"):
        include(after, np.full((1, 2), 0.25))


def test_any_kind_of_key_will_do():
    for key in (jax.random.PRNGKey(3), jax.random.key(3, impl="rbg")):
        assert Random(4).ask(Random(4).init(key, 2))[0].unit.shape == (4, 2)


def test_no_recompilation_from_round_to_round():
    narrowing = Narrowing(population=8, rounds=6)
    state = narrowing.init(KEY, 2)
    for number in range(6):
        with jax.no_tracing() if number >= 3 else nullcontext():
            proposal, state = narrowing.ask(state)
            state = narrowing.tell(state, proposal, jnp.zeros(8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Random(population=0), "Random population: expected at least 1, got 0"),
        (lambda: Random(population=()), "Random population: expected at least one round"),
        (lambda: Sobol(population=4, rounds=0), "Sobol rounds: expected at least 1, got 0"),
        (lambda: Grid(shape=()), "Grid shape"),
        (lambda: Grid(shape=(3, 0)), "Grid shape: expected at least 1, got 0"),
        (lambda: Narrowing(shape="ball"), "Narrowing shape: expected 'cem' or 'box', got 'ball'"),
        (lambda: Narrowing(elite=1.5), "Narrowing elite"),
        (lambda: Random().init(KEY, 0), "dim: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_settings_get_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_bad_types_get_one_clear_line():
    with pytest.raises(ValueError, match=r"Random population: expected an integer, got 2\.5"):
        Random(population=2.5)


def test_points_outside_the_cube_are_refused():
    random = Random(population=2)
    _, state = random.ask(random.init(KEY, 1))
    bad = Proposal(np.array([[0.5], [1.5]], np.float32), np.full(2, -1, np.int32), 1)
    with pytest.raises(ValueError, match=r"unit: expected values in \[0, 1\]"):
        random.tell(state, bad, jnp.zeros(2))
