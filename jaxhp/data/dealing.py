"""Dealing out examples to parts: at random, evenly over classes, by whole groups, or along an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxhp.values import Error

_TRIES = 100  # shuffles of the groups, of which the one that suits the classes best is taken


def check_names(stratify: Any, groups: Any, order: Any, where: str = "") -> None:
    """Check names of columns, of which `order` goes with none of the others.

    Args:
      stratify, groups, order: each a name or None.
      where: whose arguments they are, in messages.

    Raises:
      Error: one is no name, or `order` stands beside another.
    """
    for argument, name in (("stratify", stratify), ("groups", groups), ("order", order)):
        if name is not None and not isinstance(name, str):
            raise Error(f"{where}{argument}: expected the name of a column of the data, got {name!r}")
    if order is not None and (stratify is not None or groups is not None):
        beside = "stratify" if stratify is not None else "groups"
        raise Error(f"{where}order: expected neither stratify nor groups beside an order, got {beside}")


def column(data: Any, name: str, argument: str) -> np.ndarray:
    """Return a column of the data by its name: a key, an index, or several with dots between them.

    Args:
      data: a pytree of arrays.
      argument: what errors call it.

    Raises:
      Error: there is no such column, or it is not one number an example.
    """
    known = {jax.tree_util.keystr(p, simple=True, separator="."): a for p, a in jax.tree.flatten_with_path(data)[0]}
    if name not in known:
        raise Error(f"{argument}: expected a column of the training data ({', '.join(known)}), got {name!r}")
    if np.ndim(known[name]) != 1:
        raise Error(f"{argument}: expected a column with one number an example, got {name!r}, {np.shape(known[name])}")
    return np.asarray(known[name])


def classes(data: Any, name: str, argument: str) -> np.ndarray:
    """Return i64[n], the number of each example's class; raises as `column`, and where values are no classes."""
    found = column(data, name, argument)
    if found.dtype.kind not in "iub":
        raise Error(f"{argument}: expected a column of classes, integers or booleans, got {name!r}, {found.dtype.name}")
    return np.unique(found, return_inverse=True)[1]


def shuffled(n: int, seed: int) -> np.ndarray:
    """Return a permutation i64[n], by 64 bits of PCG64 each, whose stream NumPy keeps for ever."""
    return np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")


def dealt(of_class: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Deal out examples one by one to k parts, class after class.

    Args:
      of_class: i64[n], all the same where there are no classes.
      seed: of the shuffle before.

    Returns:
      i32[n], the part of each: parts differ by at most one example, and by at most one of each class.
    """
    order = shuffled(len(of_class), seed)
    order = order[np.argsort(of_class[order], kind="stable")]
    part = np.empty(len(order), np.int32)
    part[order] = np.arange(len(order)) % k
    return part


def lightest(counts: np.ndarray, k: int) -> np.ndarray:
    """Deal out groups to k parts, each to the part that leaves the shares of every class the most even.

    With one class that is the part with the fewest examples so far, as in scikit-learn's `GroupKFold`; with several
    it is the rule of its `StratifiedGroupKFold`.

    Args:
      counts: i64[G, C], examples of each class in each group, in the order in which the groups are dealt out.

    Returns:
      i32[G], the part of each group. None is empty where there are k groups.
    """
    held, total = np.zeros((k, counts.shape[1])), counts.sum(0)
    part = np.empty(len(counts), np.int32)
    for group, count in enumerate(counts):
        uneven = held[:, 0]
        if len(total) > 1:  # [k, k, C], the shares that each part would have, had part i got the group
            uneven = ((held + np.eye(k)[:, :, None] * count) / total).std(1).mean(1)
        even = np.flatnonzero(uneven <= uneven.min() + 1e-9)
        part[group] = even[np.argmin(held[even].sum(1))]
        held[part[group]] += count
    return part


def taken(counts: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Take whole groups at random, with about so many examples.

    Args:
      counts: i64[G, C], examples of each class in each of two groups or more.
      wanted: how many examples.

    Returns:
      bool[G], the first groups of a shuffle, as many as come the nearest to `wanted`, at least one and not all. With
      several classes the shuffle is that one of 100 whose groups have the most even shares of the classes.
    """
    bits, best, found = np.random.PCG64(seed), np.inf, np.zeros(len(counts), bool)
    share, total = wanted / counts.sum(), counts.sum(0)
    for _ in range(1 if counts.shape[1] == 1 else _TRIES):
        order = np.argsort(bits.random_raw(len(counts)), kind="stable")
        ends = counts[order].sum(1).cumsum()[:-1]
        first = order[: np.argmin(abs(ends - wanted)) + 1]
        off = abs(counts[first].sum(0) / total - share).max()
        if off < best:
            best, found = off, np.isin(np.arange(len(counts)), first)
    return found


def cuts(ordered: np.ndarray, wanted: Sequence[int]) -> list[int]:
    """Cut a sorted column where its value changes, as near as can be to the places that are wanted, at as many.

    Args:
      ordered: [n], sorted, with more different values than there are places.
      wanted: increasing.

    >>> cuts(np.array([1, 1, 1, 2, 3, 3, 4]), [2, 5])
    [3, 4]
    """
    changes = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    found, used = [], 0
    for later, place in zip(reversed(range(len(wanted))), wanted, strict=True):
        allowed = changes[used : len(changes) - later]
        used += int(np.argmin(abs(allowed - place))) + 1
        found.append(int(changes[used - 1]))
    return found


def counted(groups: np.ndarray, of_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return i64[n], the number of each example's group, and i64[G, C], examples of each class in each group."""
    names, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(of_class.max()) + 1), np.int64)
    np.add.at(counts, (group, of_class), 1)
    return group, counts
