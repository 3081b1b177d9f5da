"""Shuffle, then split: validation data taken off the training data.

>>> train, valid = split({"x": np.arange(10)}, valid=0.2, seed=0)
>>> train["x"].tolist(), valid["x"].tolist()
([1, 8, 6, 0, 7, 4, 5, 9], [3, 2])
"""

from __future__ import annotations

import jax
import numpy as np

from jaxhp.data.dataset import Dataset, Tree, checked, examples
from jaxhp.trials import check_int, is_int
from jaxhp.values import Error


def split(data: Tree | Dataset, valid: float | int = 0.2, seed: int = 0) -> tuple[Tree, Tree]:
    """Shuffles the examples, then splits them: every example lands in exactly one of the two parts.

    The order is that of 64 bits of PCG64 an example, whose stream NumPy keeps for ever: the same seed gives the same
    split on every platform and NumPy version.

    Args:
      data: a pytree of arrays, first axis = examples; or a Dataset, whose training part is split.
      valid: the validation share in (0, 1), rounded to whole examples; or the number of examples, an integer.
      seed: 0 or more.

    Returns:
      (train, valid): two pytrees like `data`, of NumPy arrays.

    Raises:
      Error: an argument is of the wrong kind or out of range, a part would be empty, or `data` cannot
        serve as data.
    """
    tree = checked(data.train if isinstance(data, Dataset) else data, "data")
    n = examples(tree)
    count = _valid_count(valid, n)
    seed = check_int("seed", seed)
    if seed < 0:
        raise Error(f"seed: expected 0 or more, got {seed}")
    order = np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")
    train, held_out = order[count:], order[:count]
    return jax.tree.map(lambda array: array[train], tree), jax.tree.map(lambda array: array[held_out], tree)


def _valid_count(valid: float | int, n: int) -> int:
    if isinstance(valid, bool) or not isinstance(valid, (int, float, np.integer, np.floating)):
        raise Error(f"valid: expected a fraction in (0, 1) or a number of examples, got {valid!r}")
    if is_int(valid):
        count = int(valid)
    elif 0 < valid < 1:
        count = round(float(valid) * n)
    else:
        raise Error(f"valid: expected a fraction in (0, 1) or an integer number of examples, got {valid!r}")
    if count < 1:
        raise Error(f"valid: {valid!r} of {n} examples leaves the validation split empty")
    if count >= n:
        raise Error(f"valid: {valid!r} of {n} examples leaves the training split empty")
    return count
