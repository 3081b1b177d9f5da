"""Each row of the tables in docs/idioms.md does what it says."""

import re
from functools import cache
from pathlib import Path

import equinox
import flax
import flax.linen
import flax.nnx
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import task

import jaxhp as hp
from jaxhp.search.groups import spec_of
from jaxhp.tasks.task import create, update

CONFIG = {"lr": np.float32(0.1), "m": np.float32(0.5), "k": np.int32(3)}
LIBRARIES = {"optax": optax, "hp": hp, "jax": jax, "jnp": jnp, "flax": flax, "equinox": equinox, "haiku": haiku}


@cache
def rows() -> dict[str, tuple[str, str, str, str]]:
    """By what each is for: where it stands, the code, what comes of it, and what to write instead."""
    found = {}
    for part in (Path(__file__).parents[2] / "docs" / "idioms.md").read_text().split("\n## ")[1:]:
        for line in part.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) == 4 and cells[1].startswith("`"):
                found[cells[0]] = (part[: len("In `loss`")], cells[1].strip("`").replace("\\|", "|"), *cells[2:])
    return found


def of(where: str, code: str, bfloat16: bool) -> hp.Task:
    """A task that has the code at its place."""
    known = compile(code, "docs/idioms.md", "eval")

    def run(**names):
        return eval(known, LIBRARIES | names)

    if where != "In `loss`":
        dtype = jnp.bfloat16 if bfloat16 else jnp.float32
        init = lambda key, config: {"w": (0.3 * jax.random.normal(key, (4, 2))).astype(dtype)}  # noqa: E731
        if re.search(r"\bsteps\b", code):
            return task(init=init, optimizer=lambda config, *, steps: run(config=config, steps=steps))
        return task(init=init, optimizer=lambda config: run(config=config))

    def loss(params, batch, key, config):
        return jnp.mean(((run(x=batch["x"], key=key, config=config) @ params["w"]).sum(-1) - batch["y"]) ** 2)

    return task(loss=loss)


def config_of(where: str, code: str) -> dict:
    """What the code reads, and what the rest of its task reads."""
    return {n: v for n, v in CONFIG.items() if f'"{n}"' in code or (n == "lr" and where == "In `loss`")}


def train(where: str, code: str, bfloat16: bool) -> None:
    """Two steps with a traced config."""
    made, config = of(where, code, bfloat16), config_of(where, code)
    spec_of(made, {}, {name: value.dtype for name, value in config.items()})
    batch = {name: array[:10] for name, array in made.train.items()}

    @jax.jit
    def steps(config):
        key = jax.random.key(0)
        member = create(made, key, config)
        for _ in range(2):
            member, _ = update(made, member, batch, key, config)
        return member.variables["w"]

    assert np.isfinite(np.asarray(steps(config), np.float32)).all()


@pytest.mark.slow  # as what stands on other pages
@pytest.mark.parametrize("what", rows())
def test_row(what):
    where, code, comes, instead = rows()[what]
    if comes == "works":
        train(where, code, "bfloat16" in what)
        return
    with pytest.raises(hp.Error) as error:
        spec_of(of(where, code, False), {}, {n: v.dtype for n, v in config_of(where, code).items()})
    assert "\n" not in str(error.value)
    for name in comes.removeprefix("refused: ").split(", "):
        assert name in str(error.value)
    if instead.startswith("`"):
        train(where, instead.strip("`"), False)


def test_a_step_of_k_minibatches_is_that_of_their_mean():
    """MultiSteps with a traced k, against the mean gradient by hand."""
    made = task(optimizer=lambda config: optax.MultiSteps(optax.sgd(config["lr"]), lambda step: config["k"]))
    config, key = {"lr": jnp.float32(0.1), "k": jnp.int32(2)}, jax.random.key(0)
    member = create(made, key, config)
    start, gradients = member.variables, []
    for rows in (slice(0, 10), slice(10, 20)):
        batch = {name: array[rows] for name, array in made.train.items()}
        gradients.append(jax.grad(made.loss)(start, batch, key, config)["w"])
        member, _ = update(made, member, batch, key, config)
    np.testing.assert_allclose(member.variables["w"], start["w"] - 0.1 * sum(gradients) / 2, rtol=1e-5)


def test_polyaks_step_is_the_loss_by_the_squared_gradient():
    made = task(optimizer=lambda config: optax.polyak_sgd(max_learning_rate=config["lr"]))
    config, key = {"lr": jnp.float32(1e6)}, jax.random.key(0)
    batch = {name: array[:10] for name, array in made.train.items()}
    member = create(made, key, config)
    loss, gradient = jax.value_and_grad(made.loss)(member.variables, batch, key, config)
    after, _ = update(made, member, batch, key, config)
    step = loss / jnp.sum(gradient["w"] ** 2)
    np.testing.assert_allclose(after.variables["w"], member.variables["w"] - step * gradient["w"], rtol=1e-5)
