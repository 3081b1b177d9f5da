"""Shuffle, then split: validation data taken off the training data.

>>> train, valid = split({"x": np.arange(10)}, valid=0.2, seed=0)
>>> train["x"].tolist(), valid["x"].tolist()
([1, 8, 6, 0, 7, 4, 5, 9], [3, 2])
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxhp.data.dataset import Dataset, checked, examples
from jaxhp.data.dealing import check_names, classes, column, counted, cuts, shuffled, taken
from jaxhp.data.frames import is_frame, ranks, rows
from jaxhp.data.frames import taken as rows_of
from jaxhp.values import Error, check_int, is_int

_ROW = "number of the row"


def split(
    data: Any,
    valid: float | int = 0.2,
    seed: int = 0,
    *,
    stratify: str | None = None,
    groups: str | None = None,
    order: str | None = None,
) -> tuple[Any, Any]:
    """Shuffle the examples, then split them: every example lands in exactly one of the two parts.

    The order is that of 64 bits of PCG64 an example, whose stream NumPy keeps for ever: the same seed gives the same
    split on every platform and NumPy version. Those are also the bits of `np.random.default_rng(seed).random(n)`: data
    drawn so, as the first thing, is to be split with another seed.

    Args:
      data: a pytree of arrays, first axis = examples; or a Dataset, whose training part is split; or a table of pandas,
        polars or Arrow, which is split into two such tables, by columns of any kind that has an order.
      valid: the validation share in (0, 1), rounded to whole examples; or the number of examples, an integer.
      seed: 0 or more.
      stratify: the column of `data` with the classes, integers or booleans. Of each the validation part has its
        share, to within one example.
      groups: the column that says what belongs together (a patient, a site): a group is never in both parts. The
        validation part is the groups that a shuffle has first, as many as come the nearest to `valid`; together with
        `stratify`, of 100 shuffles that one whose groups have the most even shares of the classes.
      order: the column of what comes when: the validation part is the last examples, and no training example comes
        later than one of them or at the same time. The cut is where the column changes its value, the nearest to
        `valid`; both parts are sorted, and the seed plays no role.

    Returns:
      (train, valid): two pytrees like `data`, of NumPy arrays, or two tables.

    Raises:
      Error: an argument is of the wrong kind or out of range, a part would be empty, `data` cannot serve as data, has
        no such column, or one that cannot be split: too few classes' examples, groups or different values; or `order`
        stands beside `stratify` or `groups`.
    """
    if is_frame(data):
        asked = {"stratify": stratify, "groups": groups, "order": order}
        check_names(stratify, groups, order)
        named = {name: ranks(data, name, argument) for argument, name in asked.items() if name is not None}
        parts = split(
            {_ROW: np.arange(rows(data)), **named}, valid, seed, stratify=stratify, groups=groups, order=order
        )
        return rows_of(data, parts[0][_ROW]), rows_of(data, parts[1][_ROW])
    tree = checked(data.train if isinstance(data, Dataset) else data, "data")
    n = examples(tree)
    count = _valid_count(valid, n)
    seed = check_int("seed", seed)
    if seed < 0:
        raise Error(f"seed: expected 0 or more, got {seed}")
    check_names(stratify, groups, order)
    if order is not None:
        train, held_out = _later(column(tree, order, "order"), count, order)
    else:
        of_class = np.zeros(n, np.int64) if stratify is None else classes(tree, stratify, "stratify")
        if groups is not None:
            chosen = _groups(column(tree, groups, "groups"), of_class, count, seed, groups)
        else:
            chosen = _shares(of_class, count, seed)
        first = shuffled(n, seed)
        train, held_out = first[~chosen[first]], first[chosen[first]]
    return jax.tree.map(lambda array: array[train], tree), jax.tree.map(lambda array: array[held_out], tree)


def _shares(of_class: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return bool[n], the first examples of each class in a shuffle, of each class its share of `count`."""
    n, sizes = len(of_class), np.bincount(of_class)
    if len(sizes) > 1 and (sizes.min() < 2 or not len(sizes) <= count <= n - len(sizes)):
        raise Error(
            f"stratify: expected at least 2 examples of each of {len(sizes)} classes, and as many examples in either "
            f"part as there are classes, got {sizes.min()} of the smallest class, and parts of {n - count} and {count}"
        )
    exact = sizes * count / n
    quota = np.floor(exact).astype(np.int64)
    most = np.argsort(quota - exact, kind="stable")  # whose share was cut the most
    quota[most[: count - quota.sum()]] += 1
    order = shuffled(n, seed)
    order = order[np.argsort(of_class[order], kind="stable")]
    place = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within its class
    chosen = np.zeros(n, bool)
    chosen[order] = place < np.repeat(quota, sizes)
    return chosen


def _groups(group: np.ndarray, of_class: np.ndarray, count: int, seed: int, name: str) -> np.ndarray:
    """Return bool[n], the examples of whole groups, about `count`."""
    of_group, counts = counted(group, of_class)
    if len(counts) < 2:
        raise Error(f"groups: expected at least 2 groups in {name!r}, got {len(counts)}")
    return taken(counts, count, seed)[of_group]


def _later(when: np.ndarray, count: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows before a time and those from it on, sorted."""
    order = np.argsort(when, kind="stable")
    if when[order[0]] == when[order[-1]]:
        raise Error(f"order: expected at least 2 different values in {name!r}, got 1")
    (place,) = cuts(when[order], [len(when) - count])
    return order[:place], order[place:]


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
