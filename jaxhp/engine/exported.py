"""A function of a batch as a file that runs without this library, by `jax.export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
from jax import export
from jaxtyping import Array, PyTree

from jaxhp.store.files import write_out
from jaxhp.tasks.recorded import Recorded
from jaxhp.tasks.task import batch_shapes
from jaxhp.values import Error


def write_exported(
    function: Callable[[PyTree[Array]], jax.Array], data: PyTree, path: str | Path, rows: int | None
) -> tuple[str, ...]:
    """Write a function for batches of examples like `data`, without the columns that it does not read.

    Args:
      rows: of a batch; None: any number.

    Returns:
      The names of the columns that a batch needs; () where examples are no dict.

    Raises:
      Error: the package flatbuffers is missing, or the function does not take batches of any size.
      OSError: the file cannot be written.
    """
    shapes, reads = batch_shapes(data, 1 if rows is None else rows), set()
    if isinstance(data, Mapping):
        jax.eval_shape(lambda batch: function(Recorded(batch, reads)), dict(shapes))
        shapes = {name: shape for name, shape in shapes.items() if name in reads}
    if rows is None:
        (count,) = export.symbolic_shape("b")
        shapes = jax.tree.map(lambda s: jax.ShapeDtypeStruct((count, *s.shape[1:]), s.dtype), shapes)
    try:
        content = export.export(jax.jit(function))(shapes).serialize()
    except ImportError as error:
        raise Error(f"export: needs the package flatbuffers ({error}): pip install 'jaxhp[export]'") from error
    except TypeError as error:
        if rows is not None:
            raise
        cure = "x.shape[0] in the place of len(x), or give rows="
        raise Error(f"export: expected a predict that takes any number of rows ({cure}): {error}") from error
    write_out(path, bytes(content))
    return tuple(sorted(reads))
