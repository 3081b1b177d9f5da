"""Typed keys of random numbers in a model's state and in an optimizer's are trained, kept and given back as keys."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from crash import Killed, dying
from small_search import Shared, search, task

import jaxhp as hp
from jaxhp.engine.streams import Keys, key_of
from jaxhp.keys import bare
from jaxhp.search.anew import Retraining
from jaxhp.search.groups import spec_of
from jaxhp.search.sealed import open_test
from jaxhp.selection.stretches import Stretch
from jaxhp.tasks.clock import asked

LR = {"lr": np.dtype(np.float32)}


def error(variables, batch):
    return ((batch["x"] @ variables.params["w"]).prod(-1) - batch["y"]) ** 2


def init(key, config):
    return hp.Variables(
        {"w": 0.3 * jax.random.normal(key, (4, 2))}, {"keys": jax.random.split(key, 2), "seen": jnp.zeros(3, jnp.int32)}
    )


def loss(variables, batch, key, config):
    mine, following = jax.vmap(jax.random.split, out_axes=1)(variables.state["keys"])
    noise = jax.random.normal(mine[0], (4, 2))
    value = jnp.mean(error(variables, batch)) + 0.1 * jnp.sum(noise * variables.params["w"])
    return value, {"keys": following, "seen": variables.state["seen"] + 1}


def evaluate(variables, batch, config):
    assert jnp.issubdtype(variables.state["keys"].dtype, jax.dtypes.prng_key)
    return {"error": error(variables, batch)}


def optimizer(config, *, steps):
    """SGD with noise from a key in its state."""
    inner = optax.sgd(config["lr"])

    def update(gradients, state, params=None, *, value, **more):
        key, following = jax.random.split(state[0])
        gradients = jax.tree.map(lambda g: g + 0.01 * jax.random.normal(key, g.shape), gradients)
        return inner.update(gradients, state[1], params)[0], (following, state[1], value)

    return optax.GradientTransformationExtraArgs(
        lambda params: (jax.random.key(7), inner.init(params), jnp.float32(0)), update
    )


def made() -> hp.Task:
    return task(init=init, loss=loss, evaluate=evaluate, optimizer=optimizer)


def plain(of: hp.Task, lr: float, epochs: int) -> hp.Variables:
    """A loop of one's own, with keys that are keys."""
    root, rule = jax.random.key(0), optimizer({"lr": lr}, steps=1)
    variables = init(key_of(root, Keys.INIT, 0), {})
    state, n = rule.init(variables.params), len(of.train["x"])

    @jax.jit
    def step(variables, state, batch):
        of_params = lambda params: loss(hp.Variables(params, variables.state), batch, None, {})  # noqa: E731
        (value, after), gradients = jax.value_and_grad(of_params, has_aux=True)(variables.params)
        updates, state = rule.update(gradients, state, variables.params, value=value)
        return hp.Variables(optax.apply_updates(variables.params, updates), after), state

    for epoch in range(epochs):
        key = jax.random.fold_in(key_of(root, Keys.ORDER, 0), epoch)
        order = np.argsort(np.asarray(jax.random.bits(key, (n,))) >> 1, kind="stable")
        for start in range(0, n, 10):
            batch = {name: column[order[start : start + 10]] for name, column in of.train.items()}
            variables, state = step(variables, state, batch)
    return variables


SEARCH = search("halving", task=made(), kind_of=Shared, space=hp.Space(lr=hp.LogUniform(1e-3, 0.1)))


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    return SEARCH.run(tmp_path_factory.mktemp("run"), quiet=True)


def test_a_member_is_that_of_a_plain_loop_and_its_keys_are_keys(left_alone):
    best = left_alone.best
    want = plain(SEARCH.task, best.config["lr"], 9)
    for found in (best.params, SEARCH.run(left_alone.directory, quiet=True).best.params):
        assert jax.tree.structure(found) == jax.tree.structure(want)
        np.testing.assert_allclose(found.params["w"], want.params["w"], rtol=1e-4, atol=1e-6)
        assert found.state["keys"].dtype == want.state["keys"].dtype
        np.testing.assert_array_equal(*map(jax.random.key_data, (found.state["keys"], want.state["keys"])))
        assert found.state["seen"].tolist() == [27] * 3  # 9 epochs of 3 steps
    numbers = hp.Result.load(left_alone.directory).best.params  # without the task
    np.testing.assert_array_equal(numbers["state"]["keys"], jax.random.key_data(want.state["keys"]))


@pytest.mark.slow
@pytest.mark.parametrize("point", ["checkpoint named", "round finished"])
def test_a_killed_search_goes_on_to_the_same_bits(point, left_alone, tmp_path, monkeypatch):
    monkeypatch.setattr(Shared, "watch", [dying(point, 2)])
    with pytest.raises(Killed):
        SEARCH.run(tmp_path, quiet=True, checkpoint_s=0)
    monkeypatch.setattr(Shared, "watch", [])
    resumed = SEARCH.run(tmp_path, quiet=True, checkpoint_s=0)
    assert resumed.digest == left_alone.digest
    jax.tree.map(np.testing.assert_array_equal, bare(resumed.best.params), bare(left_alone.best.params))


@pytest.mark.slow
def test_keys_in_the_sealed_test():
    x = np.random.default_rng(5).normal(size=(5, 4)).astype(np.float32)
    fresh = {"x": x, "y": np.ones(5, np.float32)}
    of = task(init=init, loss=loss, evaluate=evaluate, optimizer=optimizer, test=fresh)
    how, spec = Retraining(3, 0, True, 0, jax.local_devices()[:1]), spec_of(of, {}, LR)
    found = open_test(lambda _: spec, how, 0, (Stretch(0, {"lr": 0.05}, 3),), None, 0, 2)
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), of.train, of.valid)
    first = float(np.mean(error(plain(replace(of, train=whole), 0.05, 3), fresh)))
    assert found.scores[0] == pytest.approx(first, rel=1e-4)
    assert found.scores[1] != found.scores[0]


def test_a_task_without_keys_is_left_as_it_is_and_one_with_keys_asks_for_what_it_asked():
    of = task()
    assert spec_of(of, {}, LR).task is of
    spec = spec_of(made(), {}, LR)
    assert asked(spec.task.optimizer) == ("steps",)
    assert asked(spec.task.loss) == ()
    assert {leaf.dtype for leaf in jax.tree.leaves(spec.shapes.member)} == {*map(np.dtype, ("u4", "i4", "f4"))}


def test_a_key_among_the_weights_is_refused():
    wrong = task(init=lambda key, config: {"w": jnp.ones((4, 2)), "key": key})
    with pytest.raises(
        hp.Error, match=r"Task init: expected floating point parameters, got key<fry> at params\['key'\]"
    ):
        spec_of(wrong, {}, LR)


def test_a_key_whose_numbers_depend_on_the_members_beside_is_refused():
    other = lambda key, config: init(key, config)._replace(state={"keys": jax.random.key(0, impl="rbg")})  # noqa: E731
    with pytest.raises(hp.Error, match=r"Task init: expected keys of threefry2x32, got key<rbg>\[\] at .*keys"):
        spec_of(task(init=other, loss=loss, evaluate=evaluate), {}, LR)
