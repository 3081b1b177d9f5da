"""Shapes and dtypes are checked in every test: a call of the wrong kind fails where it is made, not where it hurts."""

import importlib
import subprocess
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checked import CHECKED
from jaxtyping import TypeCheckError

from jaxhp.engine.layout import Layout
from jaxhp.engine.scores import rank_trials
from jaxhp.selection.budgets import latest
from jaxhp.selection.intervals import crossed_mean
from jaxhp.strategies import PBT, Halving, Random
from jaxhp.strategies.edges import edges
from jaxhp.strategies.gp import squares
from jaxhp.strategies.history import History

KEY = jax.random.key(0)
STRATEGIES = [Random(4), Halving(4), PBT(4)]


@pytest.mark.parametrize("name", CHECKED)
def test_every_annotated_module_is_checked(name):
    assert "jaxtyping" in vars(importlib.import_module(name))  # the hook has put it there


@pytest.mark.parametrize("strategy", STRATEGIES, ids=["random", "halving", "pbt"])
@pytest.mark.parametrize(
    "scores",
    [np.zeros((4, 1), np.float32), np.float32(0), np.zeros(4), np.zeros(4, np.int32), [0.0] * 4],
    ids=["rank_2", "rank_0", "f64", "i32", "list"],
)
def test_a_strategy_is_told_f32_scores(strategy, scores):
    proposal, state = strategy.ask(strategy.init(KEY, 2, 3))
    with pytest.raises(TypeCheckError, match="scores"):
        strategy.tell(state, proposal, scores)
    strategy.tell(state, proposal, np.zeros(4, np.float32))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=["random", "halving", "pbt"])
def test_the_number_of_scores_is_checked_for_everyone(strategy):
    proposal, state = strategy.ask(strategy.init(KEY, 2, 3))
    with pytest.raises(ValueError, match=r"scores: expected shape \(4,\)"):
        strategy.tell(state, proposal, np.zeros(5, np.float32))


def history(**other):
    parts: dict[str, Any] = {"key": jnp.zeros(2, jnp.uint32), "unit": jnp.zeros((5, 2)), "score": jnp.zeros(5)}
    return History(**parts | other)


def layout(slots):
    return Layout(np.zeros((3, 2), np.int32), np.zeros(3, np.int32), np.zeros(3, np.int32), slots)


def ranked(tiles):
    tile, shape = jnp.zeros((1, 1, 4)), (tiles, 1)
    slots = jnp.zeros((4, 1), jnp.int32)
    curve, stop = jnp.zeros((1, 1, 4, 3, 2, 1)), jnp.ones(shape, jnp.int32)
    rank = partial(rank_trials, metric=0, mode="max", n_valid=10)
    return jax.eval_shape(rank, curve, tile, tile.astype(jnp.int32), stop, slots)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (history, lambda: history(score=jnp.zeros(6))),
        (history, lambda: history(unit=jnp.zeros((6, 2)))),
        (lambda: layout(np.zeros((4, 1), np.int32)), lambda: layout(np.zeros(4, np.int32))),
        (lambda: layout(np.zeros((4, 1), np.int32)), lambda: layout(np.zeros((4, 1)))),
        (lambda: ranked(1), lambda: ranked(2)),
        (lambda: squares(jnp.zeros((3, 2)), jnp.zeros((4, 2))), lambda: squares(jnp.zeros((3, 2)), jnp.zeros((4, 3)))),
        (lambda: edges(np.zeros((3, 2)), np.zeros(3)), lambda: edges(np.zeros((3, 2)), np.zeros(4))),
        (lambda: latest(np.zeros((3, 2))), lambda: latest(np.zeros(3))),
        (
            lambda: crossed_mean(np.zeros((2, 5)), np.arange(5) % 2),
            lambda: crossed_mean(np.zeros((2, 5)), np.arange(4) % 2),
        ),
    ],
)
def test_axes_of_one_name_are_equal_and_dtypes_those_named(right, wrong):
    right()
    with pytest.raises(TypeCheckError):
        wrong()


def test_annotations_do_not_import_jax():
    modules = ["jaxhp.trials", "jaxhp.strategies.edges", *(name for name in CHECKED if "selection" in name)]
    imports = "".join(f"import {name}\nif 'jax' in sys.modules: sys.exit('{name}')\n" for name in modules)
    subprocess.run([sys.executable, "-c", f"import sys\n{imports}"], check=True)
