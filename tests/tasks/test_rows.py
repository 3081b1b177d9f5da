"""A metric is one of each example: scores of a batch are refused, whatever is one of each example is not."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import search, task

import jaxhp as hp
from jaxhp.compiling import jit
from jaxhp.search.groups import spec_of
from jaxhp.tasks import rows
from jaxhp.tasks.rows import check_rows


def f1(predicted, label):
    hits = jnp.sum(predicted * label)
    return 2 * hits / (jnp.sum(predicted) + jnp.sum(label))


def scores(params, batch):
    return (batch["x"] @ params["w"]).prod(-1)


OF_THE_BATCH = {
    "F1": lambda s, y: jnp.broadcast_to(f1(s > 0, y > 0), s.shape),
    "correlation": lambda s, y: jnp.broadcast_to(jnp.corrcoef(s, y)[0, 1], s.shape),
    "accuracy": lambda s, y: jnp.broadcast_to(jnp.mean((s > 0) == (y > 0)), s.shape),
    "share of the batch": lambda s, y: (s - y) ** 2 / len(s),
    "by the spread of the batch": lambda s, y: (s - s.mean()) / s.std(),
    "ranks": lambda s, y: jnp.argsort(jnp.argsort(s)).astype(jnp.float32),
}
OF_EACH = {
    "error": lambda s, y: (s - y) ** 2,
    "hit": lambda s, y: ((s > 0) == (y > 0)).astype(jnp.float32),
    "far from zero": lambda s, y: 1e6 + s,
    "constant": lambda s, y: jnp.ones_like(s),
    "not there": lambda s, y: jnp.where(y > 0, s, jnp.nan),
    "in bfloat16": lambda s, y: (s.astype(jnp.bfloat16) - y.astype(jnp.bfloat16)).astype(jnp.float32) ** 2,
}


def looked_at(metric) -> None:
    made = task(evaluate=lambda params, batch, config: {"error": metric(scores(params, batch), batch["y"])})
    spec = spec_of(made, {}, {"lr": "f4"})
    check_rows(made, spec.shapes, {}, spec.traced)


@pytest.mark.parametrize("metric", OF_THE_BATCH)
def test_what_depends_on_the_other_examples_is_refused(metric):
    with pytest.raises(hp.Error, match=r"Task evaluate: expected one value an example, .* for 'error'"):
        looked_at(OF_THE_BATCH[metric])


@pytest.mark.parametrize("metric", OF_EACH)
def test_what_does_not_is_not(metric):
    looked_at(OF_EACH[metric])


def test_it_is_refused_before_anything_is_trained(tmp_path):
    made = task(
        evaluate=lambda params, batch, config: {"error": OF_THE_BATCH["correlation"](scores(params, batch), batch["y"])}
    )
    with pytest.raises(hp.Error, match="does not depend on the other examples"):
        search("random", task=made).run(quiet=True)


def test_batch_normalisation_by_running_means_is_not_refused():
    class Network(nn.Module):
        running: bool

        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.BatchNorm(use_running_average=self.running)(nn.Dense(8)(x)))[:, 0]

    def init(key, config):
        variables = Network(True).init(key, jnp.zeros((1, 4)))
        return hp.Variables(variables["params"], variables["batch_stats"])

    def error(running):
        def evaluate(variables, batch, config):
            stored = {"params": variables.params, "batch_stats": variables.state}
            found, _ = Network(running).apply(stored, batch["x"], mutable=["batch_stats"])
            return {"error": (found - batch["y"]) ** 2}

        return evaluate

    def loss(variables, batch, key, config):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(variables.params)), variables.state

    made = task(init=init, loss=loss, evaluate=error(True))
    spec = spec_of(made, {}, {"lr": "f4"})
    check_rows(made, spec.shapes, {}, spec.traced)
    with pytest.raises(hp.Error, match="does not depend on the other examples"):
        check_rows(replace(made, evaluate=error(False)), spec.shapes, {}, spec.traced)


@pytest.mark.parametrize("name", ["error", "hit", "far from zero", "not there", "in bfloat16"])
def test_what_its_program_proves_is_not_tried(name, monkeypatch):
    monkeypatch.setattr(rows, "jit", None)
    looked_at(OF_EACH[name])


def test_few_examples_are_not_looked_at():
    valid = {"x": np.ones((2, 4), np.float32), "y": np.ones(2, np.float32)}
    made = task(valid=valid)
    spec = spec_of(made, {}, {"lr": "f4"})
    check_rows(made, spec.shapes, {}, spec.traced)


def test_of_tasks_that_differ_in_sizes_alone_one_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(rows, "jit", lambda function: tried.append(function) or jit(function))

    def look(width, of=lambda s: jax.lax.map(jnp.sin, s)):  # in which nothing is proven
        def evaluate(params, batch, config):
            return {"error": 7.25 * (of((batch["x"] @ params["w"]).sum(-1)) - batch["y"]) ** 2}

        made = task(init=lambda key, config: {"w": jax.random.normal(key, (4, width))})
        spec = spec_of(made, {}, {"lr": "f4"})
        check_rows(replace(made, evaluate=evaluate), spec.shapes, {}, spec.traced)
        return len(tried)

    assert [look(2), look(3), look(3)] == [1, 1, 1]
    assert look(4) == 2  # which might stand for another size that is 4
    with pytest.raises(hp.Error, match="one value an example"):
        look(3, lambda s: jax.lax.map(jnp.sin, s) - s.mean())
