"""`jaxhp.tasks.cnn` against a plain network of lax convolutions, and under a search."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from populations import train

import jaxhp as hp
from jaxhp.tasks.check import check
from jaxhp.tasks.task import create, update

CONFIG = {"lr": 0.1, "weight_decay": 1e-3}


def plain_logits(params, image):
    """The same network as anyone would write it: batch first, ReLU before the pooling."""
    h = image.astype(jnp.float32)[..., None] / 255
    for layer in params[:-2]:
        numbers = ("NHWC", "HWIO", "NHWC")
        h = lax.conv_general_dilated(h, layer["w"], (1, 1), "VALID", dimension_numbers=numbers) + layer["b"]
        h = lax.reduce_window(jax.nn.relu(h), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    h = h.transpose(0, 3, 1, 2).reshape(len(h), -1)
    h = jax.nn.relu(h @ params[-2]["w"].T + params[-2]["b"])
    return h @ params[-1]["w"].T + params[-1]["b"]


def plain_loss(params, batch):
    log_p = jax.nn.log_softmax(plain_logits(params, batch["image"]))
    return -jnp.mean(jnp.take_along_axis(log_p, batch["label"][:, None], 1))


@pytest.mark.slow
def test_a_step_equals_a_plain_network():
    task = hp.tasks.cnn(hp.data.mnist_sample(40), channels=(3, 4), hidden=(10,), batch_size=20)
    batch = {name: array[:20] for name, array in task.train.items()}
    key = jax.random.key(0)
    member = jax.jit(lambda: create(task, key, CONFIG))()
    ours, loss = jax.jit(lambda m: update(task, m, batch, key, CONFIG))(member)

    @jax.jit
    def plain(params):
        loss, gradients = jax.value_and_grad(plain_loss)(params, batch)
        gradients = jax.tree.map(lambda g, p: g + CONFIG["weight_decay"] * p * (p.ndim > 1), gradients, params)
        return optax.apply_updates(params, jax.tree.map(lambda g: -CONFIG["lr"] * g, gradients)), loss

    theirs, reference = plain(member.variables)
    np.testing.assert_allclose(loss, reference, rtol=1e-5)
    for mine, expected in zip(jax.tree.leaves(ours.variables), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-6)
    metrics = jax.jit(task.evaluate)(member.variables, batch, CONFIG)
    right = jnp.argmax(plain_logits(member.variables, batch["image"]), -1) == batch["label"]
    np.testing.assert_array_equal(metrics["accuracy"], right)


@pytest.mark.slow
def test_it_learns_and_its_bits_depend_on_no_neighbour():
    task = hp.tasks.cnn(hp.data.mnist_sample(500), channels=(4, 8), hidden=(32,))
    configs = [{"lr": lr, "weight_decay": 1e-6} for lr in (0.1, 0.05, 1e30, 0.2, 1e-3)]
    many = train(task, configs, 8, tile=1, devices=jax.local_devices())
    few = train(task, configs[:2], 8, tile=1)
    assert np.isnan(many.ranked.score[2])
    assert np.nanmax(many.ranked.score) > 0.8
    np.testing.assert_array_equal(many.ranked.curve[:2], few.ranked.curve)
    for mine, alone in zip(jax.tree.leaves(many.params[:2]), jax.tree.leaves(few.params), strict=True):
        np.testing.assert_array_equal(mine, alone)


def test_colour_images_and_all_hyperparameters():
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (60, 12, 10, 3), np.uint8), rng.integers(0, 3, 60)
    data = hp.data.arrays({"image": image, "label": label.astype(np.int32)})
    task = hp.tasks.cnn(data, (4,), (), kernel=3, optimizer="momentum", batch_size=10)
    params = task.init(jax.random.key(0), CONFIG)
    assert [layer["w"].shape for layer in params] == [(3, 3, 3, 4), (3, 4 * 5 * 4)]
    names = ("lr", "weight_decay", "momentum", "dropout", "label_smoothing", "warmup")
    space = {name: jax.ShapeDtypeStruct((), np.float32) for name in names}
    shapes = check(hp.tasks.cnn(data, (4,), (8,), kernel=3, optimizer="momentum", batch_size=10), space)
    assert shapes.metrics == ("accuracy", "loss")


def test_bad_arguments_are_named():
    data = hp.data.mnist_sample(200)
    with pytest.raises(ValueError, match=r"^cnn channels: expected positive integers, got \(\)"):
        hp.tasks.cnn(data, ())
    with pytest.raises(ValueError, match=r"^cnn hidden: expected positive integers, got \(0,\)"):
        hp.tasks.cnn(data, hidden=(0,))
    with pytest.raises(ValueError, match=r"^cnn kernel: expected a positive integer, got 2.5"):
        hp.tasks.cnn(data, kernel=2.5)
    with pytest.raises(ValueError, match=r"^data image: expected at least 1 x 1 pixels after 4 .* of 28 x 28$"):
        hp.tasks.cnn(data, (2, 2, 2, 2)).init(jax.random.key(0), CONFIG)
    flat = hp.data.arrays({"image": np.zeros((50, 20), np.float32), "label": np.arange(50) % 2})
    with pytest.raises(ValueError, match=r"^data image: expected \[N, height, width\] or .* got \[N, 20\]$"):
        hp.tasks.cnn(flat, batch_size=10).init(jax.random.key(0), CONFIG)
