"""Cross-validation folds: which examples of train and valid together each network is trained and validated on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxhp.data.dataset import Tree, examples
from jaxhp.data.dealing import check_names, classes, column, counted, cuts, dealt, lightest, shuffled
from jaxhp.values import Error, check_int, is_int


@dataclass(frozen=True)
class Folds:
    """How the examples of train and valid together are dealt out to folds. The arguments name columns of the data.

    A network of fold f is validated on the examples of fold f and trained on all others; with `order`, on those that
    come before them. An example with a fold of its own is validated in it, once. A score is the mean of the folds'.

    All networks make the same number of update steps an epoch: those of one pass over the largest fold's training
    examples. Where a fold has fewer, as the early ones of an order, an epoch goes through its shuffled examples again
    from the first until the steps are made: `epochs` are passes over the data for the largest, and more for others.

    Attributes:
      k: how many folds, 2 or more.
      stratify: the column of the classes, integers or booleans. Folds differ by at most one example, and by at most
        one of each class. Without it examples are dealt out at random.
      groups: the column that says what belongs together (a patient, a site): a group is never in two folds. The
        largest is dealt out first, each to the fold with the fewest examples; together with `stratify`, the one whose
        classes are the most uneven first, each to the fold that leaves the shares of the classes the most even.
        The interval of an estimate takes examples as independent, so it is too narrow where those of a group are alike.
      order: the column of what comes when, for forward chaining: the sorted examples are cut into k + 1 blocks, of
        n // (k + 1) examples but the first, which has what is left over. Fold f is block f + 1, and is trained on all
        blocks before it; the first block is never validated. Equal values are never cut apart: a cut moves to the
        nearest place where the value changes.

    Raises:
      Error: an argument is of the wrong kind, or `order` stands beside `stratify` or `groups`.
    """

    k: int
    stratify: str | None = None
    groups: str | None = None
    order: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_int("Folds k", self.k, 2))
        check_names(self.stratify, self.groups, self.order, "Folds ")


class Folding(NamedTuple):
    """The fold of every example.

    Attributes:
      fold: i32[n], the fold (0 to k - 1) that each example of train and valid together is validated in, -1 for none.
      forward: whether the networks of a fold train on the folds before it alone, not on all others.
      how: what made it, for people.
    """

    fold: np.ndarray
    forward: bool
    how: str

    @property
    def k(self) -> int:
        """Count the folds."""
        return int(self.fold.max()) + 1

    @property
    def validated(self) -> np.ndarray:
        """Return i32[v], the folds of the examples that are validated."""
        return self.fold[self.fold >= 0]

    def train(self, fold: int) -> np.ndarray:
        """Return i64[m], the rows that a fold is trained on."""
        return np.flatnonzero(self.fold < fold if self.forward else self.fold != fold)

    def valid(self, fold: int) -> np.ndarray:
        """Return i64[m], the rows that a fold is validated on."""
        return np.flatnonzero(self.fold == fold)

    @property
    def identity(self) -> str:
        """Say in a manifest which it is: how it was made, and 16 hex digits of every example's fold."""
        content = np.ascontiguousarray(self.fold, "<i4").tobytes() + bytes([self.forward])
        return f"{self.how}: {hashlib.sha256(content).hexdigest()[:16]}"


def joined(first: Any, second: Any) -> Any:
    """Return two pytrees of arrays, one after the other along the examples."""
    return jax.tree.map(lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)]), first, second)


def checked_folds(folds: Any) -> int | Folds | np.ndarray | None:
    """Return what a person gave as folds: a number, `Folds`, or i32[n], the fold of every example.

    Raises:
      Error: it is none of these, or numbers that are not those of two folds or more.
    """
    if folds is None or isinstance(folds, Folds):
        return folds
    if is_int(folds):
        return check_int("folds", folds, 2)
    if isinstance(folds, list | tuple | range) or hasattr(folds, "__array__"):
        return _numbers(folds)
    raise Error(f"folds: expected an integer, hp.Folds or the fold of each example, got {folds!r}")


def _numbers(given: Any) -> np.ndarray:
    fold = np.asarray(given)
    if fold.ndim != 1 or fold.dtype.kind not in "iu" or not len(fold):
        raise Error(f"folds: expected an integer for each example, its fold, got {fold.dtype.name}{list(fold.shape)}")
    low, high = int(fold.min()), int(fold.max())
    if low < -1 or high < 1 or high >= len(fold):
        raise Error(f"folds: expected folds from 0, two or more of them, and -1 for no fold, got {low} to {high}")
    missing = np.flatnonzero(np.bincount(fold[fold >= 0], minlength=high + 1) == 0)
    if len(missing):
        raise Error(f"folds: expected an example in each fold from 0 to {high}, got none in fold {missing[0]}")
    return fold.astype(np.int32)


