"""What a loop is: trained as it would be alone, checked before it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import train
from small_loop import LOOP, epoch, evaluate, init
from small_search import search

import jaxhp as hp
from jaxhp.engine.streams import Keys, key_of
from jaxhp.search.groups import spec_of
from jaxhp.tasks.liveness import held_bytes


def with_clock(state, key, config, *, step, steps, epoch):
    return state + config["lr"] * jnp.stack([step, steps, epoch])


def test_a_member_is_what_the_loop_makes_alone_and_calls_do_not_matter():
    configs = [{"lr": 0.1}, {"lr": 0.45}, {"lr": 0.7}]
    whole, parts = train(LOOP, configs, 5), train(LOOP, configs, 5, stops=(1, 3))
    root = jax.random.key(0)

    @jax.jit
    def alone(lr):
        state = init(key_of(root, Keys.INIT, 0), {"lr": lr})
        for e in range(5):
            key = jax.random.fold_in(jax.random.fold_in(key_of(root, Keys.NOISE, 0), e), 0)
            state = epoch(state, key, {"lr": lr})
        key = jax.random.fold_in(key_of(root, Keys.EVALUATE, 0), 4)
        return state, evaluate(state, key, {"lr": lr})["height"].mean()

    for row, config in enumerate(configs):
        state, height = alone(jnp.float32(config["lr"]))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole.params[row], state)
        np.testing.assert_allclose(whole.ranked.score[row], height, rtol=1e-5)
        jax.tree.map(np.testing.assert_array_equal, whole.params[row], parts.params[row])
    np.testing.assert_array_equal(whole.ranked.curve, parts.ranked.curve)


def test_a_step_is_an_epoch():
    measured = lambda state, key, config, *, step, steps, epoch: {"height": 100 * step + 10 * steps + epoch}  # noqa: E731
    made = hp.Loop(lambda key, config: jnp.zeros(3), with_clock, measured, metric="height")
    found = train(made, [{"lr": 1.0}], 4)
    np.testing.assert_array_equal(found.params[0], [0 + 1 + 2 + 3, 4 * 4, 0 + 1 + 2 + 3])
    np.testing.assert_array_equal(found.ranked.curve[0, :, 1, 0], [141, 242, 343, 444])
    assert np.isnan(found.ranked.stderr[0])  # of one number, nothing tells


def changed(**parts):
    return lambda: search(
        task=hp.Loop(**({"init": init, "epoch": epoch, "evaluate": evaluate, "metric": "height"} | parts))
    )


CASES = {
    "no function": (changed(epoch=3), "Loop epoch: expected a function, got 3"),
    "mode that is none": (changed(mode="best"), "Loop mode: expected 'max' or 'min', got 'best'"),
    "metric that is no name": (changed(metric=None), "Loop metric: expected the name of a metric"),
    "metric that is missing": (changed(metric="depth"), "Loop metric: expected one of height, steps, got 'depth'"),
    "no arrays": (changed(init=lambda key, config: {}), "Loop init: expected a pytree of arrays, got no arrays"),
    "state of another shape": (
        changed(epoch=lambda s, key, config: s._replace(x=s.x[:1] * config["lr"])),
        "Loop epoch: state.x: expected float32[2], got float32[1]",
    ),
    "state of another dtype": (
        changed(epoch=lambda s, key, config: s._replace(steps=s.steps * config["lr"])),
        "Loop epoch: state.steps: expected int32[], got float32[]",
    ),
    "state of another structure": (
        changed(epoch=lambda s, key, config: (s.x * config["lr"],)),
        "Loop epoch: state: expected the structure PyTreeDef",
    ),
    "no metrics": (
        changed(evaluate=lambda s, key, config: s.x),
        "Loop evaluate: expected a dict of metric name to scalar or f32[B], got float32[2]",
    ),
    "no numbers": (
        changed(evaluate=lambda s, key, config: {"height": "low"}),
        "Loop evaluate: raised TypeError when called on shapes",
    ),
    "a matrix": (
        changed(evaluate=lambda s, key, config: {"height": jnp.ones((2, 2))}),
        "Loop evaluate: expected a scalar, or one number a sample, f32[B], for 'height', got float32[2, 2]",
    ),
    "no samples": (
        changed(evaluate=lambda s, key, config: {"height": jnp.ones(0)}),
        "for 'height', got float32[0]",
    ),
    "function that raises": (
        changed(epoch=lambda s, key, config: s.y),
        "Loop epoch: raised AttributeError when called on shapes: 'Walk' object has no attribute 'y'",
    ),
    "parameter that it misses": (
        lambda: search(task=LOOP, space=hp.Space(rate=hp.Uniform(0.1, 1))),
        "space: expected the parameter 'lr', which the loop's epoch reads, got only rate",
    ),
    "parameter that it does not read": (
        lambda: search(task=LOOP, space=hp.Space(lr=hp.Uniform(0.1, 1), momentum=hp.Uniform(0, 1))),
        "space: expected only parameters that the task reads (lr), got also momentum",
    ),
    "number that is wanted in Python": (
        changed(init=lambda key, config: init(key, config)._replace(x=jnp.ones(int(config["lr"])))),
        "Loop init: expected functions that take the parameter 'lr' as data",
    ),
    "folds": (
        lambda: search(task=LOOP, folds=3),
        "folds: expected none with a Loop, which has no examples to deal out, got 3",
    ),
    "holdout": (
        lambda: search(task=LOOP, finals=hp.Finals(2, 4, holdout=0.5)),
        "Finals holdout: expected none with a Loop, which has no examples to deal out, got 0.5",
    ),
    "no task": (
        lambda: search(task=lambda static: 3),
        "task: expected a Task or a Loop, or a function that returns one, got int",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_one_line(name):
    give, message = CASES[name]
    with pytest.raises(hp.Error) as raised:
        give()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_memory_of_a_rollout_is_planned():
    """Observations f32[100, 8] of a game, kept for the update: 3,200 bytes, and twice that where they are squared."""
    shape = jax.ShapeDtypeStruct((8,), jnp.float32)

    def play(state):
        _, seen = jax.lax.scan(lambda s, _: (s * 0.5, s), state, None, 100)
        return (seen**2).sum(0)

    assert 6400 <= held_bytes(play, shape) <= 6600
    made = hp.Loop(
        lambda key, config: jnp.ones(8),
        lambda state, key, config: config["lr"] * play(state),
        lambda state, key, config: {"height": state},
        metric="height",
    )
    assert 6400 <= spec_of(made, {}, {"lr": np.dtype(np.float32)}).shapes.activations <= 6600
