"""The contract of a strategy, as checks that anyone can run on a strategy of their own.

    >>> from jaxhp.strategies import testing
    >>> from jaxhp.strategies import Random
    >>> testing.check_strategy(Random(population=4), dims=(2,))

Each check of `CHECKS` is a function of `(strategy, dim)` that raises an AssertionError saying what was broken; with
pytest, parametrize over them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.strategies.base import Strategy
from jaxhp.trials import Proposal

EPOCHS = 9
Objective = Callable[[np.ndarray], np.ndarray]


def check_strategy(strategy: Strategy, dims: Iterable[int] = (1, 2, 20), keyed: bool = True) -> None:
    """Run every check at every number of dimensions.

    Args:
      strategy: what to check.
      dims: numbers of dimensions, each at least 1.
      keyed: whether other keys should give other points; False for a strategy that draws nothing.

    Raises:
      AssertionError: naming what the strategy broke.
    """
    for dim in dims:
        for check in CHECKS:
            if keyed or check is not check_key_matters:
                check(strategy, dim)


def check_schedule(strategy: Strategy, dim: int) -> None:
    """The schedule is plain data, and every ask is what it says."""
    schedule = strategy.schedule(EPOCHS)
    _require(isinstance(schedule, tuple) and len(schedule) > 0, f"schedule: expected a tuple of Rungs, got {schedule}")
    for rung in schedule:
        plain = all(isinstance(value, int) for value in rung)
        _require(plain, f"schedule: expected Rungs of two ints, got {rung!r}")
        _require(rung.trials >= 1 and 1 <= rung.epochs <= EPOCHS, f"schedule: {rung} is out of bounds")
    _require(hash(strategy) == hash(strategy), "the strategy must be hashable")
    for rung, (proposal, _) in zip(schedule, _run(strategy, dim, _bowl), strict=True):
        _require(proposal.unit.shape == (rung.trials, dim), f"unit: {proposal.unit.shape} where {rung} was scheduled")
        _require(int(proposal.budget) == rung.epochs, f"budget: {proposal.budget} where {rung} was scheduled")


def check_bounds(strategy: Strategy, dim: int) -> None:
    """Points are f32 multiples of 2**-24 in the unit cube; parents are rows of the last population, or -1."""
    _bounds(_run(strategy, dim, _bowl))


def check_determinism(strategy: Strategy, dim: int) -> None:
    """The same key gives the same search, bit for bit."""
    for (a, _), (b, _) in zip(_run(strategy, dim, _bowl), _run(strategy, dim, _bowl), strict=True):
        _require(_same(a, b), "two searches with the same key differ")


def check_key_matters(strategy: Strategy, dim: int) -> None:
    """Another key gives other points."""
    first, second = (next(_run(strategy, dim, _bowl, seed))[0] for seed in (0, 1))
    _require(not np.array_equal(first.unit, second.unit), "two keys gave the same points")


def check_purity(strategy: Strategy, dim: int) -> None:
    """Asking the same state twice gives the same; states are values, left as they were by ask and tell."""
    state = strategy.init(jax.random.key(0), dim, EPOCHS)
    for _ in strategy.schedule(EPOCHS)[:3]:
        before = [np.array(leaf) for leaf in jax.tree.leaves(state)]
        first, after = strategy.ask(state)
        again, _ = strategy.ask(state)
        _require(_same(first, again), "the same state was asked twice and gave two proposals")
        state_told = strategy.tell(after, first, jnp.asarray(_bowl(np.asarray(first.unit))))
        leaves = jax.tree.leaves(state)
        _require(
            all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, leaves, strict=True)), "state changed"
        )
        state = state_told


def check_jit(strategy: Strategy, dim: int) -> None:
    """`ask` and `tell` work under `jax.jit`."""
    state = strategy.init(jax.random.key(0), dim, EPOCHS)
    ask, tell = jax.jit(strategy.ask), jax.jit(strategy.tell)
    steps = []
    for rung in strategy.schedule(EPOCHS)[:3]:
        try:
            proposal, state = ask(state)
            scores = jnp.asarray(_bowl(np.asarray(proposal.unit)))
            state = tell(state, proposal, scores)
        except (jax.errors.JAXTypeError, TypeError) as error:
            raise AssertionError(f"ask and tell must work under jax.jit: {str(error).splitlines()[0]}") from error
        _require(proposal.unit.shape == (rung.trials, dim), f"under jit: unit has shape {proposal.unit.shape}")
        steps.append((proposal, np.asarray(scores)))
    _bounds(steps)
    eager = next(_run(strategy, dim, _bowl))[0]
    _require(np.allclose(steps[0][0].unit, eager.unit, atol=1e-5), "the first proposal differs under jit")


def check_diverged(strategy: Strategy, dim: int) -> None:
    """NaN scores, some or all, never stop a search, and a diverged member is never continued while others live."""
    _bounds(_run(strategy, dim, _all_diverged))
    last: np.ndarray | None = None
    for proposal, scores in _bounds(_run(strategy, dim, _half_diverged)):
        parent = np.asarray(proposal.parent)
        if last is not None and not np.isnan(last).all():
            _require(not bool(np.isnan(last[parent[parent >= 0]]).any()), "a diverged member was continued")
        last = scores


def check_best_survive(strategy: Strategy, dim: int) -> None:
    """A strategy that continues only some members continues the best of them."""
    last: np.ndarray | None = None
    for proposal, scores in _run(strategy, dim, _bowl):
        kept = np.unique(np.asarray(proposal.parent))
        kept = kept[kept >= 0]
        if last is not None and len(kept):
            _require(int(np.argmax(last)) in kept, "the best member was given up while others were continued")
        last = scores


def check_improves(strategy: Strategy, dim: int) -> None:
    """Scores are higher-is-better: over an easy bowl, later points are not worse than a first round of 8 or more."""
    first, *rest = (scores for _, scores in _run(strategy, dim, _bowl))
    if len(first) >= 8 and rest:
        before, after = float(np.mean(first)), float(np.mean(np.concatenate(rest)))
        _require(after > before - float(np.std(first)), f"the mean score fell from {before:.3f} to {after:.3f}")


def check_ties(strategy: Strategy, dim: int) -> None:
    """Constant and massively tied scores give points that still differ."""
    for objective in (_constant, _steps):
        for proposal, _ in _bounds(_run(strategy, dim, objective)):
            fresh = np.asarray(proposal.unit)[np.asarray(proposal.parent) < 0]
            if len(fresh) >= 8:
                _require(len(np.unique(fresh, axis=0)) > len(fresh) // 2, "ties: most proposed points are copies")


def check_extremes(strategy: Strategy, dim: int) -> None:
    """Very large, very small and infinite scores give valid points."""
    _bounds(_run(strategy, dim, _huge))


def check_beyond(strategy: Strategy, dim: int) -> None:
    """After the schedule, `ask` goes on, or says in a ValueError that it is at its end."""
    try:
        _bounds(_run(strategy, dim, _bowl, extra=2))
    except ValueError as error:
        _require(bool(str(error)), "ask beyond the schedule raised a ValueError without a message")


def check_saved(strategy: Strategy, dim: int) -> None:
    """A state's leaves are arrays; saved and loaded, it goes on exactly as before."""
    state = strategy.init(jax.random.key(0), dim, EPOCHS)
    for _ in strategy.schedule(EPOCHS)[:3]:
        proposal, state = strategy.ask(state)
        state = strategy.tell(state, proposal, jnp.asarray(_bowl(np.asarray(proposal.unit))))
        leaves, structure = jax.tree.flatten(state)
        for leaf in leaves:
            array = isinstance(leaf, (jax.Array, np.ndarray)) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
            _require(array, f"state: expected plain arrays as leaves, got {type(leaf).__name__}")
        file = io.BytesIO()
        np.savez(file, *leaves)
        file.seek(0)
        with np.load(file) as saved:
            loaded = jax.tree.unflatten(structure, [saved[f"arr_{i}"] for i in range(len(leaves))])
        try:
            expected = strategy.ask(state)[0]
        except ValueError:  # the end of a finite strategy
            return
        _require(_same(expected, strategy.ask(loaded)[0]), "a saved and loaded state asks for other points")


