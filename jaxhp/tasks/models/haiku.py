"""Models of haiku."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxhp.tasks.models.adapter import Called, mode, needed, task_of
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error


def haiku(
    make: Callable[..., Any],
    loss: Callable[..., Any],
    evaluate: Callable[..., Any],
    optimizer: Callable[..., Any],
    **options: Any,
) -> Task:
    """Makes a task of a haiku model.

        def make(config):
            def net(x, is_training):
                h = hk.Linear(config["width"])(x.reshape(x.shape[0], -1))
                h = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(h, is_training))
                if is_training:
                    h = hk.dropout(hk.next_rng_key(), config["dropout"], h)
                return hk.Linear(10)(h)

            return net

        def loss(model, batch, key, config):
            scores = model(batch["image"] / 255)
            return optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"]).mean()

        def evaluate(model, batch, config):
            return {"accuracy": model(batch["image"] / 255).argmax(-1) == batch["label"]}

        task = hp.tasks.haiku(make, loss, evaluate, lambda config: optax.adam(config["lr"]), train=train, valid=valid)
        space = hp.Space(lr=hp.LogUniform(1e-4, 1e-1), dropout=hp.Uniform(0, 0.5), width=hp.Choice([64, 256]))

    Args:
      make: `(config) -> function or hk.Module`, called inside of `hk.transform_with_state`. Weights are those of
        `init(key, x)`, with the x that `evaluate` calls it with. A function that takes `is_training` (`train`,
        `training`, `deterministic`) is told.
      loss: `(model, batch, key, config) -> scalar`, with the model as a function of what it takes, which
        trains, with the key of the step.
      evaluate: `(model, batch, config) -> {name: [B, ...]}`, with one that does not.
      optimizer: `(config) -> optax.GradientTransformation`.
      options: what else `hp.Task` takes: `train=`, `valid=`, `batch_size=`, `dtype=`, `metrics=` ...

    Raises:
      Error: dm-haiku is not installed, or as `hp.Task`.
    """
    library = needed("haiku", "dm-haiku", "haiku")
    return task_of(_Haiku(library, make), loss, evaluate, optimizer, options)


class _Haiku(NamedTuple):
    haiku: Any
    make: Callable[..., Any]

    def fresh(self, key: jax.Array, config: Config, use: Callable[[Any], Any]) -> tuple[PyTree, PyTree]:
        def begin(params: PyTree, state: PyTree, _: Any, args: Any, options: Any) -> Any:
            transformed = self._transformed(config, True)  # state is made by what trains
            if params is None:
                params, state = transformed.init(key, *args, **options)
            result, _ = transformed.apply(params, state, key, *args, **options)
            return result, params, state

        model = Called(begin, None, None, None)
        use(model)
        if model.params is None:
            raise Error("hp.tasks.haiku evaluate: expected a function that calls the model, got one that does not")
        return model.params, model.state

    def live(self, params: PyTree, state: PyTree, config: Config, key: jax.Array | None) -> Called:
        transformed = self._transformed(config, key is not None)

        def apply(params: PyTree, state: PyTree, key: jax.Array | None, args: Any, options: Any) -> Any:
            result, after = transformed.apply(params, state, key, *args, **options)
            return result, params, state if key is None else after

        return Called(apply, params, state, key)

    def after(self, model: Called) -> PyTree:
        return model.state

    def _transformed(self, config: Config, train: bool) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            module = self.make(config)
            if not callable(module):
                raise Error(
                    f"hp.tasks.haiku make: expected (config) -> hk.Module or function, got {type(module).__name__}"
                )
            function = module.__call__ if isinstance(module, self.haiku.Module) else module
            return module(*args, **mode(inspect.signature(function).parameters, train) | options)

        return self.haiku.transform_with_state(run)
