"""A name for data by its content."""

from __future__ import annotations

import hashlib
import json

import jax
import numpy as np

from jaxhp.data.dataset import Tree
from jaxhp.values import Error


def fingerprint(tree: Tree) -> str:
    """Compute the SHA-256, 64 hexadecimal digits, of the paths, dtypes, shapes and bytes of a pytree of arrays.

    Memory layout and byte order do not matter, nor the order in which a dict was filled.

    Raises:
      Error: a leaf is no array of numbers.

    >>> fingerprint({"x": np.zeros(2, np.float32)})[:16]
    'e456a3c45e56f28a'
    """
    digest = hashlib.sha256()
    leaves, _ = jax.tree.flatten_with_path(tree)
    for path, leaf in leaves:
        array = np.asarray(leaf)
        if array.dtype.hasobject:
            raise Error(f"{jax.tree_util.keystr(path)}: expected an array of numbers, got {type(leaf).__name__}")
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        header = [jax.tree_util.keystr(path), array.dtype.name, np.shape(leaf)]
        digest.update(json.dumps(header).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
