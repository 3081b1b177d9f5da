"""Training data that is too much to be held: the examples of each epoch are made when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxhp.data.dataset import Tree, checked
from jaxhp.data.gathering import gathered
from jaxhp.values import Error


class Stream:
    """Training examples by epoch, for `Task(train=Stream(...))`: all members of a search are fed the same ones.

    An epoch is as much as you say: a part of a large data set, or all of it with fresh augmentation. While one epoch
    trains, the next one is made and brought to the devices, which hold two at a time.

    Args:
      epoch: from an epoch's number, 0 and up, to its examples: a pytree of arrays whose first axis is the examples, or
        whatever `hp.data.held` takes: batches of a `tf.data.Dataset`, of Grain's, of a PyTorch `DataLoader` or of any
        iterable, a data set of PyTorch or of Hugging Face. It must depend on nothing but the number, so that a search
        that was cut off goes on where it was: shuffle with the number as the seed, `dataset.shuffle(seed=number)` or
        `numpy.random.default_rng((seed, number))`. All epochs have the same structure, shapes and dtypes. It is
        called by another thread, and more than once for a number: epoch 0 when the stream is made, for its shapes, and
        again when it is trained on, epoch 1 twice where it is first trained on; it must be the same each time.

    >>> stream = Stream(lambda epoch: ({"x": np.full((2, 3), epoch)} for _ in range(2)))
    >>> stream.examples(1)["x"].shape
    (4, 3)
    """

    def __init__(self, epoch: Callable[[int], Any]):
        if not callable(epoch):
            raise Error(f"Stream epoch: expected a function of an epoch's number, got {epoch!r}")
        self._epoch = epoch
        self.first = self._made(0)
        self._sure = False  # whether an epoch after the first was seen to be the same twice

    def examples(self, number: int) -> Tree:
        """Make the examples of an epoch, as NumPy arrays.

        Raises:
          Error: they cannot serve as data, differ in shape from those of epoch 0, or are of epoch 0 or 1 and not the
            same each time.
        """
        made = self._made(number)
        expected, came = _shapes(self.first), _shapes(made)
        if came != expected:
            raise Error(f"Stream epoch {number}: expected arrays as in epoch 0, {expected}, got {came}")
        if number == 0:
            _refuse_changed(0, self.first, made)
        if number == 1 and not self._sure:
            _refuse_changed(1, made, self._made(1))
            self._sure = True
        return made

    def joined(self, more: Tree) -> Stream:
        """Make a stream like this one with the same further examples in every epoch."""
        return Stream(lambda number: jax.tree.map(lambda a, b: np.concatenate([a, b]), self._made(number), more))

    def _made(self, number: int) -> Tree:
        name = f"Stream epoch {number}"
        return checked(gathered(self._epoch(number), name), name)


def _refuse_changed(number: int, first: Tree, again: Tree) -> None:
    """Refuse an epoch that is not what it was: then no epoch depends on nothing but its number."""
    for (path, a), b in zip(jax.tree.flatten_with_path(first)[0], jax.tree.leaves(again), strict=True):
        if not np.array_equal(a, b):
            raise Error(
                f"Stream epoch {number}: expected the same examples each time, got others at "
                f"{jax.tree_util.keystr(path)} than before: let them depend on the epoch's number alone, as the seed "
                "of shuffles and augmentation, and on no generator that goes on"
            )


def _shapes(tree: Tree) -> dict[str, str]:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves}
