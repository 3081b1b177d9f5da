"""Networks whose predictions are averaged, and what they are worth together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxhp import words
from jaxhp.report.telling import plural

if TYPE_CHECKING:
    from jaxtyping import PyTree


class Worth(NamedTuple):
    """A metric on examples that have not chosen."""

    mean: float
    low: float  # 95% interval over examples, for these networks
    high: float

    def __str__(self) -> str:
        return words.bounded(*self)


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    """A weighted mean of networks; `print` says what it is worth.

    Attributes:
      trials: trial_id to how many times its network is in it.
      metric, mode: what it was chosen by.
      worth: on examples that have not chosen it.
      single: that of the best single network, which was chosen on the same examples as the ensemble.
      gain: by how much the ensemble is better on the same examples: positive is better, whatever the mode.
      chosen_on: how many examples have chosen it.
      examples: how many others it was measured on.
      held_out: whether the search has not used those.
      networks: the networks, in the order of `trials`, each what `init` made.
    """

    trials: Mapping[int, int]
    metric: str
    mode: str
    worth: Worth
    single: Worth
    gain: Worth
    chosen_on: int
    examples: int
    held_out: bool
    networks: tuple[PyTree[np.ndarray], ...]
    _predict: Callable[[Any], Any] = field(repr=False)
    _export: Callable[[str | Path, int | None], tuple[str, ...]] = field(repr=False)

    def predict(self, batch: PyTree[np.ndarray]) -> np.ndarray:
        """Return the mean of what the networks say of each example, [B, ...]: in one program, of all of them at once.

        Args:
          batch: examples as the task's `predict` reads them; they need no label.
        """
        return np.asarray(self._predict(batch))

    def export(self, path: str | Path, rows: int | None = None) -> tuple[str, ...]:
        """Write `predict` as a file that needs no jaxhp; see `Result.export`."""
        return self._export(path, rows)

    def __str__(self) -> str:
        """Say what is in it, and what it is worth."""
        times = [f"{trial}" + (f" x{count}" if count > 1 else "") for trial, count in self.trials.items()]
        used = (
            "the search has not used" if self.held_out else "have not chosen it, though the search has ranked by them"
        )
        return "\n".join(
            [
                f"ensemble  {plural(len(times), 'network')}, of trial {', '.join(times)}; "
                f"chosen on {plural(self.chosen_on, 'example')}",
                f"worth     {self.metric} {self.worth} ({plural(self.examples, 'example')} that {used})",
                f"single    {self.metric} {self.single}, the best network alone",
                f"gain      {self.gain}{'' if self.gain.low > 0 else ': it may be none'}",
            ]
        )

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self.trials)} networks: {self.metric} {self.worth}>"
