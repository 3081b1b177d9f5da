"""Sequences of several lengths as one array, with a mask that says what is padding.

>>> padded([[1, 2, 3], [4]])["mask"].tolist()
[[True, True, True], [True, False, False]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxhp.values import Error, check_int


def padded(sequences: Sequence[ArrayLike], length: int | None = None, value: Any = 0) -> dict[str, np.ndarray]:
    """Put sequences of several lengths into one array, each from position 0, with padding behind it.

    A mean over positions is `(mask * each).sum() / mask.sum()`; a recurrent network keeps its state where the mask is
    False, `jnp.where(mask[:, None], new, old)`, so that its last state is that of the last real position.

    Args:
      sequences: arrays [l, ...] of numbers, of one shape but for their first axis; l may be 0.
      length: positions of the result; None: those of the longest. Pass the same number for training, validation and
        test data.
      value: what padding is filled with.

    Returns:
      {"x": [n, length, ...], of the dtype that holds all sequences; "mask": bool[n, length], True where there is
      something; "length": i32[n]}.

    Raises:
      Error: there is no sequence, one is longer than `length`, of another shape or of no numbers, or `value` is not
        of their dtype.
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise Error("sequences: expected at least one, got none")
    for i, array in enumerate(arrays):
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise Error(f"sequences[{i}]: expected an array of numbers, got {array.dtype.name}{list(array.shape)}")
    filled = [array for array in arrays if len(array)] or arrays  # [] has NumPy's float64 and no further axes
    for i, array in enumerate(arrays):
        if len(array) and array.shape[1:] != filled[0].shape[1:]:
            raise Error(
                f"sequences[{i}]: expected positions shaped as in the others, {filled[0].shape[1:]}, "
                f"got {array.shape[1:]}"
            )
    sizes = np.array([len(array) for array in arrays], np.int32)
    wanted = max(1, int(sizes.max())) if length is None else check_int("length", length, 1)
    if sizes.max() > wanted:
        i = int(sizes.argmax())
        raise Error(f"length: expected at least the {sizes[i]} positions of sequences[{i}], or cut it, got {wanted}")
    dtype = np.result_type(*(array.dtype for array in filled))
    if not _fits(value, dtype):
        raise Error(f"value: expected a number that {dtype.name} holds, as the sequences have, got {value!r}")
    x = np.full((len(arrays), wanted, *filled[0].shape[1:]), value, dtype)
    for row, array in zip(x, arrays, strict=True):
        row[: len(array)] = array if len(array) else row[:0]
    return {"x": x, "mask": np.arange(wanted) < sizes[:, None], "length": sizes}


def _fits(value: Any, dtype: np.dtype) -> bool:
    """Tell whether a number stays what it is as one of that dtype."""
    try:
        return bool(np.full((), value, dtype) == value) or (dtype.kind == "f" and np.isfinite(float(value)))
    except (OverflowError, TypeError, ValueError):
        return False
