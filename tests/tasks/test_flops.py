"""Arithmetic is counted from what is computed, by hand here."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import task

import jaxhp as hp
from jaxhp.tasks.check import check
from jaxhp.tasks.flops import products
from jaxhp.tasks.traces import traces

CONFIG = {name: jax.ShapeDtypeStruct((), np.dtype(np.float32)) for name in ("lr", "weight_decay")}


def product_flops(function, *args):
    return products(jax.make_jaxpr(function)(*args).jaxpr)


def epoch_flops(task):
    return traces(task, check(task, CONFIG), CONFIG).epoch_flops


def test_a_product_a_convolution_and_loops():
    a, b = jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))
    assert product_flops(lambda a, b: a @ b, a, b) == 2 * 2 * 3 * 4 * 5
    images, kernels = jnp.ones((7, 3, 8, 8)), jnp.ones((6, 3, 5, 5))
    convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "VALID")  # noqa: E731
    assert product_flops(convolve, images, kernels) == 2 * 7 * 6 * 4 * 4 * 3 * 5 * 5
    squared = lambda a: jax.lax.fori_loop(0, 9, lambda _, c: c @ a, a)  # noqa: E731
    assert product_flops(squared, jnp.ones((4, 4))) == 9 * 2 * 4**3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_epoch_of_a_network(optimizer):
    task = hp.tasks.mlp(hp.data.mnist_sample(500), hidden=(32,), optimizer=optimizer)  # 400 and 100 images
    first, last = 2 * 784 * 32, 2 * 32 * 10
    trained = 400 * (2 * first + 3 * last)  # images need no gradient
    assert epoch_flops(task) == trained + 200 * (first + last)  # a training curve of as many as validate
    of_all = dataclasses.replace(task, train_examples="all")
    assert epoch_flops(of_all) == trained + 500 * (first + last)


def test_one_more_operation_is_one_more_to_compile():
    def counted(times):
        def evaluate(params, batch, config):
            error = (params["w"].sum() - batch["y"]) ** 2
            for _ in range(times):
                error = -error
            return {"error": error}

        of = task(evaluate=evaluate)
        only_lr = {"lr": CONFIG["lr"]}
        return traces(of, check(of, only_lr), only_lr).equations

    assert counted(7) == counted(2) + 5


def test_what_nobody_needs_is_not_counted():
    """The gradient of a convolution by its input is written down for every one, and not needed for the first."""
    task = hp.tasks.cnn(hp.data.mnist_sample(500), channels=(4,), hidden=(), kernel=5)
    convolution, last = 2 * 25 * 4 * 24 * 24, 2 * 4 * 12 * 12 * 10
    assert epoch_flops(task) == 400 * (2 * convolution + 3 * last) + 200 * (convolution + last)
