"""Models of equinox."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxhp.tasks.models.adapter import needed, nth_key, sources, task_of
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error


def equinox(
    make: Callable[..., Any],
    loss: Callable[..., Any],
    evaluate: Callable[..., Any],
    optimizer: Callable[..., Any],
    **options: Any,
) -> Task:
    """Makes a task of an equinox model.

        class Net(eqx.Module):
            hidden: eqx.nn.Linear
            norm: eqx.nn.BatchNorm
            dropout: eqx.nn.Dropout
            out: eqx.nn.Linear

            def __init__(self, key, config):
                first, second = jax.random.split(key)
                self.hidden = eqx.nn.Linear(784, config["width"], key=first)
                self.norm = eqx.nn.BatchNorm(config["width"], "batch", mode="batch")
                self.dropout = eqx.nn.Dropout(config["dropout"])
                self.out = eqx.nn.Linear(config["width"], 10, key=second)

            def __call__(self, x, state, key=None):
                h, state = self.norm(self.hidden(x.reshape(-1)), state)
                return self.out(self.dropout(jax.nn.relu(h), key=key)), state

        make = eqx.nn.make_with_state(Net)

        def loss(model, batch, key, config):
            scores = model(batch["image"] / 255)
            return optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"]).mean()

        def evaluate(model, batch, config):
            return {"accuracy": model(batch["image"] / 255).argmax(-1) == batch["label"]}

        task = hp.tasks.equinox(make, loss, evaluate, lambda config: optax.adam(config["lr"]), train=train, valid=valid)
        space = hp.Space(lr=hp.LogUniform(1e-4, 1e-1), dropout=hp.Uniform(0, 0.5), width=hp.Choice([64, 256]))

    Args:
      make: `(key, config) -> eqx.Module`, or `(module, state)` as `eqx.nn.make_with_state(Net)` makes. Arrays of
        floating point are trained, except for single numbers made of the config alone, such as the rate of a dropout.
      loss: `(model, batch, key, config) -> scalar`, with the model as a function of a batch: it calls the module
        with every example, its state, and one of `jax.random.split(key, B)` where it takes a `key`; the mapped axis is
        named `"batch"`.
      evaluate: `(model, batch, config) -> {name: [B, ...]}`, with the module in `eqx.nn.inference_mode`.
      optimizer: `(config) -> optax.GradientTransformation`.
      options: what else `hp.Task` takes: `train=`, `valid=`, `batch_size=`, `dtype=`, `metrics=` ...

    Raises:
      Error: equinox is not installed, or as `hp.Task`.
    """
    library = needed("equinox", "equinox", "equinox")
    return task_of(_Equinox(library, make), loss, evaluate, optimizer, options)


class Batched:
    """A module of one example, called with a batch.

    Attributes:
      module: in the mode of training, or of inference.
      state: `eqx.nn.State` of the module, which goes on from one call to the next; None where it has none.
    """

    def __init__(self, eqx: Any, module: Any, state: Any, key: jax.Array | None):
        self.module, self.state, self._eqx, self._key, self._calls = module, state, eqx, key, 0

    def __call__(self, *args: Any) -> Any:
        """Call the module with each example; each has a key of its own, and the axis is named "batch"."""
        keys, takes = None, inspect.signature(self.module).parameters
        if self._key is not None and "key" in takes:
            keys = jax.random.split(nth_key(self._key, self._calls), len(jax.tree.leaves(args)[0]))
        self._calls += 1

        def one(args: Any, key: jax.Array | None) -> tuple[Any, Any]:
            more = {} if key is None else {"key": key}
            return (self.module(*args, **more), None) if self.state is None else self.module(*args, self.state, **more)

        each = self._eqx.filter_vmap(one, in_axes=(0, 0), out_axes=(0, None), axis_name="batch")
        result, self.state = each(args, keys)
        return result


class _Equinox(NamedTuple):
    eqx: Any
    make: Callable[..., Any]

    def fresh(self, key: jax.Array, config: Config, use: Callable[[Any], Any]) -> tuple[PyTree, PyTree]:
        module, state = self._made(key, config)
        arrays = self._arrays(module)
        found = sources(lambda key, config: [*self._arrays(self._made(key, config)[0]).values()], key, config)
        params = {}
        for (name, leaf), of in zip(arrays.items(), found, strict=True):
            if not self.eqx.is_inexact_array(leaf) and "key" in of:
                raise Error(
                    f"hp.tasks.equinox make: expected what is random in the model to be floating point or in an "
                    f"eqx.nn.StateIndex, got {leaf.dtype}{list(leaf.shape)} at {name}"
                )
            if self.eqx.is_inexact_array(leaf) and not (leaf.shape == () and of == {"config"}):
                params[name] = leaf
        return params, jax.tree.leaves(state)

    def live(self, params: PyTree, state: PyTree, config: Config, key: jax.Array | None) -> Batched:
        module, begun = self._made(jax.random.key(0), config)
        flat, structure = jax.tree_util.tree_flatten_with_path(module)
        module = structure.unflatten([params.get(_name(path), leaf) for path, leaf in flat])
        module = self.eqx.nn.inference_mode(module, key is None)
        after = None if begun is None else jax.tree.unflatten(jax.tree.structure(begun), state or [])
        return Batched(self.eqx, module, after, key)

    def after(self, model: Batched) -> PyTree:
        return jax.tree.leaves(model.state)

    def _made(self, key: jax.Array, config: Config) -> tuple[Any, Any]:
        found = self.make(key, config)
        module, state = found if isinstance(found, tuple) else (found, None)
        if not callable(module) or not (state is None or isinstance(state, self.eqx.nn.State)):
            raise Error(
                f"hp.tasks.equinox make: expected (key, config) -> eqx.Module, or what eqx.nn.make_with_state makes, "
                f"got {type(found).__name__}"
            )
        return module, state

    def _arrays(self, module: Any) -> dict[str, jax.Array]:
        flat, _ = jax.tree_util.tree_flatten_with_path(module)
        return {_name(path): leaf for path, leaf in flat if self.eqx.is_array(leaf)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path).removeprefix(".")
