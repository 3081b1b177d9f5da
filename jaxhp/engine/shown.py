"""What a task's `init` made for a member, as it is evaluated now, from the leaves of a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.compiling import jit, on_host
from jaxhp.engine.spec import Spec
from jaxhp.engine.tile import TileRules
from jaxhp.tasks.task import shown
from jaxhp.values import Config


def kept_leaves(spec: Spec) -> int:
    """Count the first leaves of a state that `variables_of` needs."""
    return _structure(spec).num_leaves


def variables_of(
    spec: Spec, rules: TileRules, leaves: Sequence[np.ndarray], epoch: int, config: Config
) -> PyTree[np.ndarray]:
    """Return a member's variables; keys as their data.

    Args:
      leaves: of its state, as many as `kept_leaves` says.
      epoch: that it was trained for.
      config: that it is trained with.
    """
    found = jax.tree.unflatten(_structure(spec), leaves)
    if spec.task.averaged is None:
        return found
    with on_host():
        traced = {n: column[0] for n, column in spec.columns([config]).items()}
        mean = jit(lambda member, traced: shown(spec.task, member, rules.full(traced), rules.clock(epoch)))
        return jax.device_get(mean(found, traced))


def _structure(spec: Spec) -> Any:
    averaged = spec.task.averaged is not None
    return jax.tree.structure(spec.shapes.member if averaged else spec.shapes.member.variables)
