"""The chosen config trained once more, on training and validation data together, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from jaxhp.engine.spec import Spec
from jaxhp.keys import keyed
from jaxhp.search.anew import Retraining, all_data, retrained
from jaxhp.selection.stretches import Stretch
from jaxhp.store.enlarging import REFIT
from jaxhp.store.ledger import Ledger
from jaxhp.store.params import check, is_network, load, save
from jaxhp.tasks.loop import Loop
from jaxhp.values import Config, Error

FILE = "refit.safetensors"


def refit(
    spec_of: Callable[[Config], Spec],
    how: Retraining,
    trial_id: int,
    history: Sequence[Stretch],
    directory: Path | None,
) -> PyTree[np.ndarray]:
    """Train a trial on all data but the test data, with the first replicate that `test` has too; see `Result.refit`.

    Args:
      spec_of: the static group of a config.
      history: how it was trained.
      directory: of the run, which keeps the network; None: nothing does.

    Raises:
      Error: the task is a loop, or the file in the directory is damaged or another's.
    """
    config = history[-1].config
    spec = spec_of(config)
    if isinstance(spec.task, Loop):
        raise Error("refit: a Loop has no data to add; result.best.params is trained in full")
    if directory is None:
        return keyed(_trained(spec, how, history), spec.made)
    path = directory / FILE
    with Ledger(directory, write=True) as ledger:
        sha256, search = ledger.meta(REFIT), ledger.meta("manifest")
        if sha256 is not None and path.exists():
            check(path, trial_id, config, sha256, search)
            return load(path, spec.made)
        if path.is_symlink() or (path.exists() and not is_network(path)):
            raise Error(f"refit: expected no {FILE} of another in {directory}, got one that no search wrote")
        network = _trained(spec, how, history)
        facts = {"trial_id": trial_id, "config": config, "epochs": history[-1].upto, "replicate": how.used}
        ledger.check_held()
        ledger.set_meta(REFIT, save(path, network, **facts, search=search, data="train and valid"))
    return keyed(network, spec.made)


def _trained(spec: Spec, how: Retraining, history: Sequence[Stretch]) -> PyTree[np.ndarray]:
    """Return the network; keys as their data."""
    stages = [([stretch.config], stretch.upto) for stretch in history]
    return retrained(spec, how, all_data(spec), stages, 1).variables()
