"""What one member is: functions of one network, its data, and a check of both before anything runs.

Users write functions of a single member; only `engine/tile.py` maps them over many.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxhp.data.dataset import Sealed, checked, examples
from jaxhp.data.dealing import classes
from jaxhp.data.stream import Stream
from jaxhp.objectives import Bound, Objectives, objectives_of
from jaxhp.tasks.clock import START, Clock, call
from jaxhp.tasks.clock import shapes as shapes_for
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.whole_set import Metric
from jaxhp.values import Config, Error, check_name, is_int


class Variables(NamedTuple):
    """What `init` returns for a model with mutable state, such as the running means of batch normalisation.

    Then `loss` and `evaluate` get `Variables` as their first argument, and `loss` returns
    `(scalar, new_state)`. Only `params` is differentiated and given to the optimizer.
    """

    params: PyTree[Array]
    state: PyTree[Array]


@dataclass(frozen=True, eq=False)
class Task:
    """One member's functions and the data that all members share.

    A function that names keyword-only parameters among `step`, `steps` and `epoch` gets them, see `clock.py`: so
    `def optimizer(config, *, steps)` has a schedule that ends with the training, however long that is.

    Attributes:
      init: `(key, config) -> params`, a pytree of arrays (or `Variables`).
      loss: `(params, batch, key, config) -> scalar`. `batch` is the tree of `train` with `batch_size` rows; `key`
        is for dropout and the like.
      evaluate: `(params, batch, config) -> {name: [B, ...]}`, columns of what is measured of each example of a batch of
        any size B. Those of shape [B] are metrics: a score is their mean.
      optimizer: `(config) -> optax.GradientTransformation`, built from traced values.
      train, valid: pytrees of arrays whose first axis is the examples. They stay on the device as they are
        (uint8 images, say); convert and normalise them inside `loss` and `evaluate`.
        `train` may also be a `hp.data.Stream`; it is then kept in `stream`, and `train` is its first epoch.
      test: likewise, or a `Sealed` holder; sealed until `Result.test()`.
      batch_size: examples a step. An epoch is ceil(n / batch_size) steps over a fresh shuffle; the last one is
        filled up with the first examples of that shuffle.
      metric: the name, of a column or in `metrics`, by which trials are ranked. A tuple of names are several
        objectives: `result.front` has the trials that no other beats in all of them, and the first one is the score
        that is recorded. Here `metric` is that first name, and `objectives` has all.
      mode: `"max"` if a larger metric is better, else `"min"`; of several objectives a tuple of as many.
      train_examples: how many training examples, spread evenly, the training curve is measured on after each epoch;
        None: as many as validation has, so that it takes no more time; "all"; 0: none, and there is no training curve.
      stream: where each epoch's training examples come from; None: all epochs train on `train`.
      label: the column of `train` with the classes, integers or booleans, over which `Search(folds=5)` deals out the
        examples evenly; None: at random.
      metrics: name to `hp.Metric`, metrics of the whole validation set, such as those of `hp.metrics`. A column that
        they read is no metric of its own, unless it is the one that ranks.
      averaged: `(opt_state, params, config) -> params`, the weights to evaluate, report and save: their running mean,
        those of schedule-free or lookahead. None: the weights that are trained.
      dtype: `"bfloat16"`: `loss` and `evaluate` get weights and examples of floating point as bfloat16, so that
        products, activations and gradients are; weights, optimizer, state and metrics stay float32. None: as they are.
      predict: `(params, batch, config) -> [B, ...]`, what a network says of each example, to be averaged over networks:
        probabilities of classes, or values. It reads of `batch` what is known of an example before its label is.
      measure: `(prediction, batch) -> {name: [B, ...]}`, the columns that `evaluate` gives, as far as the metric needs
        them, of what `predict` says or of a mean of it. With both there are ensembles.
      constraints: metric to `hp.AtMost` or `hp.AtLeast`, what a trial has to keep to be chosen. A NaN does not.
      objectives: what `metric`, `mode` and `constraints` say together; made of them.
    """

    init: Callable[..., PyTree[Array]]
    loss: Callable[..., jax.Array | tuple[jax.Array, PyTree[Array]]]
    evaluate: Callable[..., Mapping[str, jax.Array]]
    optimizer: Callable[..., optax.GradientTransformation]
    train: PyTree
    valid: PyTree
    test: PyTree = None
    batch_size: int = 100
    metric: Any = "accuracy"  # str | tuple[str, ...], and a str once the task is made
    mode: Any = "max"
    train_examples: int | Literal["all"] | None = None
    stream: Stream | None = None
    label: str | None = None
    averaged: Callable[..., PyTree[Array]] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    dtype: str | None = None
    constraints: Mapping[str, Bound] = field(default_factory=dict)
    predict: Callable[..., jax.Array] | None = None
    measure: Callable[..., Mapping[str, jax.Array]] | None = None
    objectives: Objectives = field(default=None)  # type: ignore[assignment]

    def __post_init__(self):
        if isinstance(self.train, Stream):
            object.__setattr__(self, "stream", self.train)
            object.__setattr__(self, "train", self.train.first)
        for name in ("init", "loss", "evaluate", "optimizer"):
            if not callable(getattr(self, name)):
                raise Error(f"Task {name}: expected a function, got {getattr(self, name)!r}")
        for name in ("averaged", "predict", "measure"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise Error(f"Task {name}: expected a function or None, got {getattr(self, name)!r}")
        if self.measure is not None and self.predict is None:
            raise Error("Task measure: expected predict= beside it, whose predictions it measures, got none")
        for name in ("train", "valid"):
            object.__setattr__(self, name, checked(getattr(self, name), f"Task {name}"))
        if self.test is not None and not isinstance(self.test, Sealed):
            object.__setattr__(self, "test", Sealed(self.test))
        if not isinstance(self.metrics, Mapping) or not all(isinstance(m, Metric) for m in self.metrics.values()):
            raise Error(f"Task metrics: expected a dict of name to hp.Metric, got {self.metrics!r}")
        for name in self.metrics:
            check_name(name, "Task metrics")
        if self.dtype not in (None, "bfloat16"):
            raise Error(f"Task dtype: expected None or 'bfloat16', got {self.dtype!r}")
        if self.label is not None:
            classes(self.train, self.label, "Task label")
        names, modes, before = self.metric, self.mode, self.objectives
        if before is not None and len(before.names) > 1 and (names, modes) == (before.names[0], before.modes[0]):
            names, modes = before.names, before.modes  # of a task that this one is a `replace` of
        object.__setattr__(self, "objectives", objectives_of(names, modes, self.constraints))
        object.__setattr__(self, "metric", self.objectives.names[0])
        object.__setattr__(self, "mode", self.objectives.modes[0])
        if not is_int(self.batch_size, 1):
            raise Error(f"Task batch_size: expected a positive integer, got {self.batch_size!r}")
        object.__setattr__(self, "batch_size", int(self.batch_size))
        if self.batch_size > self.n_train:
            raise Error(
                f"Task batch_size: expected at most the {self.n_train} training examples, got {self.batch_size}"
            )
        asked = self.train_examples
        if asked is not None and not (isinstance(asked, str) and asked == "all"):
            if not (is_int(asked, 0) and asked <= self.n_train):
                raise Error(
                    f"Task train_examples: expected 0 (no training curve) to {self.n_train}, 'all', or None (as many "
                    f"as valid has), got {asked!r}"
                )
            object.__setattr__(self, "train_examples", int(asked))

    @property
    def n_train(self) -> int:
        return examples(self.train)

    @property
    def n_valid(self) -> int:
        return examples(self.valid)


AnyTask = Task | Loop
"""What makes members: the functions below are the one place that knows how each kind does."""


def compared_by(task: AnyTask) -> Objectives:
    """What the trials of a task are compared by."""
    return objectives_of(task.metric, task.mode, {}) if isinstance(task, Loop) else task.objectives


class Member(NamedTuple):
    """One network under training; of a `Loop`, whose state is all in `variables`, `opt_state` is empty."""

    variables: PyTree[Array]
    opt_state: PyTree[Array]


def clock_shapes(task: AnyTask) -> Clock:
    """Shapes of what the functions of a task are given; {} where none of them asks."""
    if isinstance(task, Loop):
        return shapes_for(task.init, task.epoch, task.evaluate)
    return shapes_for(task.init, task.loss, task.evaluate, task.optimizer, task.averaged)


def curve_examples(task: AnyTask, n_train: int, n_valid: int) -> int:
    """How many of so many training examples the training curve is measured on; `n_valid` is how many validate."""
    if task.train_examples == "all":
        return n_train
    return min(n_valid if task.train_examples is None else task.train_examples, n_train)


def create(task: AnyTask, key: jax.Array, config: Config, clock: Clock = START) -> Member:
    """A fresh member: initial weights and optimizer state."""
    variables = call(task.init, key, config, clock=clock)
    if isinstance(task, Loop):
        return Member(variables, ())
    return Member(variables, call(task.optimizer, config, clock=clock).init(params_of(variables)))


def update(
    task: AnyTask, member: Member, batch: PyTree[Array], key: jax.Array, config: Config, clock: Clock = START
) -> tuple[Member, jax.Array]:
    """One optimizer step, or epoch of a `Loop`; returns the new member and the loss before it, a scalar."""
    if isinstance(task, Loop):
        return Member(call(task.epoch, member.variables, key, config, clock=clock), ()), jnp.float32(0)
    stateful = isinstance(member.variables, Variables)

    def objective(params):
        found = call(task.loss, with_params(member.variables, params), batch, key, config, clock=clock)
        return found if stateful else (found, None)

    params = params_of(member.variables)
    (loss, state), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    # Or XLA adds weight decay inside a gradient's product, on a GPU with two more passes over weights and gradients.
    gradients = jax.lax.optimization_barrier(gradients)
    optimizer = call(task.optimizer, config, clock=clock)
    params, opt_state = apply(optimizer, gradients, member.opt_state, params, loss)
    return Member(Variables(params, state) if stateful else params, opt_state), loss


def apply(
    optimizer: Any,  # what only some of them take is asked of it
    gradients: PyTree[Array],
    opt_state: PyTree[Array],
    params: PyTree[Array],
    loss: jax.Array,
) -> tuple[PyTree[Array], PyTree[Array]]:
    """One step of an optimizer; returns the new params and the new state.

    `optax.lookahead` gets the gradients of the fast weights alone. Those that take the loss get it as `value=`, and the
    gradients as `grad=` (reduce_on_plateau, Polyak's step). A state of fewer bits than the traced hyperparameters stays
    so, as it does where these are numbers of Python.
    """
    if isinstance(params, optax.LookaheadParams):
        gradients = gradients.fast  # type: ignore[union-attr]
    more = isinstance(optimizer, (optax.GradientTransformationExtraArgs, optax.MultiSteps))
    taken = inspect.signature(optimizer.update).parameters.values() if more else ()
    names = {"value", "grad"} if any(p.kind is p.VAR_KEYWORD for p in taken) else {p.name for p in taken}
    extra = {name: what for name, what in {"value": loss, "grad": gradients}.items() if name in names}
    updates, after = optimizer.update(gradients, opt_state, params, **extra)
    return optax.apply_updates(params, updates), jax.tree.map(_as_before, after, opt_state)


def _as_before(after: jax.Array, before: jax.Array) -> jax.Array:
    floating = jnp.issubdtype(after.dtype, jnp.floating) and jnp.issubdtype(before.dtype, jnp.floating)
    return after.astype(before.dtype) if floating and after.dtype != before.dtype else after


def shown(task: AnyTask, member: Member, config: Config, clock: Clock = START) -> PyTree[Array]:
    """The variables of a member that are evaluated, reported and saved."""
    if task.averaged is None:
        return member.variables
    params = call(task.averaged, member.opt_state, params_of(member.variables), config, clock=clock)
    return with_params(member.variables, params)


def params_of(variables: PyTree[Array]) -> PyTree[Array]:
    return variables.params if isinstance(variables, Variables) else variables


def with_params(variables: PyTree[Array], params: PyTree[Array]) -> PyTree[Array]:
    return Variables(params, variables.state) if isinstance(variables, Variables) else params


class Shapes(NamedTuple):
    """What the functions of a task make, as found by `check`."""

    member: Member  # of jax.ShapeDtypeStruct
    metrics: tuple[str, ...]  # names in the order of a curve's columns
    activations: int  # bytes, about, that one member keeps of a minibatch for the backward pass, besides its weights;
    # of a `Loop`, those that its functions hold at once
    means: tuple[str, ...]  # the columns of `evaluate` whose means are metrics
    columns: Mapping[str, jax.ShapeDtypeStruct]  # those that metrics of the whole set read, of one example


def batch_shapes(data: PyTree, size: int) -> PyTree[jax.ShapeDtypeStruct]:
    """Shapes of so many examples of `data` on a device, where float64 may be float32."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((size, *np.shape(a)[1:]), jnp.asarray(a[:0]).dtype), data)


def evaluated_on(task: AnyTask, size: int) -> PyTree[jax.ShapeDtypeStruct]:
    """Shapes of what `evaluate` gets beside variables and config: so many examples of `valid`, or a `Loop`'s key."""
    return key_shape() if isinstance(task, Loop) else batch_shapes(task.valid, size)


def key_shape() -> jax.ShapeDtypeStruct:
    """The shape of a key of random numbers."""
    return jax.eval_shape(lambda: jax.random.key(0))
