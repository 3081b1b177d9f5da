"""Models of flax's linen."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxhp.tasks.models.adapter import Called, mode, needed, task_of
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error


def linen(
    make: Callable[..., Any],
    loss: Callable[..., Any],
    evaluate: Callable[..., Any],
    optimizer: Callable[..., Any],
    **options: Any,
) -> Task:
    """Makes a task of a linen model.

        class Net(linen.Module):
            width: int
            dropout: float

            @linen.compact
            def __call__(self, x, train):
                h = linen.Dense(self.width)(x.reshape(x.shape[0], -1))
                h = linen.relu(linen.BatchNorm(use_running_average=not train)(h))
                if train:
                    h = hp.nn.dropout(self.make_rng("dropout"), h, self.dropout)
                return linen.Dense(10)(h)

        def make(config):
            return Net(config["width"], config["dropout"])

        def loss(model, batch, key, config):
            scores = model(batch["image"] / 255)
            return optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"]).mean()

        def evaluate(model, batch, config):
            return {"accuracy": model(batch["image"] / 255).argmax(-1) == batch["label"]}

        task = hp.tasks.linen(make, loss, evaluate, lambda config: optax.adam(config["lr"]), train=train, valid=valid)
        space = hp.Space(lr=hp.LogUniform(1e-4, 1e-1), dropout=hp.Uniform(0, 0.5), width=hp.Choice([64, 256]))

    Args:
      make: `(config) -> linen.Module`. The collection `params` is trained, others, such as `batch_stats`, are state.
        Weights are those of `module.init(key, x)`, with the x that `evaluate` calls it with. Dropout draws from
        `rngs={"dropout": key}`. A module that takes `train`, `training`, `is_training`, `deterministic` or
        `use_running_average` is told.
      loss: `(model, batch, key, config) -> scalar`, with the model as a function of what the module takes, which
        trains.
      evaluate: `(model, batch, config) -> {name: [B, ...]}`, with one that does not.
      optimizer: `(config) -> optax.GradientTransformation`.
      options: what else `hp.Task` takes: `train=`, `valid=`, `batch_size=`, `dtype=`, `metrics=` ...

    Raises:
      Error: flax is not installed, or as `hp.Task`.
    """
    library = needed("flax.linen", "flax", "flax")
    return task_of(_Linen(library, make), loss, evaluate, optimizer, options)


class _Linen(NamedTuple):
    linen: Any
    make: Callable[..., Any]

    def fresh(self, key: jax.Array, config: Config, use: Callable[[Any], Any]) -> tuple[PyTree, PyTree]:
        module, names = self._made(config)

        def begin(params: PyTree, state: PyTree, _: Any, args: Any, options: Any) -> Any:
            if params is not None:
                return self._applied(module, names, params, state, None, args, options)
            result, made = module.init_with_output(key, *args, **mode(names, False) | options)
            made = dict(made)
            return result, made.pop("params", {}), made

        model = Called(begin, None, None, None)
        use(model)
        if model.params is None:
            raise Error("hp.tasks.linen evaluate: expected a function that calls the model, got one that does not")
        return model.params, model.state

    def live(self, params: PyTree, state: PyTree, config: Config, key: jax.Array | None) -> Called:
        module, names = self._made(config)
        return Called(lambda *given: self._applied(module, names, *given), params, state, key)

    def after(self, model: Called) -> PyTree:
        return model.state

    def _made(self, config: Config) -> tuple[Any, Any]:
        module = self.make(config)
        if not isinstance(module, self.linen.Module):
            raise Error(f"hp.tasks.linen make: expected (config) -> linen.Module, got {type(module).__name__}")
        return module, inspect.signature(module.__call__).parameters  # type: ignore[operator]

    def _applied(
        self, module: Any, names: Any, params: PyTree, state: PyTree, key: jax.Array | None, args: Any, options: Any
    ) -> Any:
        variables, options = {"params": params, **state}, mode(names, key is not None) | options
        if key is None:
            return module.apply(variables, *args, **options), params, state
        rngs = {"dropout": key, "params": jax.random.fold_in(key, 1)}  # the second is for streams of other names
        if not state:
            return module.apply(variables, *args, rngs=rngs, **options), params, state
        result, after = module.apply(variables, *args, rngs=rngs, mutable=list(state), **options)
        return result, params, dict(after)