def folding(
    train: Tree, valid: Tree, folds: int | Folds | np.ndarray, *, seed: int, label: str | None, batch_size: int
) -> Folding:
    """Deal out the examples of train and valid together, those of train first.

    Args:
      folds: as `checked_folds` returns it.
      seed: of the shuffle before; -1 for numbers of one's own, and for an order.
      label: the column of the classes that a mere number of folds is stratified by, also where a class has too few
        examples for all folds; None: by none.
      batch_size: examples that every fold needs for training.

    Raises:
      Error: the data does not suit the folds, or a fold leaves fewer training examples than a batch.
    """
    n = examples(train) + examples(valid)
    if isinstance(folds, np.ndarray):
        if len(folds) != n:
            raise Error(f"folds: expected the fold of each of the {n} examples of train and valid, got {len(folds)}")
        found = Folding(folds, False, "own numbers")
    else:
        how = folds if isinstance(folds, Folds) else Folds(folds, label)
        if how.k > n:
            raise Error(f"folds: expected at most the {n} examples of train and valid, got {how.k}")
        data = joined(*(_columns(part, how) for part in (train, valid)))
        if how is folds and how.stratify is not None:
            _check_classes(data, how.stratify, how)
        found = Folding(_deal(data, n, how, seed), how.order is not None, repr(how))
    left = min(len(found.train(f)) for f in range(found.k))
    if batch_size > left:
        raise Error(
            f"folds: expected each of the {found.k} folds to leave at least batch_size = {batch_size} of the {n} "
            f"examples for training, got {left}; use {'fewer' if found.forward else 'more'} folds or a smaller "
            "batch_size"
        )
    return found


def _columns(data: Tree, how: Folds) -> dict[str, np.ndarray]:
    """Return the columns that folds are dealt out by."""
    asked = {"stratify": how.stratify, "groups": how.groups, "order": how.order}
    return {name: column(data, name, f"Folds {argument}") for argument, name in asked.items() if name is not None}


def _check_classes(data: dict[str, np.ndarray], name: str, how: Folds) -> None:
    """Check that a class may be in every fold: that so many examples, or groups, have it."""
    of_class = classes(data, name, "Folds stratify")
    members = np.bincount(of_class)
    if how.groups is not None:
        members = (counted(data[how.groups], of_class)[1] > 0).sum(0)
    if members.min() < how.k:
        rare = data[name][of_class == members.argmin()][0]
        of = "examples" if how.groups is None else "groups"
        raise Error(
            f"Folds stratify: expected at least {how.k} {of} of each class of {name!r}, one for each fold, got "
            f"{members.min()} of class {rare}"
        )


def _deal(data: dict[str, np.ndarray], n: int, how: Folds, seed: int) -> np.ndarray:
    """Return i32[n], see `Folding`."""
    if how.order is not None:
        return _forward(data[how.order], how)
    of_class = np.zeros(n, np.int64)
    if how.stratify is not None:
        of_class = classes(data, how.stratify, "Folds stratify")
    if how.groups is None:
        return dealt(of_class, how.k, seed)
    group, counts = counted(data[how.groups], of_class)
    if len(counts) < how.k:
        raise Error(f"Folds groups: expected at least {how.k} groups in {how.groups!r}, got {len(counts)}")
    order = shuffled(len(counts), seed)  # among equals
    first = counts.sum(1) if how.stratify is None else counts.std(1)
    order = order[np.argsort(-first[order], kind="stable")]
    part = np.empty(len(counts), np.int32)
    part[order] = lightest(counts[order], how.k)
    return part[group]


def _forward(when: np.ndarray, how: Folds) -> np.ndarray:
    n, different = len(when), len(np.unique(when))
    if different <= how.k:
        raise Error(f"Folds order: expected more than {how.k} different values in {how.order!r}, got {different}")
    order, size = np.argsort(when, kind="stable"), n // (how.k + 1)
    places = cuts(when[order], range(n - how.k * size, n, size))
    fold = np.empty(n, np.int32)
    fold[order] = np.searchsorted(places, np.arange(n), side="right") - 1
    return fold
