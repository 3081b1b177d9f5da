"""The data that all members of a population share, and the rows that each fold trains and validates on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxhp.tasks.folds import joined
from jaxhp.tasks.task import Task


class Examples(NamedTuple):
    """Every device has a copy."""

    train: Any  # leaves [examples, ...]
    valid: Any  # None with folds: then the rows of both parts are rows of `train`
    train_rows: Any  # i32[F, n], padded to the largest fold
    valid_rows: Any  # i32[F, n]
    train_count: Any  # i32[F]
    valid_count: Any  # i32[F]


def examples_of(task: Task, folds: np.ndarray | None = None) -> Examples:
    """The shared data of a task; with folds, train and valid are one array and every fold has its own rows."""

    def stack(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        width = max(len(r) for r in rows)
        return (
            np.stack([np.pad(r, (0, width - len(r))) for r in rows]).astype(np.int32),
            np.asarray([len(r) for r in rows], np.int32),
        )

    train, valid = task.train, task.valid
    if folds is None:
        train_rows, valid_rows = [np.arange(task.n_train)], [np.arange(task.n_valid)]
    else:
        train, valid = joined(task.train, task.valid), None
        numbers = range(int(folds.max()) + 1)
        train_rows = [np.flatnonzero(folds != f) for f in numbers]
        valid_rows = [np.flatnonzero(folds == f) for f in numbers]
    (train_rows, train_count), (valid_rows, valid_count) = stack(train_rows), stack(valid_rows)
    return Examples(train, valid, train_rows, valid_rows, train_count, valid_count)
