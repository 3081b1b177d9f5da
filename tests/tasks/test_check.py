"""What does not fit is refused by one line before anything is trained; what fits as a plain dict does fits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import search, task

import jaxhp as hp
from jaxhp.search.groups import spec_of
from jaxhp.tasks.recorded import Recorded

LR = {"lr": "f4"}


@pytest.mark.slow
def test_key_data_in_state_is_trained():
    def init(key, config):
        return hp.Variables({"w": 0.1 * jax.random.normal(key, (4, 2))}, {"key": jax.random.key_data(key)})

    def error(variables, batch):
        return ((batch["x"] @ variables.params["w"]).prod(-1) - batch["y"]) ** 2

    def loss(variables, batch, key, config):
        mine, following = jax.random.split(jax.random.wrap_key_data(variables.state["key"]))
        noise = 0.01 * jax.random.normal(mine)
        return jnp.mean(error(variables, batch)) + noise, {"key": jax.random.key_data(following)}

    made = task(init=init, loss=loss, evaluate=lambda v, batch, config: {"error": error(v, batch)})
    result = search("random", task=made, epochs=1).run(quiet=True)
    assert np.isfinite(result.best.score)


def test_examples_of_train_that_evaluate_does_not_take():
    x = np.ones((30, 4), np.float32)
    other = {"x": x[:, :, None], "y": x[:, 0]}  # such as crops of another size
    parts = {"train": other, "loss": lambda params, batch, key, config: jnp.sum(params["w"] ** 2)}
    with pytest.raises(hp.Error, match=r"Task evaluate: .*of train, whose curve train_examples=0 turns off"):
        spec_of(task(**parts), {}, LR)
    data = {name: parts["train"][name] for name in other}
    made = hp.Task(
        lambda key, config: {"w": jnp.ones((4, 2))},
        parts["loss"],
        lambda params, batch, config: {"error": (batch["x"] @ params["w"]).sum(-1)},
        lambda config: optax.sgd(config["lr"]),
        train=data,
        valid={"x": x, "y": x[:, 0]},
        train_examples=0,
        metric="error",
        batch_size=10,
    )
    result = search("random", task=made, epochs=1, tile=16).run(quiet=True)
    assert np.isnan(result.best.curve["train_error"]).all()
    assert np.isfinite(result.best.curve["valid_error"]).all()


def test_a_config_is_a_plain_dict_to_jax():
    @jax.jit
    def loss(params, batch, key, config):
        doubled = jax.tree.map(lambda value: 2 * value, config)
        more = config | {"more": 1.0}
        scale = jax.checkpoint(lambda c: c["scale"] + c.get("more"))(more)
        return jnp.mean((batch["x"] @ params["w"]) ** 2) * scale * doubled["scale"]

    spec_of(task(loss=loss), {}, LR | {"scale": "f4"})
    with pytest.raises(hp.Error, match="expected the parameter 'scale', which the task's loss reads, got only lr"):
        spec_of(task(loss=loss), {}, LR)
    with pytest.raises(hp.Error, match=r"expected only parameters .*\(lr, more, scale\), got also typo"):
        spec_of(task(loss=loss), {}, LR | {"scale": "f4", "typo": "f4"})


def test_what_is_read_of_a_copy_is_remembered():
    reads: set[str] = set()
    config = Recorded({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, reads)
    assert jax.tree.map(lambda value: value, config)["a"] == 1
    assert (config | {"x": 9})["b"] == 2
    assert ({"x": 9} | config)["c"] == 3
    assert config.copy()["d"] == 4
    assert reads == {"a", "b", "c", "d"}
    assert config.pop("e") == 5
    assert jax.tree.structure(config) != jax.tree.structure(Recorded(config, set()))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (
            np.asarray([1, 2**31], np.int64),
            "expected int64 values that int32 holds, .*, got 2147",
        ),
        (np.asarray([-(2**40), 0], np.int64), "got -1099511627776"),
        (np.asarray([1, 2**32], np.uint64), "expected uint64 values that uint32 holds"),
        (np.asarray([0.0, 1e39]), "expected float64 values that float32 holds"),
    ],
)
def test_numbers_beyond_32_bits_are_refused_by_name(array, text):
    with pytest.raises(hp.Error, match=rf"^train\['id'\]: .*{text}"):
        hp.data.arrays({"id": array})


@pytest.mark.slow
def test_sealed_numbers_beyond_32_bits_are_refused_when_they_are_opened():
    made = task(test={"x": np.ones((2, 4), np.float32), "y": np.zeros(2, np.float32), "id": np.asarray([1, 2**31])})
    result = search("random", task=made, epochs=1).run(quiet=True)
    with pytest.raises(hp.Error, match=r"^test\['id'\]: expected int64 values that int32 holds"):
        result.test()


def test_wide_numbers_within_32_bits_are_data():
    edge = {"id": np.asarray([-(2**31), 2**31 - 1]), "u": np.asarray([0, 2**32 - 1], np.uint64)}
    assert hp.data.arrays(edge).train["id"].tolist() == [-(2**31), 2**31 - 1]


@pytest.mark.slow
def test_numpy_scalars_are_numbers(tmp_path):
    made = search(
        "random",
        strategy=hp.Narrowing(np.int64(9), np.int32(1), elite=np.float32(0.5)),
        epochs=np.int64(9),
        seed=np.int64(3),
        replicates=np.int32(1),
        tile=np.int64(2),
    )
    plain = search(
        "random",
        strategy=hp.Narrowing(9, 1, elite=0.5),
        epochs=9,
        seed=3,
        tile=2,
    )
    assert hp.Finals(np.int64(1), np.int64(4), holdout=np.int64(3)) == hp.Finals(1, 4, holdout=3)
    assert made.run(tmp_path / "run", quiet=True).digest == plain.run(quiet=True).digest
