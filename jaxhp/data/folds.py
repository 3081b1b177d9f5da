"""Cross-validation folds: one number for each example of train and valid together, balanced over classes.

>>> numbers({"label": np.array([0, 1, 0, 1, 0, 1])}, folds=3, seed=0).tolist()
[1, 1, 0, 0, 2, 2]
"""

from __future__ import annotations

import jax
import numpy as np

from jaxhp.data.dataset import Tree, examples
from jaxhp.trials import ceil_div
from jaxhp.values import Error


def joined(first: Tree, second: Tree) -> Tree:
    """Return two pytrees of arrays, one after the other along the examples."""
    return jax.tree.map(lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)]), first, second)


def numbers(data: Tree, folds: int, seed: int) -> np.ndarray:
    """Return i32[n], the fold (0 to folds - 1) that each example of `data` is validated in.

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


def check_folds(n: int, folds: int, batch_size: int) -> None:
    """Check that n examples can be dealt out to so many folds.

    Raises:
      Error: there are more folds than examples, or a fold leaves fewer training examples than a batch.
    """
    if folds > n:
        raise Error(f"folds: expected at most the {n} examples of train and valid, got {folds}")
    left = n - ceil_div(n, folds)
    if batch_size > left:
        raise Error(
            f"folds: expected each of the {folds} folds to leave at least batch_size = {batch_size} of the {n} "
            f"examples for training, got {left}; use more folds or a smaller batch_size"
        )


def _labels(data: Tree) -> np.ndarray | None:
    named = [
        (jax.tree_util.keystr(path).lower(), np.asarray(leaf))
        for path, leaf in jax.tree.flatten_with_path(data)[0]
        if np.ndim(leaf) == 1 and np.asarray(leaf).dtype.kind in "iub"
    ]
    if len(named) > 1:
        named = [(name, leaf) for name, leaf in named if "label" in name or "target" in name]
    return named[0][1] if len(named) == 1 else None
