"""What training data is: a pytree of arrays whose first axis counts examples, and test data under seal.

>>> data = arrays({"image": np.zeros((6, 28, 28), np.uint8), "label": np.arange(6, dtype=np.int32)})
>>> data
Dataset(train={'image': uint8[6,28,28], 'label': int32[6]}, test=None)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import PyTree
from numpy.typing import ArrayLike

from jaxhp.values import Error

Tree: TypeAlias = PyTree[np.ndarray]
"""A pytree of NumPy arrays, first axis = examples."""


class Sealed:
    """Test data that nothing reads by accident: `open` is the only way in, and openings are counted.

    It is no pytree (JAX sees one opaque leaf, which it refuses to trace), has no length and shows no data.

    Args:
      source: the pytree of arrays, or a function without arguments that loads it, called only by `open`.
    """

    __slots__ = ("_load", "_opened")

    def __init__(self, source: Tree | Callable[[], Tree]):
        self._load = source if callable(source) else lambda: source
        self._opened = 0

    @property
    def opened(self) -> int:
        """Count how often the data was opened. An opening whose loading failed showed nothing and does not count."""
        return self._opened

    def open(self) -> Tree:
        """Load the test data, a pytree of arrays, first axis = examples, and count that."""
        tree = self._load()
        self._opened += 1
        return tree

    def __repr__(self) -> str:
        return f"Sealed(opened={self._opened})"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Training data and sealed test data.

    Attributes:
      train: a pytree of NumPy arrays, first axis = examples; the ready-made sources give
        {"image": uint8[N, H, W] or uint8[N, H, W, C], "label": int32[N]}.
      test: the test data under seal, same structure, or None.
    """

    train: Tree
    test: Sealed | None = None

    def __repr__(self) -> str:
        return f"Dataset(train={jax.tree.map(_Shown, self.train)!r}, test={self.test!r})"


class _Shown:
    def __init__(self, leaf: ArrayLike):
        array = np.asarray(leaf)
        self.text = f"{array.dtype.name}[{','.join(map(str, array.shape))}]"

    def __repr__(self) -> str:
        return self.text


def arrays(train: Tree, test: Tree | Sealed | None = None) -> Dataset:
    """Make a Dataset of your own arrays, checked as `checked` does; `test` is sealed unless it already is.

    Args:
      train: a pytree of arrays, first axis = examples.
      test: the same for the test data; or None.

    Raises:
      Error: see `checked`; also if train and test differ in structure or in the shape of an example.
    """
    train = checked(train, "train")
    if test is None or isinstance(test, Sealed):
        return Dataset(train, test)
    test = checked(test, "test")
    expected, came = _example_shapes(train), _example_shapes(test)
    if expected != came:
        raise Error(f"test: expected examples shaped as in train, {expected}, got {came}")
    return Dataset(train, Sealed(test))


def checked(tree: Tree, name: str) -> Tree:
    """Return the pytree with its leaves as NumPy arrays, if it can serve as data.

    Args:
      tree: a pytree of arrays, first axis = examples.
      name: what errors call it.

    Raises:
      Error: a leaf is not an array of numbers or booleans.
      Error: there is no leaf or no example, the first axes differ, or a value is NaN, infinite, or beyond what
        32 bits hold (unless `jax_enable_x64` is set); the error names the leaf's path.
    """
    leaves, structure = jax.tree.flatten_with_path(tree)
    if not leaves:
        raise Error(f"{name}: expected a pytree with at least one array, got {tree!r}")
    named = [(name + jax.tree_util.keystr(path), _numeric(leaf, path, name)) for path, leaf in leaves]
    first, reference = named[0]
    for path, array in named:
        if len(array) != len(reference):
            raise Error(f"{path}: expected {len(reference)} examples on the first axis as in {first}, got {len(array)}")
        if len(array) == 0:
            raise Error(f"{path}: expected at least one example, got shape {array.shape}")
        if jax.numpy.issubdtype(array.dtype, np.inexact) and not (finite := np.isfinite(array)).all():
            index = tuple(int(i) for i in np.unravel_index(np.argmin(finite), array.shape))
            raise Error(f"{path}: expected finite values, got {array[index]} at index {index}")
        _refuse_wide(array, path)
    return jax.tree.unflatten(structure, [array for _, array in named])


def _refuse_wide(array: np.ndarray, path: str) -> None:
    """Refuse values that a device would get as other ones: without `jax_enable_x64` it has 32 bits for each."""
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if dtype == array.dtype or array.dtype == np.bool_:
        return
    if jax.numpy.issubdtype(dtype, np.integer):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    else:
        low, high = -float(np.finfo(dtype).max), float(np.finfo(dtype).max)
    for value in (np.real(array).min(), np.real(array).max()):
        if not low <= value <= high:
            raise Error(
                f"{path}: expected {array.dtype} values that {dtype} holds, as JAX has them on a device, got {value}; "
                "number ids from 0, subtract an origin from times, or set jax_enable_x64"
            )


def examples(tree: Tree) -> int:
    """Count the examples of a checked pytree."""
    return len(jax.tree.leaves(tree)[0])


def _numeric(leaf: object, path: jax.tree_util.KeyPath, name: str) -> np.ndarray:
    where = name + jax.tree_util.keystr(path)
    if not hasattr(leaf, "__array__"):
        raise Error(f"{where}: expected an array, got {type(leaf).__name__}")
    array = np.asarray(leaf)
    if not (array.dtype == np.bool_ or jax.numpy.issubdtype(array.dtype, np.number)):
        raise Error(f"{where}: expected numbers or booleans, got dtype {array.dtype}")
    if array.ndim == 0:
        raise Error(f"{where}: expected an array whose first axis counts examples, got a scalar")
    return array


def _example_shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf.shape[1:] for path, leaf in leaves}
