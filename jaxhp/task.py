"""What one member is: functions of one network, its data, and a check of both before anything runs.

Users write functions of a single member; only `population.py` maps them over many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxhp.data.dataset import Sealed, checked, examples
from jaxhp.data.stream import Stream
from jaxhp.ranking import MODES
from jaxhp.types import Config


class Variables(NamedTuple):
    """What `init` returns for a model with mutable state, such as the running means of batch normalisation.

    Then `loss` and `evaluate` get `Variables` as their first argument, and `loss` returns
    `(scalar, new_state)`. Only `params` is differentiated and given to the optimizer.
    """

    params: Any
    state: Any


@dataclass(frozen=True, eq=False)
class Task:
    """One member's functions and the data that all members share.

    Attributes:
      init: `(key, config) -> params`, a pytree of arrays (or `Variables`).
      loss: `(params, batch, key, config) -> scalar`. `batch` is the tree of `train` with `batch_size` rows; `key`
        is for dropout and the like.
      evaluate: `(params, batch, config) -> {name: f32[B]}`, metrics of each example of a batch of any size B.
      optimizer: `(config) -> optax.GradientTransformation`, built from traced values.
      train, valid: pytrees of arrays whose first axis is the examples. They stay on the device as they are
        (uint8 images, say); convert and normalise them inside `loss` and `evaluate`.
        `train` may also be a `hp.data.Stream`; it is then kept in `stream`, and `train` is its first epoch.
      test: likewise, or a `Sealed` holder; sealed until `Result.test()`.
      batch_size: examples a step. An epoch is ceil(n / batch_size) steps over a fresh shuffle; the last one is
        filled up with the first examples of that shuffle.
      metric: the name in `evaluate`'s result by which trials are ranked.
      mode: `"max"` if a larger metric is better, else `"min"`.
      train_examples: how many training examples the training curve is measured on each epoch; None: all.
      stream: where each epoch's training examples come from; None: all epochs train on `train`.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    evaluate: Callable[..., Mapping[str, jax.Array]]
    optimizer: Callable[..., optax.GradientTransformation]
    train: Any
    valid: Any
    test: Any = None
    batch_size: int = 100
    metric: str = "accuracy"
    mode: str = "max"
    train_examples: int | None = None
    stream: Stream | None = None

    def __post_init__(self):
        if isinstance(self.train, Stream):
            object.__setattr__(self, "stream", self.train)
            object.__setattr__(self, "train", self.train.first)
        for name in ("init", "loss", "evaluate", "optimizer"):
            if not callable(getattr(self, name)):
                raise TypeError(f"Task {name}: expected a function, got {getattr(self, name)!r}")
        for name in ("train", "valid"):
            object.__setattr__(self, name, checked(getattr(self, name), f"Task {name}"))
        if self.test is not None and not isinstance(self.test, Sealed):
            object.__setattr__(self, "test", Sealed(self.test))
        if self.mode not in MODES:
            raise ValueError(f"Task mode: expected 'max' or 'min', got {self.mode!r}")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"Task batch_size: expected a positive integer, got {self.batch_size!r}")
        if self.batch_size > self.n_train:
            raise ValueError(
                f"Task batch_size: expected at most the {self.n_train} training examples, got {self.batch_size}"
            )
        if self.train_examples is not None and not 1 <= self.train_examples <= self.n_train:
            raise ValueError(
                f"Task train_examples: expected 1 to {self.n_train} (all of train), got {self.train_examples!r}"
            )

    @property
    def n_train(self) -> int:
        return examples(self.train)

    @property
    def n_valid(self) -> int:
        return examples(self.valid)


class Member(NamedTuple):
    """One network under training."""

    variables: Any
    opt_state: Any


def create(task: Task, key: jax.Array, config: Config) -> Member:
    """A fresh member: initial weights and optimizer state."""
    variables = task.init(key, config)
    return Member(variables, task.optimizer(config).init(_params(variables)))


def update(task: Task, member: Member, batch: Any, key: jax.Array, config: Config) -> tuple[Member, jax.Array]:
    """One optimizer step; returns the new member and the loss before the step, a scalar."""
    stateful = isinstance(member.variables, Variables)

    def objective(params):
        found = task.loss(_with_params(member.variables, params), batch, key, config)
        return found if stateful else (found, None)

    params = _params(member.variables)
    (loss, state), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    # Or XLA adds weight decay inside a gradient's product, on a GPU with two more passes over weights and gradients.
    gradients = jax.lax.optimization_barrier(gradients)
    updates, opt_state = task.optimizer(config).update(gradients, member.opt_state, params)
    params = optax.apply_updates(params, updates)
    return Member(Variables(params, state) if stateful else params, opt_state), loss


def _params(variables: Any) -> Any:
    return variables.params if isinstance(variables, Variables) else variables


def _with_params(variables: Any, params: Any) -> Any:
    return Variables(params, variables.state) if isinstance(variables, Variables) else params


class Shapes(NamedTuple):
    """What the functions of a task make, as found by `check`."""

    member: Member  # of jax.ShapeDtypeStruct
    metrics: tuple[str, ...]  # names in the order of a curve's columns
    activations: int  # bytes, about, that one member keeps of a minibatch for the backward pass, besides its weights


