"""Models of flax's nnx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxhp.tasks.models.adapter import needed, sources, task_of
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error


def nnx(
    make: Callable[..., Any],
    loss: Callable[..., Any],
    evaluate: Callable[..., Any],
    optimizer: Callable[..., Any],
    **options: Any,
) -> Task:
    """Makes a task of an nnx model.

        class Net(nnx.Module):
            def __init__(self, rngs, config):
                self.hidden = nnx.Linear(784, config["width"], rngs=rngs)
                self.norm = nnx.BatchNorm(config["width"], rngs=rngs)
                self.rate, self.rngs, self.deterministic = config["dropout"], rngs.fork(), False
                self.out = nnx.Linear(config["width"], 10, rngs=rngs)

            def __call__(self, x):
                h = nnx.relu(self.norm(self.hidden(x.reshape(x.shape[0], -1))))
                return self.out(h if self.deterministic else hp.nn.dropout(self.rngs(), h, self.rate))

        def loss(model, batch, key, config):
            scores = model(batch["image"] / 255)
            return optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"]).mean()

        def evaluate(model, batch, config):
            return {"accuracy": model(batch["image"] / 255).argmax(-1) == batch["label"]}

        task = hp.tasks.nnx(Net, loss, evaluate, lambda config: optax.adam(config["lr"]), train=train, valid=valid)
        space = hp.Space(lr=hp.LogUniform(1e-4, 1e-1), dropout=hp.Uniform(0, 0.5), width=hp.Choice([64, 256]))

    Args:
      make: `(rngs, config) -> nnx.Module`, given `nnx.Rngs(key)`. An `nnx.Param` is trained; other variables, such as
        `nnx.BatchStat`, are state. Arrays that are no variables are made anew of the config in every call. Random
        streams begin every step anew, `nnx.reseed(model, default=key)`: what is drawn depends on the step's key alone.
      loss: `(model, batch, key, config) -> scalar`, with the model in `train()` mode.
      evaluate: `(model, batch, config) -> {name: [B, ...]}`, with the model in `eval()` mode.
      optimizer: `(config) -> optax.GradientTransformation`.
      options: what else `hp.Task` takes: `train=`, `valid=`, `batch_size=`, `dtype=`, `metrics=` ...

    Raises:
      Error: flax is not installed, or as `hp.Task`.
    """
    library = needed("flax.nnx", "flax", "flax")
    return task_of(_Nnx(library, make), loss, evaluate, optimizer, options)


_LEAST = 1e-6  # share of inputs that dropout keeps, so that what is kept stays finite


class _Nnx(NamedTuple):
    nnx: Any
    make: Callable[..., Any]

    def fresh(self, key: jax.Array, config: Config, use: Callable[[Any], Any]) -> tuple[PyTree, PyTree]:
        found = sources(lambda key, config: jax.tree.leaves(self._parts(self._made(key, config))[2]), key, config)
        if any("key" in of for of in found):
            raise Error(
                "hp.tasks.nnx make: expected what is random in the model to be in an nnx.Variable, got an array that "
                "is an attribute"
            )
        return self._parts(self._made(key, config))[:2]

    def live(self, params: PyTree, state: PyTree, config: Config, key: jax.Array | None) -> Any:
        model = self._made(jax.random.key(0), config)
        for found, values in zip(self.nnx.split(model, self.nnx.Param, *self._rest)[1:3], (params, state), strict=True):
            self.nnx.replace_by_pure_dict(found, values)
            self.nnx.update(model, found)
        for _, module in self.nnx.iter_modules(model):
            if isinstance(module, self.nnx.Dropout) and isinstance(module.rate, jax.Array):
                vars(module)["rate"] = _Rate(module.rate)
        if key is None:
            model.eval()
            return model
        streams = self.nnx.state(model, self.nnx.RngKey)
        tags = sorted({v.tag for v in jax.tree.leaves(streams, is_leaf=lambda v: hasattr(v, "tag"))})
        self.nnx.reseed(model, **{tag: jax.random.fold_in(key, i) if i else key for i, tag in enumerate(tags)})
        model.train()
        return model

    def after(self, model: Any) -> PyTree:
        return self._parts(model)[1]

    @property
    def _rest(self) -> tuple[Any, ...]:
        """The filters of state, and of what is made anew: random streams, and arrays that are no variables."""
        nnx = self.nnx
        return (nnx.All(nnx.Variable, nnx.Not(nnx.RngState)), ...)

    def _made(self, key: jax.Array, config: Config) -> Any:
        model = self.make(self.nnx.Rngs(key), config)
        if not isinstance(model, self.nnx.Module):
            raise Error(f"hp.tasks.nnx make: expected (rngs, config) -> nnx.Module, got {type(model).__name__}")
        return model

    def _parts(self, model: Any) -> tuple[PyTree, PyTree, PyTree]:
        """Weights and state as plain dicts, and arrays that are no variables."""
        nnx = self.nnx
        _, params, state, rest = nnx.split(model, nnx.Param, *self._rest)
        arrays = [leaf for leaf in jax.tree.leaves(rest, is_leaf=_is_variable) if not _is_variable(leaf)]
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state), arrays


class _Rate:
    """A traced rate of `nnx.Dropout`, which asks in Python whether it is 0 or 1: it is neither, and nearly so there."""

    def __init__(self, rate: jax.Array):
        self.rate = rate

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __rsub__(self, one: float) -> jax.Array:
        return jnp.maximum(one - self.rate, _LEAST)


def _is_variable(leaf: Any) -> bool:
    return hasattr(leaf, "get_value")