def check_bad_input(strategy: Strategy, dim: int) -> None:
    """Scores of the wrong length are refused with a ValueError."""
    proposal, state = strategy.ask(strategy.init(jax.random.key(0), dim, EPOCHS))
    try:
        strategy.tell(state, proposal, jnp.zeros(len(proposal.unit) + 1))
    except ValueError:
        return
    raise AssertionError("tell: expected a ValueError for more scores than points")


CHECKS: tuple[Callable[[Strategy, int], None], ...] = (
    check_schedule,
    check_bounds,
    check_determinism,
    check_key_matters,
    check_purity,
    check_jit,
    check_diverged,
    check_best_survive,
    check_improves,
    check_ties,
    check_extremes,
    check_beyond,
    check_saved,
    check_bad_input,
)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _run(
    strategy: Strategy, dim: int, objective: Objective, seed: int = 0, extra: int = 0
) -> Iterator[tuple[Proposal, np.ndarray]]:
    """Every proposal of a search with the f32[P] scores that it was told."""
    state: Any = strategy.init(jax.random.key(seed), dim, EPOCHS)
    for _ in range(len(strategy.schedule(EPOCHS)) + extra):
        proposal, state = strategy.ask(state)
        scores = objective(np.asarray(proposal.unit)).astype(np.float32)
        yield proposal, scores
        state = strategy.tell(state, proposal, jnp.asarray(scores))