class Recorded(dict):
    """A config that remembers which of its names were read."""

    def __init__(self, config: Mapping[str, Any], reads: set[str]):
        super().__init__(config)
        self.reads = reads

    def __getitem__(self, name: str) -> Any:
        self.reads.add(name)
        if name not in self:
            raise KeyError(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.reads.add(name)
        return super().get(name, default)

    def __iter__(self):
        self.reads.update(super().keys())
        return super().__iter__()

    def keys(self):
        self.reads.update(super().keys())
        return super().keys()

    def items(self):
        self.reads.update(super().keys())
        return super().items()

    def values(self):
        self.reads.update(super().keys())
        return super().values()


def batch_shapes(data: Any, size: int) -> Any:
    """Shapes of so many examples of `data` on a device, where float64 may be float32."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((size, *np.shape(a)[1:]), jnp.asarray(a[:0]).dtype), data)


def check(task: Task, config: Mapping[str, Any], reads: set[str] | None = None) -> Shapes:
    """Runs every function of the task on shapes alone, and says in one line what does not fit.

    Args:
      config: one config; its traced values are `jax.ShapeDtypeStruct`, its static ones plain values.
      reads: names that were read of it already, by whoever made the task.
    """
    reads = set() if reads is None else reads
    traced = {n: v for n, v in config.items() if isinstance(v, jax.ShapeDtypeStruct)}
    static = {n: v for n, v in config.items() if n not in traced}

    def shape(name: str, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return jax.eval_shape(
                lambda traced, *args: function(*args, Recorded(static | traced, reads)), traced, *args
            )
        except KeyError as error:
            if error.args and error.args[0] in reads and error.args[0] not in config:
                raise ValueError(
                    f"space: expected the parameter {error.args[0]!r}, which the task's {name} reads, got only "
                    f"{', '.join(config)}"
                ) from error
            raise ValueError(f"Task {name}: raised KeyError: {error}") from error
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            text = str(error).strip().split("\n")[0]
            raise ValueError(f"Task {name}: raised {type(error).__name__} when called on shapes: {text}") from error

    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = shape("init", task.init, key)
    for path, leaf in jax.tree_util.tree_flatten_with_path(_params(variables))[0]:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            where = jax.tree_util.keystr(path)
            raise TypeError(f"Task init: expected floating point parameters, got {leaf.dtype} at params{where}")
    if not jax.tree.leaves(_params(variables)):
        raise ValueError("Task init: expected a pytree of arrays, got no arrays")

    batch = batch_shapes(task.train, task.batch_size)
    loss = shape("loss", task.loss, variables, batch, key)
    if isinstance(variables, Variables):
        if not (isinstance(loss, tuple) and len(loss) == 2):
            raise ValueError("Task loss: expected (scalar, new_state), since init returned Variables")
        _check_same(loss[1], variables.state, "Task loss: new_state")
        loss = loss[0]
    if not hasattr(loss, "shape") or loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"Task loss: expected a floating point scalar, got {_describe(loss)}")

    def pullback(variables: Any, batch: Any, key: jax.Array, config: Config) -> Any:
        loss = lambda params: task.loss(_with_params(variables, params), batch, key, config)  # noqa: E731
        return jax.vjp(loss, _params(variables))[1]

    kept = Counter(_sizes(shape("loss", pullback, variables, batch, key))) - Counter(_sizes(_params(variables)))
    of_batch = 4 * sum(leaf.size for leaf in jax.tree.leaves(batch))  # kept as f32, once for all members
    activations = max(sum(n * math.prod(dims) * dtype.itemsize for (dims, dtype), n in kept.items()) - of_batch, 0)

    metrics = shape("evaluate", task.evaluate, variables, batch_shapes(task.valid, 7))
    if not isinstance(metrics, Mapping) or not metrics:
        raise ValueError(f"Task evaluate: expected a dict of metric name to f32[B], got {_describe(metrics)}")
    for name, value in metrics.items():
        if not hasattr(value, "shape") or value.shape != (7,):
            raise ValueError(
                f"Task evaluate: expected one value an example, f32[B], for {name!r}; with B = 7 got {_describe(value)}"
            )
    if task.metric not in metrics:
        raise ValueError(f"Task metric: expected one of {', '.join(sorted(metrics))}, got {task.metric!r}")

    def optimize(params: Any, config: Config) -> Any:
        optimizer = task.optimizer(config)
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(f"expected an optax.GradientTransformation, got {optimizer!r}")
        state = optimizer.init(params)
        updates, after = optimizer.update(params, state, params)
        return state, optax.apply_updates(params, updates), after

    opt_state, stepped, after = shape("optimizer", optimize, _params(variables))
    _check_same(stepped, _params(variables), "Task optimizer: updated params")
    _check_same(after, opt_state, "Task optimizer: updated state")

    unread = [name for name in config if name not in reads]
    if unread:
        raise ValueError(
            f"space: expected only parameters that the task reads ({', '.join(sorted(reads)) or 'none'}), "
            f"got also {', '.join(unread)}"
        )
    return Shapes(Member(variables, opt_state), tuple(sorted(metrics)), activations)


def _sizes(tree: Any) -> list[tuple[tuple[int, ...], Any]]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__


def _check_same(got: Any, expected: Any, what: str) -> None:
    if jax.tree.structure(got) != jax.tree.structure(expected):
        raise ValueError(
            f"{what}: expected the structure {jax.tree.structure(expected)}, got {jax.tree.structure(got)}"
        )
    flat, _ = jax.tree_util.tree_flatten_with_path(expected)
    for (path, want), came in zip(flat, jax.tree.leaves(got), strict=True):
        if (want.shape, want.dtype) != (came.shape, came.dtype):
            where = jax.tree_util.keystr(path)
            raise ValueError(f"{what}{where}: expected {_describe(want)}, got {_describe(came)}")
