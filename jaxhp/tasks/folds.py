"""Cross-validation folds: one number for each example of train and valid together, balanced over classes.

>>> numbers({"label": np.array([0, 1, 0, 1, 0, 1])}, folds=3, seed=0).tolist()
[1, 1, 0, 0, 2, 2]
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxhp.checks import ceil_div
from jaxhp.data.dataset import examples
from jaxhp.tasks.task import Task


def joined(first: Any, second: Any) -> Any:
    """Two pytrees of arrays, one after the other along the examples."""
    return jax.tree.map(lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)]), first, second)


def numbers(data: Any, folds: int, seed: int) -> np.ndarray:
    """i32[n], the fold (0 to folds - 1) that each example of `data` is validated in.

    Folds differ by at most one example, and by at most one example of each class where `data` has one array of
    integer labels: a leaf i[n], of several the one whose name contains "label" or "target".

    Args:
      seed: of the shuffle before the examples are dealt out.
    """
    n = examples(data)
    shuffled = np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")
    label = _labels(data)
    if label is not None:
        shuffled = shuffled[np.argsort(label[shuffled], kind="stable")]
    fold = np.empty(n, np.int32)
    fold[shuffled] = np.arange(n) % folds
    return fold


def check_folds(task: Task, folds: int) -> None:
    """Raises a ValueError if there are more folds than examples, or a fold leaves fewer training examples than a
    batch."""
    if task.stream is not None:
        raise ValueError("folds: expected a task whose training data is held as arrays, got one with a Stream")
    n = task.n_train + task.n_valid
    if folds > n:
        raise ValueError(f"folds: expected at most the {n} examples of train and valid, got {folds}")
    left = n - ceil_div(n, folds)
    if task.batch_size > left:
        raise ValueError(
            f"folds: expected each of the {folds} folds to leave at least batch_size = {task.batch_size} of the {n} "
            f"examples for training, got {left}; use more folds or a smaller batch_size"
        )


def cross_validation(task: Task, folds: int, seed: int) -> np.ndarray:
    """`numbers` for train and valid of a task together, i32[n_train + n_valid]."""
    return numbers(joined(task.train, task.valid), folds, seed)


def _labels(data: Any) -> np.ndarray | None:
    named = [
        (jax.tree_util.keystr(path).lower(), np.asarray(leaf))
        for path, leaf in jax.tree.flatten_with_path(data)[0]
        if np.ndim(leaf) == 1 and np.asarray(leaf).dtype.kind in "iub"
    ]
    if len(named) > 1:
        named = [(name, leaf) for name, leaf in named if "label" in name or "target" in name]
    return named[0][1] if len(named) == 1 else None
