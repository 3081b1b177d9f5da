"""What the libraries for networks have in common: a task from how a library makes and calls a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.extend.core import Var
from jaxtyping import PyTree

from jaxhp.tasks.clock import NAMES, asking, call
from jaxhp.tasks.task import Task, Variables, batch_shapes, params_of
from jaxhp.values import Config, Error


class Library(Protocol):
    """How a library makes a model, and what of it is trained."""

    def fresh(self, key: jax.Array, config: Config, use: Callable[[Any], Any]) -> tuple[PyTree, PyTree]:
        """Make weights and other state of a model.

        Args:
          use: calls a model with examples, for a library that learns the shapes of weights from them.
        """
        ...

    def live(self, params: PyTree, state: PyTree, config: Config, key: jax.Array | None) -> Any:
        """Make a model with these weights and this state: one that trains with a key, and one that does not without."""
        ...

    def after(self, model: Any) -> PyTree:
        """Return the state of a live model, after it was called."""
        ...


@dataclass(frozen=True)
class Maker:
    """`init` of a task of such a model.

    Attributes:
      library: that makes the model.
      use: calls a model with examples.
    """

    library: Library
    use: Callable[[Any, Config], Any]

    def __call__(self, key: jax.Array, config: Config) -> PyTree:
        params, state = self.library.fresh(key, config, lambda model: self.use(model, config))
        return Variables(params, state) if jax.tree.leaves(state) else params

    def live(self, variables: PyTree, config: Config, key: jax.Array | None) -> Any:
        state = variables.state if isinstance(variables, Variables) else {}
        return self.library.live(params_of(variables), state, config, key)


def task_of(
    library: Library,
    loss: Callable[..., Any],
    evaluate: Callable[..., Any],
    optimizer: Callable[..., Any],
    options: Any,
) -> Task:
    """Make a task of a model.

    Args:
      loss: `(model, batch, key, config) -> scalar`.
      evaluate: `(model, batch, config) -> {name: [B, ...]}`.
      optimizer, options: of `hp.Task`; `predict` is `(model, batch, config) -> [B, ...]`.
    """

    def trained(variables: PyTree, batch: PyTree, key: jax.Array, config: Config, **clock: Any) -> Any:
        of_model, of_loss = jax.random.split(key)
        model = maker.live(variables, config, of_model)
        found = call(loss, model, batch, of_loss, config, clock=clock)
        return (found, library.after(model)) if isinstance(variables, Variables) else found

    def evaluated(variables: PyTree, batch: PyTree, config: Config, **clock: Any) -> Any:
        return call(evaluate, maker.live(variables, config, None), batch, config, clock=clock)

    def use(model: Any, config: Config) -> Any:
        start = {name: jnp.int32(1) for name in NAMES}
        rows = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), batch_shapes(task.valid, 2))
        return call(evaluate, model, rows, config, clock=start)

    def predicted(variables: PyTree, batch: PyTree, config: Config) -> Any:
        return predict(maker.live(variables, config, None), batch, config)

    predict = options.get("predict")
    options = options | ({"predict": predicted} if callable(predict) else {})
    maker = Maker(library, use)
    task = Task(maker, asking(loss, trained), asking(evaluate, evaluated), optimizer, **options)
    return task


def model(task: Task, variables: PyTree, config: Config) -> Any:
    """Return a trained model, ready to be called with a batch, as `evaluate` gets it.

    Args:
      task: of `hp.tasks.nnx`, `linen`, `equinox` or `haiku`.
      variables: what was trained, such as `result.best.params`.
      config: that it was trained with, such as `result.best.config`.

    Raises:
      Error: the task is another one.
    """
    if not isinstance(task, Task) or not isinstance(task.init, Maker):
        raise Error(f"task: expected one of hp.tasks.nnx, linen, equinox or haiku, got {type(task).__name__}")
    return task.init.live(variables, config, None)


class Called:
    """A model whose weights stand beside it, as those of linen and haiku do; it is called like the module."""

    def __init__(self, apply: Callable[..., Any], params: PyTree, state: PyTree, key: jax.Array | None):
        """Make one.

        Args:
          apply: `(params, state, key, args, options) -> (result, params, state)`; makes weights where `params` is None.
          key: None: it does not train.
        """
        self.params, self.state, self._apply, self._key, self._calls = params, state, apply, key, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the model; its running statistics go on from one call to the next."""
        key = self._key if self._key is None else nth_key(self._key, self._calls)
        self._calls += 1
        result, self.params, self.state = self._apply(self.params, self.state, key, args, options)
        return result


def nth_key(key: jax.Array, n: int) -> jax.Array:
    """Return the key of the n-th call of a model in a step: that of the first is the step's own."""
    return key if n == 0 else jax.random.fold_in(key, n)


_MODES = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}


def mode(asked: Any, train: bool) -> dict[str, bool]:
    """Return what a module that takes one of the usual names is told about training.

    Args:
      asked: names of what it takes.
    """
    return {name: train is when for name, when in _MODES.items() if name in asked}


def needed(module: str, package: str, extra: str) -> Any:
    """Import a library.

    Raises:
      Error: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module.split(".")[0]:
            raise
        raise Error(
            f"hp.tasks: expected the package {package}, which is not installed: pip install 'jaxhp[{extra}]'"
        ) from error


def sources(make: Callable[[jax.Array, Config], list[Any]], key: jax.Array, config: Config) -> list[set[str]]:
    """Tell what each array of a list is made of: of "key", of "config", of both or of neither.

    Args:
      make: of a key and a config; it is traced, not run.
    """
    plain = dict(dict.items(config))  # a config that remembers what was read would remember all
    traced = {name: value for name, value in plain.items() if isinstance(value, jax.Array)}
    jaxpr = jax.make_jaxpr(lambda key, traced: make(key, plain | traced))(key, traced).jaxpr
    of: dict[Any, set[str]] = {v: {"config"} for v in jaxpr.invars[1:]} | {jaxpr.invars[0]: {"key"}}

    def origin(atoms: Any) -> set[str]:
        return set().union(*(of.get(atom, set()) for atom in atoms if isinstance(atom, Var)))

    for equation in jaxpr.eqns:
        of |= dict.fromkeys(equation.outvars, origin(equation.invars))
    return [origin([atom]) for atom in jaxpr.outvars]
