"""The first images of MNIST, bundled with the package so that everything runs without a network.

MNIST is by Yann LeCun, Corinna Cortes and Christopher J. C. Burges; see MNIST_CREDIT.txt beside this file.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from jaxhp.data.dataset import Dataset, Sealed
from jaxhp.values import Error, check_int

_TRAIN_EXAMPLES = 5000


def mnist_sample(n: int = _TRAIN_EXAMPLES) -> Dataset:
    """Load the first n training images of MNIST in their original order, and 1,000 test images under seal.

    Args:
      n: how many training images, 1 to 5,000.

    Returns:
      A Dataset of {"image": uint8[n, 28, 28], "label": int32[n]}.

    Raises:
      Error: n is not an integer.
      Error: n is out of range.
    """
    n = check_int("n", n)
    if not 1 <= n <= _TRAIN_EXAMPLES:
        raise Error(
            f"n: expected 1 to {_TRAIN_EXAMPLES} images of the bundled sample, got {n}; "
            "for all of MNIST use jaxhp.data.idx or jaxhp.data.tfds"
        )
    train = {key: array[:n].copy() for key, array in _load("train").items()}
    return Dataset(train, Sealed(lambda: _load("test")))


def _load(part: str) -> dict[str, np.ndarray]:
    file = resources.files("jaxhp.data") / "mnist_sample.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as bundle:
        return {"image": bundle[f"{part}_image"], "label": bundle[f"{part}_label"].astype(np.int32)}