def _bounds(steps: Iterable[tuple[Proposal, np.ndarray]]) -> list[tuple[Proposal, np.ndarray]]:
    """The steps, each found to be a valid proposal."""
    seen = []
    last = 0
    for proposal, scores in steps:
        seen.append((proposal, scores))
        unit, parent = np.asarray(proposal.unit), np.asarray(proposal.parent)
        _require(unit.dtype == np.float32, f"unit: expected float32, got {unit.dtype}")
        inside = np.isfinite(unit) & (unit >= 0) & (unit <= 1)
        _require(bool(inside.all()), f"unit: expected points in [0, 1], got {unit[~inside][:3]}")
        _require(bool((unit * 2.0**24 % 1 == 0).all()), "unit: expected multiples of 2**-24")
        _require(parent.dtype == np.int32 and parent.shape == unit.shape[:1], "parent: expected i32, one a row")
        known = (parent >= -1) & (parent < last)
        _require(bool(known.all()), f"parent: expected -1 or a row below {last}, got {parent[~known][:3]}")
        last = len(unit)
    return seen


def _same(a: Proposal, b: Proposal) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _bowl(unit: np.ndarray) -> np.ndarray:
    return -np.mean((unit - 0.3) ** 2, axis=1)


def _all_diverged(unit: np.ndarray) -> np.ndarray:
    return np.full(len(unit), np.nan)


def _half_diverged(unit: np.ndarray) -> np.ndarray:
    return np.where(unit[:, 0] > 0.5, np.nan, _bowl(unit))


def _constant(unit: np.ndarray) -> np.ndarray:
    return np.full(len(unit), 0.1)


def _steps(unit: np.ndarray) -> np.ndarray:
    return (unit[:, 0] > 0.5).astype(np.float32)


def _huge(unit: np.ndarray) -> np.ndarray:
    scores = np.float32(3e38) * np.cos(40 * unit[:, 0]).astype(np.float32)
    scores[::5] = -np.inf
    scores[1::7] = np.inf
    return scores
