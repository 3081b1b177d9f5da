"""Functions of a task that ask where their training stands."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import task

import jaxhp as hp
from jaxhp.search.anew import Retraining
from jaxhp.search.groups import spec_of
from jaxhp.search.sealed import open_test
from jaxhp.selection.stretches import Stretch

LR = {"lr": np.dtype(np.float32)}


def counting(**changes):
    """A task whose weight is the sum of a cosine's learning rates, and whose state is the last of them."""

    def optimizer(config, *, steps):
        rate = hp.schedules.cosine(config["lr"], steps)
        return optax.chain(
            optax.GradientTransformation(
                lambda params: jnp.zeros((), jnp.int32),
                lambda updates, state, params=None: (jax.tree.map(lambda u: -rate(state) * u, updates), state + 1),
            )
        )

    def evaluate(params, batch, config, *, step, steps, epoch):
        known = jnp.stack([params["w"], step.astype(jnp.float32), steps.astype(jnp.float32), epoch.astype(jnp.float32)])
        return {name: jnp.broadcast_to(known[i], batch["x"].shape[:1]) for i, name in enumerate(("sum", "a", "b", "c"))}

    parts = {
        "init": lambda key, config: {"w": jnp.zeros(())},
        "loss": lambda params, batch, key, config: params["w"],
        "optimizer": optimizer,
        "evaluate": evaluate,
        "train": {"x": np.zeros((30, 1), np.float32)},
        "valid": {"x": np.zeros((10, 1), np.float32)},
    }
    return hp.Task(**(parts | changes), batch_size=10, metric="sum", mode="min")


def total(lr: float, steps: int) -> float:
    """What the weight has come to: minus the sum of the cosine's rates over a training of so many steps."""
    return -float(np.sum(lr * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2))


def test_a_cosine_over_steps_ends_with_the_training_in_the_search_and_its_finals():
    space, finals = hp.Space(lr=hp.Uniform(0.1, 1.0)), hp.Finals(2, 4)
    result = hp.Search(counting(), space, hp.Random(6), epochs=4, tile=8, finals=finals).run(
        quiet=True, devices=jax.local_devices()[:1]
    )
    for trial in result.trials:  # 3 steps an epoch
        assert trial.score == pytest.approx(total(trial.config["lr"], 12), rel=1e-5)
        np.testing.assert_array_equal(trial.curve["valid_a"], [3, 6, 9, 12])
        np.testing.assert_array_equal(trial.curve["valid_b"], [12] * 4)
        np.testing.assert_array_equal(trial.curve["valid_c"], [1, 2, 3, 4])
    for trial, scores in result.finals.items():
        lr = next(t.config["lr"] for t in result.trials if t.trial_id == trial)
        np.testing.assert_allclose(scores[np.isfinite(scores)], total(lr, 12), rtol=1e-5)


def test_and_in_the_sealed_test_which_has_more_steps():
    """40 examples: 4 steps an epoch."""
    of = counting(test={"x": np.zeros((5, 1), np.float32)})
    how = Retraining(4, 0, True, 1, jax.local_devices()[:1])
    history = (Stretch(0, {"lr": 0.5}, 4),)
    found = open_test(lambda _: spec_of(of, {}, LR), how, 0, history, None, 0, 2)
    np.testing.assert_allclose(found.scores, total(0.5, 16), rtol=1e-5)


def test_a_loss_gets_the_step_and_the_epoch():
    """Its gradient is the step, so the weight is minus the sum of all steps, and of the epochs of each."""

    def loss(params, batch, key, config, *, step, epoch):
        return params["w"] * (step + 100.0 * epoch)

    of = counting(loss=loss, optimizer=lambda config: optax.sgd(config["lr"]))
    assert hp.score(of, [{"lr": 1.0}], epochs=3, tile=2)[0] == -(sum(range(9)) + 100 * 3 * (0 + 1 + 2))


def test_steps_that_are_needed_in_python_are_refused_by_name():
    of = counting(optimizer=lambda config, *, steps: optax.sgd(optax.cosine_decay_schedule(config["lr"], steps)))
    with pytest.raises(hp.Error, match="'steps' as data"):
        spec_of(of, {}, LR)


def test_a_name_that_is_bound_is_not_asked_for():
    from functools import partial

    from jaxhp.tasks.clock import asked

    def optimizer(config, *, steps):
        return optax.sgd(config["lr"] / steps)

    assert asked(optimizer) == ("steps",)
    assert asked(partial(optimizer, steps=200)) == ()
    assert asked(lambda config, steps=200: None) == ()
    assert asked(lambda config, **more: None) == ()
    spec_of(task(optimizer=partial(optimizer, steps=200)), {}, LR)
