"""Training data that is too much to be held: the examples of each epoch are made when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from jaxhp.data.dataset import Tree, checked
from jaxhp.values import Error


class Stream:
    """Training examples by epoch, for `Task(train=Stream(...))`: all members of a search are fed the same ones.

    An epoch is as much as you say: a part of a large data set, or all of it with fresh augmentation. While one epoch
    trains, the next one is made and brought to the devices, which hold two at a time.

    Args:
      epoch: from an epoch's number, 0 and up, to its examples: a pytree of arrays whose first axis is the examples, or
        an iterable of such pytrees (batches from Grain, TFDS or anywhere), which are put together. It must depend on
        nothing but the number, so that a search that was cut off goes on where it was; and all epochs have the same
        structure, shapes and dtypes. It is called by another thread, and more than once for a number.

    >>> stream = Stream(lambda epoch: ({"x": np.full((2, 3), epoch)} for _ in range(2)))
    >>> stream.examples(1)["x"].shape
    (4, 3)
    """

    def __init__(self, epoch: Callable[[int], Tree | Iterable[Tree]]):
        if not callable(epoch):
            raise Error(f"Stream epoch: expected a function of an epoch's number, got {epoch!r}")
        self._epoch = epoch
        self.first = self._made(0)

    def examples(self, number: int) -> Tree:
        """Make the examples of an epoch, as NumPy arrays.

        Raises:
          Error: they cannot serve as data, or differ in shape from those of epoch 0.
        """
        made = self._made(number)
        expected, came = _shapes(self.first), _shapes(made)
        if came != expected:
            raise Error(f"Stream epoch {number}: expected arrays as in epoch 0, {expected}, got {came}")
        return made

    def joined(self, more: Tree) -> Stream:
        """Make a stream like this one with the same further examples in every epoch."""
        return Stream(lambda number: jax.tree.map(lambda a, b: np.concatenate([a, b]), self._made(number), more))

    def _made(self, number: int) -> Tree:
        made = self._epoch(number)
        if isinstance(made, Iterable) and not isinstance(made, (Mapping, tuple, list)) and not hasattr(made, "shape"):
            batches = list(made)
            if not batches:
                raise Error(f"Stream epoch {number}: expected at least one batch, got none")
            made = jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)
        return checked(made, f"Stream epoch {number}")


def _shapes(tree: Tree) -> dict[str, str]:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves}
