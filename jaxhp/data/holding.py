"""Data sets of other libraries, loaded into memory."""

from __future__ import annotations

from typing import Any

from jaxhp.data.dataset import Tree, checked
from jaxhp.data.gathering import gathered


def held(source: Any) -> Tree:
    """Load a data set of another library into memory, as the arrays that a `Task` takes; it must have an end.

    Args:
      source: one of

        - a Hugging Face `datasets.Dataset` (or `IterableDataset`): its columns, by name;
        - a PyTorch `Dataset`: its examples, put together; a `DataLoader`: its batches. Workers must be spawned;
        - a `tf.data.Dataset`, a Grain `MapDataset`, `IterDataset` or `DataLoader`, or any iterable: its elements,
          which must be batches (`.batch(1000)`);
        - a pytree of arrays, as it is.

    Returns:
      A pytree of NumPy arrays, first axis = examples, of the structure that an example has there.

    Raises:
      Error: it has no end or no example, its elements are no batches, its workers would be forked, or what it holds
        cannot serve as data, such as texts, or arrays of several shapes.

    >>> import numpy as np
    >>> held({"x": np.zeros((2, 3))} for i in range(2))["x"].shape
    (4, 3)
    """
    return checked(gathered(source, "source"), "source")
