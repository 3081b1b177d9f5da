"""The chosen trial, with its network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxhp.selection.stretches import Stretch
from jaxhp.store.params import check, load
from jaxhp.trials import Trial
from jaxhp.values import Error

if TYPE_CHECKING:
    from jaxtyping import PyTree


@dataclass(frozen=True)
class Chosen(Trial):
    """The chosen trial, with its network.

    Attributes:
      history: how it was trained: with which config up to which epoch, one after another where it inherited weights.
    """

    history: tuple[Stretch, ...] = field(default=(), repr=False)
    network: PyTree[np.ndarray] = field(default=None, repr=False, compare=False)
    file: Path | None = field(default=None, repr=False, compare=False)
    sha256: str | None = field(default=None, repr=False, compare=False)  # of the file, where it was recorded
    search: str | None = field(default=None, repr=False, compare=False)  # digest of its search's manifest, likewise
    like: PyTree = field(default=None, repr=False, compare=False)  # shapes of what `init` makes, if known

    @property
    def params(self) -> PyTree[np.ndarray]:
        """Return what the task's `init` made, trained to the epoch that its score is of: the trial's first replicate.

        It is the pytree that `init` made. Read from a run directory without the task (`Result.load`), objects in it
        other than dicts, lists and tuples are dicts of their attributes.

        Raises:
          Error: the search has not got so far, or the file is damaged or another run's.
          FileNotFoundError: the file is gone.
        """
        if self.network is not None:
            from jaxhp.keys import keyed  # with JAX, which who reads a directory does without

            return self.network if self.like is None else keyed(self.network, self.like)
        if self.file is None:
            raise Error("params: expected a finished search that chose a trial, got one that has not, or not yet")
        check(self.file, self.trial_id, self.config, self.sha256, self.search)
        return load(self.file, self.like)
