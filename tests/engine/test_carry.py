"""Which weights meet the shared minibatch is found in the program, not guessed from names."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import train

import jaxhp as hp
from jaxhp.engine.carry import axes, carry, first_layers, mapped, stacked
from jaxhp.tasks.task import Member

F32 = jnp.float32
BATCH = jax.ShapeDtypeStruct((10, 2, 3), F32)
SHAPES = {
    "first": jax.ShapeDtypeStruct((6, 4), F32),
    "second": jax.ShapeDtypeStruct((4, 5), F32),
    "bias": jax.ShapeDtypeStruct((4,), F32),
}


def found(loss, opt_state=()):
    key = jax.eval_shape(lambda: jax.random.key(0))
    return Member(*first_layers(loss, SHAPES, BATCH, key, {"lr": jax.ShapeDtypeStruct((), F32)}, opt_state))


def test_the_first_layer_is_found_through_reshapes_and_jit():
    def loss(p, batch, key, config):
        x = jax.jit(lambda b: b.reshape(10, 6) / 2)(batch)
        h = jax.jit(lambda x, w, b: x @ w + b)(x, p["first"], p["bias"])
        return (jnp.tanh(h) @ p["second"]).sum() * config["lr"]

    momentum = {"trace": SHAPES, "count": jax.ShapeDtypeStruct((), jnp.int32)}
    leaves = found(loss, momentum)
    assert leaves.variables == {"first": True, "second": False, "bias": False}
    assert leaves.opt_state == {"trace": {"first": True, "second": False, "bias": False}, "count": False}


def test_what_depends_on_the_member_is_not_shared():
    def loss(p, batch, key, config):
        return ((batch.reshape(10, 6) * config["lr"]) @ p["first"]).sum() + p["second"].sum() + p["bias"].sum()

    assert not any(jax.tree.leaves(found(loss).variables))


def test_carried_and_back():
    tree = {"a": np.arange(24).reshape(2, 3, 4), "b": np.arange(6).reshape(2, 3)}
    where = {"a": True, "b": False}
    moved = carry(tree, where)
    assert moved["a"].shape == (2 * 4, 3)
    np.testing.assert_array_equal(moved["a"][4:], tree["a"][1].T)
    np.testing.assert_array_equal(stacked(moved, where, 2)["a"], tree["a"])
    np.testing.assert_array_equal(moved["b"], tree["b"])


def test_vmap_gets_every_member_as_it_was():
    tree = {"a": np.arange(24).reshape(2, 3, 4), "b": np.arange(6).reshape(2, 3)}
    where = {"a": True, "b": False}
    same = jax.vmap(lambda member: member, in_axes=(axes(where),))(mapped(carry(tree, where), where, 2))
    jax.tree.map(np.testing.assert_array_equal, same, tree)


def test_the_product_with_the_minibatch_reads_carried_weights_as_they_lie():
    def product(x, carried):
        return jax.vmap(lambda w: x @ w, axes(True))(mapped(carried, True, 2))

    compiled = jax.jit(product).lower(jnp.ones((50, 60)), jnp.ones((2 * 40, 60))).compile().as_text()
    assert "f32[60,80]" not in compiled  # the transposed copy


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_a_network_with_examples_first_trains_as_one_with_examples_last(optimizer):
    last = hp.tasks.mlp(hp.data.mnist_sample(100), hidden=(8,), optimizer=optimizer, batch_size=20)

    def logits(params, batch):
        x = batch["image"].reshape(len(batch["image"]), -1) * (1 / 255)
        return jax.nn.relu(x @ params[0]["w"] + params[0]["b"]) @ params[1]["w"] + params[1]["b"]

    def losses(params, batch):
        return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch), batch["label"])

    def evaluate(params, batch, config):
        return {"accuracy": (logits(params, batch).argmax(-1) == batch["label"]) * 1.0, "loss": losses(params, batch)}

    def turned(params):
        return [{"w": layer["w"].T, "b": layer["b"]} for layer in params]

    first = replace(
        last,
        init=lambda key, config: turned(last.init(key, config)),
        loss=lambda params, batch, key, config: losses(params, batch).mean(),
        evaluate=evaluate,
        predict=None,
        measure=None,
    )
    configs = [{"lr": lr, "weight_decay": 1e-3} for lr in (1e-3, 3e-3, 1e30, 1e-2, 2e-3)]
    whole = train(first, configs, 2, stops=(1,), tile=2, devices=jax.local_devices())
    same = train(last, configs, 2, tile=2)
    assert whole.population.rules.first_layers.variables == [{"w": True, "b": False}, {"w": False, "b": False}]
    assert not any(jax.tree.leaves(same.population.rules.first_layers))
    np.testing.assert_allclose(whole.ranked.curve[..., 1], same.ranked.curve[..., 1], rtol=1e-3)
    for mine, other in zip(whole.params[:2], same.params[:2], strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), turned(mine), other)
    alone = train(first, configs[:2], 2, tile=2)
    jax.tree.map(np.testing.assert_array_equal, whole.params[:2], alone.params)
    np.testing.assert_array_equal(whole.ranked.curve[:2], alone.ranked.curve)
