"""The data that all members of a population share: the rows of each fold, and copies on each device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int32, PyTree

from jaxhp.data.dataset import examples
from jaxhp.data.folds import Folding, joined
from jaxhp.data.stream import Stream
from jaxhp.engine.runtime import Device


class Examples(NamedTuple):
    """Every device has a copy."""

    train: PyTree  # leaves [examples, ...]
    valid: PyTree  # None with folds: then the rows of both parts are rows of `train`
    train_rows: Int32[Array | np.ndarray, "F n"]  # padded to the largest fold
    valid_rows: Int32[Array | np.ndarray, "F n"]
    curve_rows: Int32[Array | np.ndarray, "F c"]  # of `train_rows`, those that the training curve is measured on
    train_count: Int32[Array | np.ndarray, "F"]
    valid_count: Int32[Array | np.ndarray, "F"]


def examples_of(
    train: PyTree, valid: PyTree, of_curve: Callable[[int, int], int], folds: Folding | None = None
) -> Examples:
    """Return the shared data of a task; with folds, train and valid are one array and every fold has its own rows.

    Args:
      of_curve: takes how many examples train and validate to how many the training curve is measured on.
    """

    def stack(rows: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        rows = list(rows)
        width = max(len(r) for r in rows)
        return (
            np.stack([np.pad(r, (0, width - len(r))) for r in rows]).astype(np.int32),
            np.asarray([len(r) for r in rows], np.int32),
        )

    if folds is None:
        train_rows, valid_rows = [np.arange(examples(train))], [np.arange(examples(valid))]
    else:
        train, valid = joined(train, valid), None
        train_rows, valid_rows = ([of(fold) for fold in range(folds.k)] for of in (folds.train, folds.valid))
    at_most = of_curve(*(max(map(len, rows)) for rows in (train_rows, valid_rows)))
    curve_rows, _ = stack(evenly(rows, at_most) for rows in train_rows)
    (train_rows, train_count), (valid_rows, valid_count) = stack(train_rows), stack(valid_rows)
    return Examples(train, valid, train_rows, valid_rows, curve_rows, train_count, valid_count)


def evenly(rows: np.ndarray, at_most: int) -> np.ndarray:
    """Return so many of some rows, spread evenly over them: examples may stand in the order of their classes.

    >>> evenly(np.arange(10), 4).tolist(), evenly(np.arange(3), 4).tolist()
    ([0, 2, 5, 7], [0, 1, 2])
    """
    count = min(at_most, len(rows))
    return rows[np.arange(count) * len(rows) // max(count, 1)]


class Feed:
    """Examples and the root of random numbers, copied to every device; of a stream, one epoch ahead of the training.

    Args:
      examples: of a population; of a stream, those of its first epoch.
      root: a key.
      epochs: at most.

    Attributes:
      abstract: shapes of a copy, training examples included.
      copies: (examples, root) on each device; of a stream, without training examples.
    """

    def __init__(
        self, examples: Examples, root: jax.Array, stream: Stream | None, devices: Sequence[Device], epochs: int
    ):
        self.abstract = jax.eval_shape(lambda *parts: parts, examples, root)
        self._stream, self._devices, self._epochs = stream, devices, epochs
        held = examples if stream is None else examples._replace(train=None)
        self.copies = [jax.device_put((held, root), device) for device in devices]
        self._thread = ThreadPoolExecutor(1, "jaxhp-feed")
        self._ahead: tuple[int, Future[list[PyTree[Array]]]] | None = None

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, list[tuple[Examples, jax.Array]]]]:
        """Yield the epochs from `start` to `stop` in parts that train on the same examples: (start, stop, copies).

        Raises:
          Exception: what a stream's function raised, with a note that names the epoch.
        """
        if self._stream is None:
            yield start, stop, self.copies
            return
        for epoch in range(start, stop):
            brought = self._at(epoch)
            yield (
                epoch,
                epoch + 1,
                [(held._replace(train=t), root) for (held, root), t in zip(self.copies, brought, strict=True)],
            )

    def _at(self, epoch: int) -> list[PyTree[Array]]:
        """The epoch's training examples on each device; from now on, the next epoch's are being made."""
        if self._ahead is None or self._ahead[0] != epoch:
            self._ahead = epoch, self._thread.submit(self._bring, epoch)
        made, self._ahead = self._ahead[1], None
        brought = made.result()
        if epoch + 1 < self._epochs:
            self._ahead = epoch + 1, self._thread.submit(self._bring, epoch + 1)
        return brought

    def _bring(self, epoch: int) -> list[PyTree[Array]]:
        assert self._stream is not None
        try:
            examples = self._stream.examples(epoch)
        except Exception as error:
            error.add_note(f"in epoch {epoch} of the stream of training data")
            raise
        return [jax.device_put(examples, device) for device in self._devices]
