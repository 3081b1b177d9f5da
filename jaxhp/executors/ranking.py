"""The outcome of rows whose replicates were trained by several workers, as the step of one process makes it."""

from __future__ import annotations

from functools import cache, partial

import jax
import numpy as np

from jaxhp.engine.runtime import compiler_options
from jaxhp.engine.scores import rank_trials
from jaxhp.engine.spec import Spec
from jaxhp.engine.work import Outcome
from jaxhp.executors.units import Raw


def ranked(spec: Spec, epoch: str, raw: Raw, stop: int) -> Outcome:
    """Return the outcome of rows of a group from what is known of all their members, on a device of this process.

    Args:
      spec: of the group.
      epoch: which score of its curve a trial has, the "last" or the "best".
      raw: of the members.
      stop: the epoch that they were trained to.
    """
    rank = _compiled(spec.shapes.metrics.index(spec.task.metric), spec.task.mode, epoch)
    p, r = raw.spread.shape
    padded = 2 ** int(np.ceil(np.log2(p)))  # few shapes, since each is compiled
    slots = np.arange(p * r, dtype=np.int32).reshape(p, r)
    slots = np.concatenate([slots, np.full((padded - p, r), -1, np.int32)])

    def flat(leaf: np.ndarray) -> np.ndarray:
        whole = np.zeros((1, 1, padded * r, *leaf.shape[2:]), leaf.dtype)
        whole[0, 0, : p * r] = leaf.reshape(-1, *leaf.shape[2:])
        return whole

    found = jax.device_get(rank(*map(flat, raw), np.full((1, 1), stop), slots))
    return Outcome(
        found.score[:p], found.stderr[:p], found.replicate_scores[:p], found.curve[:p], found.diverged_at[:p]
    )


@cache
def _compiled(metric: int, mode: str, epoch: str):
    # of several replicates the error is that between them, whatever the number of examples
    rank = partial(rank_trials, metric=metric, mode=mode, n_valid=1, epoch=epoch)
    return jax.jit(rank, compiler_options=compiler_options(jax.local_devices()[0]))
