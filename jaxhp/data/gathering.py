"""Data sets of other libraries as arrays: tf.data, Grain, PyTorch and Hugging Face datasets.

None of them is imported here: whoever has such a data set has imported its library, and its class says which it is.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxhp.values import Error

_ROWS = 1000  # of a Hugging Face data set that is read from a stream


def gathered(source: Any, name: str) -> PyTree:
    """Return what `jaxhp.data.held` does, unchecked; a pytree of arrays is returned as it is.

    Args:
      name: what errors call it.
    """
    kinds = _kinds(source)
    if "datasets.arrow_dataset.Dataset" in kinds:
        return {
            column: _array(values, f"{name}[{column!r}]") for column, values in source.with_format("numpy")[:].items()
        }
    if "datasets.iterable_dataset.IterableDataset" in kinds:
        return _joined(source.with_format("numpy").iter(_ROWS), name)
    if "torch.utils.data.dataloader.DataLoader" in kinds:
        _refuse_fork(source, name)
        join = _joined if source.batch_size is not None or source.batch_sampler is not None else _stacked
        return join(source, name)
    if "torch.utils.data.dataset.IterableDataset" in kinds:
        return _stacked(source, name)
    if "torch.utils.data.dataset.Dataset" in kinds:
        return _stacked((source[i] for i in range(len(source))), name)
    if not isinstance(source, Iterable) or isinstance(source, (Mapping, tuple, list)) or hasattr(source, "shape"):
        is_map = any(kind.startswith("grain.") and kind.endswith(".MapDataset") for kind in kinds)
        if not is_map:
            return source
    if _endless(source):
        raise Error(f"{name}: expected a data set with an end, got a {type(source).__name__} that repeats for ever")
    return _joined(source, name)


def _kinds(source: Any) -> set[str]:
    """Name the classes that something is of, with their modules."""
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(source).__mro__}


def _endless(source: Any) -> bool:
    """Tell of a data set that says so whether it repeats for ever."""
    if hasattr(source, "cardinality"):  # tf.data.INFINITE_CARDINALITY
        return int(source.cardinality()) == -1
    if hasattr(source, "_sampler"):  # of a Grain DataLoader, which has no word for it
        return getattr(source._sampler, "_max_index", 0) is None
    return type(source).__module__.startswith("grain.") and hasattr(source, "__len__") and len(source) == sys.maxsize


def _refuse_fork(loader: Any, name: str) -> None:
    if not loader.num_workers:
        return
    context = loader.multiprocessing_context or multiprocessing
    if context.get_start_method() == "fork":
        raise Error(
            f"{name}: expected a DataLoader with spawned workers, since a process in which JAX has started hangs when "
            "it is forked, got forked ones: pass multiprocessing_context='spawn' or num_workers=0"
        )


def _joined(batches: Iterable[Any], name: str) -> PyTree:
    """Put batches together along their first axis."""
    made = [jax.tree.map(lambda leaf: _array(leaf, name), batch) for batch in batches]
    if not made:
        raise Error(f"{name}: expected at least one batch, got none")
    for batch in made:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(batch)]
        if any(len(shape) == 0 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
            raise Error(
                f"{name}: expected batches, whose arrays have a first axis of examples, got arrays of shapes "
                f"{', '.join(map(str, shapes))}: batch the data set"
            )
    return _together(np.concatenate, made, name)


def _stacked(examples: Iterable[Any] | Iterator[Any], name: str) -> PyTree:
    """Put examples together, on a first axis of their own."""
    made = [jax.tree.map(lambda leaf: _array(leaf, name), example) for example in examples]
    if not made:
        raise Error(f"{name}: expected at least one example, got none")
    return _together(np.stack, made, name)


def _together(join: Any, made: list[Any], name: str) -> PyTree:
    try:
        return jax.tree.map(lambda *leaves: join(leaves), *made)
    except (ValueError, TypeError) as error:
        at, other = next(
            ((i, part) for i, part in enumerate(made) if _form(part, join) != _form(made[0], join)), (0, made[0])
        )
        raise Error(
            f"{name}: expected arrays of one structure and shape, as in {_form(made[0], join)}, got "
            f"{_form(other, join)} in number {at}; hp.data.padded makes one shape of several lengths"
        ) from error


def _form(tree: Any, join: Any) -> str:
    """Say how an example, or the examples of a batch, are shaped."""
    return str(jax.tree.map(lambda leaf: str(list(np.shape(leaf)[1 if join is np.concatenate else 0 :])), tree))


def _array(leaf: Any, name: str) -> np.ndarray:
    """Make an array of a tensor; PyTorch's leave their gradient and their device first."""
    if hasattr(leaf, "detach"):
        leaf = leaf.detach().cpu()
    try:
        return np.asarray(leaf)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Error(f"{name}: expected arrays of numbers, got {type(leaf).__name__}: {error}") from error
