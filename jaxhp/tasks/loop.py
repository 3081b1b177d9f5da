"""A training loop of one's own, with no data set: reinforcement learning, a PINN, a GAN, a simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxhp.trials import MODES
from jaxhp.values import Error


@dataclass(frozen=True, eq=False)
class Loop:
    """One member's functions. Nothing is shared but them: what data there is, the functions make or hold themselves.

    A function that names keyword-only parameters among `step`, `steps` and `epoch` gets them, see `clock.py`; a step of
    a Loop is an epoch.

    All that is random comes from keys, so seeds are the only noise: finals repeat the best trials with fresh ones, and
    nothing is corrected for. Replicates have keys of their own; the trials of a replicate share them (`paired`).

    Attributes:
      init: `(key, config) -> state`, any pytree of arrays: weights, optimizer state, environments, counters.
      epoch: `(state, key, config) -> state`, one epoch of training, whatever that is; the state keeps its structure,
        shapes and dtypes. The key is another one in each epoch.
      evaluate: `(state, key, config) -> {name: value}`, the metrics after an epoch: scalars, or samples of shape [B],
        such as the return of each of B games, whose mean is the metric. Its key is none of training's. A trial whose
        metric is NaN or infinite has diverged, and that alone: a state may hold NaN where it has a meaning.
      metric: the name of the metric by which trials are ranked.
      mode: `"max"` if a larger metric is better, else `"min"`.
    """

    init: Callable[..., PyTree[Array]]
    epoch: Callable[..., PyTree[Array]]
    evaluate: Callable[..., Mapping[str, jax.Array]]
    metric: str = field(kw_only=True)
    mode: str = field(default="max", kw_only=True)

    # What the engine asks of a task: a Loop has one example, which nobody looks at, and one update an epoch.
    train = valid = np.zeros(1, np.uint8)
    test = stream = label = averaged = dtype = None
    metrics = MappingProxyType[str, Any]({})
    batch_size = n_train = n_valid = 1
    train_examples = 0

    def __post_init__(self) -> None:
        for name in ("init", "epoch", "evaluate"):
            if not callable(getattr(self, name)):
                raise Error(f"Loop {name}: expected a function, got {getattr(self, name)!r}")
        if not isinstance(self.metric, str):
            raise Error(f"Loop metric: expected the name of a metric that evaluate returns, got {self.metric!r}")
        if self.mode not in MODES:
            raise Error(f"Loop mode: expected 'max' or 'min', got {self.mode!r}")
