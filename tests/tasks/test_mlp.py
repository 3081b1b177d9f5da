"""The ready-made network reads what the space has, and each setting does what its name says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxhp as hp
from jaxhp.tasks.check import check
from jaxhp.tasks.task import create, update

TASK = hp.tasks.mlp(hp.data.mnist_sample(200), hidden=(16, 8), batch_size=40)
CONFIG = {"lr": 0.1, "weight_decay": 1e-4}
BATCH = {name: leaf[:40] for name, leaf in TASK.train.items()}
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda: TASK.init(KEY, CONFIG))()


def test_he_initialisation_and_shapes(params):
    assert [layer["w"].shape for layer in params] == [(16, 784), (8, 16), (10, 8)]
    assert np.std(params[0]["w"]) == pytest.approx(np.sqrt(2 / 784), rel=0.02)
    assert all(not layer["b"].any() for layer in params)


def test_layers_of_a_shape_are_drawn_by_one_program_each_with_its_own_key():
    task = hp.tasks.mlp(hp.data.mnist_sample(60), hidden=(12,) * 4, batch_size=40)
    keys = jax.random.split(KEY, 5)
    for layer, key in zip(task.init(KEY, CONFIG), keys, strict=True):
        alone = np.asarray(jax.random.normal(key, layer["w"].shape)) * np.sqrt(2 / layer["w"].shape[1])
        np.testing.assert_allclose(layer["w"], alone, rtol=1e-6)
    assert str(jax.make_jaxpr(task.init)(KEY, CONFIG)).count("erf_inv") == 3  # of 784 x 12, 12 x 12 and 12 x 10


def test_the_data_is_uint8_and_split(params):
    assert TASK.train["image"].dtype == np.uint8
    assert (TASK.n_train, TASK.n_valid) == (160, 40)
    assert TASK.test.opened == 0
    outcome = TASK.evaluate(params, BATCH, CONFIG)
    assert {name: value.shape for name, value in outcome.items()} == {"accuracy": (40,), "loss": (40,)}
    assert TASK.loss(params, BATCH, KEY, CONFIG) == pytest.approx(float(outcome["loss"].mean()), rel=1e-5)


def test_dropout_drops_in_training_alone(params):
    losses = [float(TASK.loss(params, BATCH, jax.random.key(i), CONFIG | {"dropout": 0.5})) for i in range(3)]
    assert len(set(losses)) == 3
    none = TASK.loss(params, BATCH, KEY, CONFIG | {"dropout": jnp.float32(0.0)})
    assert none == TASK.loss(params, BATCH, KEY, CONFIG)
    same = TASK.evaluate(params, BATCH, CONFIG | {"dropout": 0.5})["loss"]
    np.testing.assert_array_equal(same, TASK.evaluate(params, BATCH, CONFIG)["loss"])


def test_label_smoothing_moves_the_target_to_uniform(params):
    plain, whole = (TASK.loss(params, BATCH, KEY, CONFIG | {"label_smoothing": s}) for s in (0.0, 1.0))
    half = TASK.loss(params, BATCH, KEY, CONFIG | {"label_smoothing": 0.5})
    assert half == pytest.approx(float(plain + whole) / 2, rel=1e-5)


def test_warm_up_starts_low_and_ends_at_the_rate():
    config = CONFIG | {"warmup": jnp.int32(3)}
    fresh = jax.jit(lambda: create(TASK, KEY, config))()
    step = jax.jit(lambda member: update(TASK, member, BATCH, KEY, config)[0])
    opt_state, moved = fresh.opt_state, []
    for _ in range(5):  # the same gradient every time
        after = step(fresh._replace(opt_state=opt_state))
        opt_state = after.opt_state
        moved.append(float(jnp.abs(after.variables[-1]["b"]).max()))
    np.testing.assert_allclose(np.asarray(moved) / moved[-1], [0.25, 0.5, 0.75, 1.0, 1.0], rtol=1e-4)


@pytest.mark.parametrize("optimizer", [pytest.param("momentum", marks=pytest.mark.slow), "sgd", "adamw"])
def test_weight_decay_is_for_matrices_alone(optimizer):
    task = hp.tasks.mlp(hp.data.mnist_sample(200), hidden=(16,), optimizer=optimizer, batch_size=40)
    moved = []
    for decay in (0.0, 0.5):
        config = {"lr": 0.01, "weight_decay": decay}
        member, _ = update(task, create(task, KEY, config), BATCH, KEY, config)
        moved.append(member.variables)
    for none, some, begun in zip(moved[0], moved[1], task.init(KEY, CONFIG), strict=True):
        np.testing.assert_array_equal(none["b"], some["b"])
        np.testing.assert_allclose(none["w"] - some["w"], 0.01 * 0.5 * begun["w"], atol=1e-6)


def test_every_setting_can_be_searched():
    space = hp.Space(
        lr=hp.LogUniform(1e-3, 0.1),
        weight_decay=hp.LogUniform(1e-8, 1e-2),
        momentum=hp.Uniform(0, 0.99),
        dropout=hp.Uniform(0, 0.5),
        label_smoothing=hp.Uniform(0, 0.2),
        warmup=hp.IntUniform(0, 10),
    )
    task = hp.tasks.mlp(hp.data.mnist_sample(200), hidden=(16,), optimizer="momentum", batch_size=40)
    abstract = {name: jax.ShapeDtypeStruct((), p.dtype) for name, p in space.parameters.items()}
    assert check(task, abstract).metrics == ("accuracy", "loss")


@pytest.mark.parametrize("make", [hp.tasks.mlp, hp.tasks.cnn])
def test_it_predicts_for_a_batch_of_any_size_as_an_export_does(make):
    task = make(hp.data.mnist_sample(200), **({"hidden": (4,)} | ({"channels": (2,)} if make is hp.tasks.cnn else {})))
    config = {"lr": 0.1, "weight_decay": 0.0}
    params = jax.eval_shape(lambda key: task.init(key, config), jax.random.key(0))
    (size,) = jax.export.symbolic_shape("size")
    images = jax.ShapeDtypeStruct((size, 28, 28), np.uint8)
    assert jax.eval_shape(lambda p, x: task.predict(p, {"image": x}, config), params, images).shape == (size, 10)
