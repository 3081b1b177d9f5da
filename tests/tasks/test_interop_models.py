"""Models of flax and equinox as tasks: mutable state, dropout, and convolutions that are matrix products."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import train

import jaxhp as hp
from jaxhp.tasks.task import create, update

CONFIGS = [{"lr": 0.05, "rate": 0.1}, {"lr": 0.1, "rate": 0.3}, {"lr": 0.02, "rate": 0.0}]


def as_task(init, loss, logits):
    def evaluate(variables, batch, config):
        return {"accuracy": (jnp.argmax(logits(variables, batch), -1) == batch["label"]).astype(jnp.float32)}

    parts = hp.split(hp.data.mnist_sample(300).train, 0.2, 0)
    sgd = lambda config: optax.sgd(config["lr"], 0.9)  # noqa: E731
    return hp.Task(init, loss, evaluate, sgd, train=parts[0], valid=parts[1], batch_size=60)


def scaled(batch):
    return batch["image"].astype(jnp.float32)[..., None] / 255


def cross_entropy(logits, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()


class Network(nn.Module):
    """A convolution, batch normalisation, pooling, dropout."""

    @nn.compact
    def __call__(self, x, rate, training):
        h = nn.Conv(4, (5, 5), strides=2, conv_general_dilated=hp.nn.conv_general_dilated)(x)
        h = nn.relu(nn.BatchNorm(use_running_average=not training, momentum=0.8)(h))
        h = hp.nn.max_pool(h, (2, 2), (2, 2)).reshape(len(x), -1)
        if training:
            h = jnp.where(jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, h.shape), h / (1 - rate), 0)
        return nn.Dense(10)(h)


@pytest.fixture(scope="module")
def flax_task():
    network = Network()

    def init(key, config):
        variables = network.init(key, jnp.zeros((1, 28, 28, 1)), 0.0, False)
        return hp.Variables(variables["params"], variables["batch_stats"])

    def loss(variables, batch, key, config):
        logits, changed = network.apply(
            {"params": variables.params, "batch_stats": variables.state},
            *(scaled(batch), config["rate"], True),
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return cross_entropy(logits, batch), changed["batch_stats"]

    def logits(variables, batch):
        stored = {"params": variables.params, "batch_stats": variables.state}
        return network.apply(stored, scaled(batch), 0.0, False)

    return as_task(init, loss, logits)


@pytest.mark.slow
def test_flax_with_batch_norm_and_dropout_learns(flax_task):
    found = train(flax_task, CONFIGS, 8, tile=1)
    assert found.ranked.score.max() > 0.6
    mean = found.params[0].state["BatchNorm_0"]["mean"]
    assert np.abs(mean).max() > 0
    np.testing.assert_array_equal(train(flax_task, CONFIGS[:1], 8, tile=1).params[0].state["BatchNorm_0"]["mean"], mean)


@pytest.mark.slow
def test_running_means_and_dropout_are_those_of_the_step(flax_task):
    batch = {name: array[:60] for name, array in flax_task.train.items()}
    step = jax.jit(lambda m, key, rate: update(flax_task, m, batch, key, {"lr": 0.1, "rate": rate})[0].variables)
    member = jax.jit(lambda: create(flax_task, jax.random.key(0), CONFIGS[0]))()
    one, other = (step(member, jax.random.key(k), 0.5) for k in (1, 2))
    same, without = step(member, jax.random.key(1), 0.5), step(member, jax.random.key(1), 0.0)
    kernel = lambda variables: np.asarray(variables.params["Dense_0"]["kernel"])  # noqa: E731
    np.testing.assert_array_equal(kernel(one), kernel(same))
    assert not np.array_equal(kernel(one), kernel(other))
    assert not np.array_equal(kernel(one), kernel(without))
    mean = one.state["BatchNorm_0"]["mean"]
    np.testing.assert_array_equal(mean, other.state["BatchNorm_0"]["mean"])  # the dropout comes after it
    assert np.abs(mean).max() > 0


@pytest.mark.slow
def test_equinox():
    def parts(key):
        return eqx.partition(eqx.nn.MLP(784, 10, 32, 1, key=key), eqx.is_inexact_array)

    static = parts(jax.random.key(0))[1]

    def logits(params, batch):
        return jax.vmap(eqx.combine(params, static))(scaled(batch).reshape(-1, 784))

    def loss(params, batch, key, config):
        return cross_entropy(logits(params, batch), batch) + config["rate"] * 0

    task = as_task(lambda key, config: parts(key)[0], loss, logits)
    assert train(task, CONFIGS, 8).ranked.score.max() > 0.6
