"""IDX files: the format of MNIST, Fashion-MNIST, KMNIST and EMNIST (LeCun et al., https://doi.org/10.1109/5.726791).

A file is the bytes 0, 0, 8 (uint8), d; then d sizes as big-endian uint32; then the data, the last axis fastest.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxhp.data.dataset import Dataset, Sealed
from jaxhp.values import Error

_UINT8 = 8
_MEANING = {1: "labels", 3: "images"}


def idx(folder: str | os.PathLike[str]) -> Dataset:
    """Read a folder of IDX files named as MNIST's, each plain or .gz.

    `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` are read at once, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte` when the seal is opened; without these two, the Dataset has no test data.

    Args:
      folder: where the files lie.

    Returns:
      A Dataset of {"image": uint8[N, H, W], "label": int32[N]}.

    Raises:
      FileNotFoundError: the folder or a file is missing.
      Error: a file is no IDX file of the right kind, is shorter or longer than its header says, or there are not
        as many labels as images. For the test files, on opening.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"folder: expected a folder of IDX files, got {str(folder)!r}")
    train = _find(folder, "train-images-idx3-ubyte"), _find(folder, "train-labels-idx1-ubyte")
    test = _find(folder, "t10k-images-idx3-ubyte"), _find(folder, "t10k-labels-idx1-ubyte")
    for pair in [train, test] if any(path.exists() for path in test) else [train]:
        for path in pair:
            if not path.exists():
                raise FileNotFoundError(f"folder: expected {path.name} or {path.name}.gz in {str(folder)!r}")
    return Dataset(_read_pair(*train), Sealed(lambda: _read_pair(*test)) if test[0].exists() else None)


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read the uint8 array in an IDX file, plain or .gz.

    Args:
      path: of the file.
      ndim: how many axes the array has.

    Raises:
      Error: it is no such file; the file is named, and what is wrong.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Error(f"{path}: expected a complete gzip file, got {error}") from error
    header = 4 + 4 * ndim
    magic = bytes([0, 0, _UINT8, ndim])
    if len(content) < header:
        raise Error(f"{path}: expected an IDX header of {header} bytes, got {len(content)} bytes")
    if content[:4] != magic:
        raise Error(f"{path}: expected IDX {_MEANING.get(ndim, 'data')}, magic {magic.hex()}, got {content[:4].hex()}")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    size = len(content) - header
    if size != math.prod(shape):
        raise Error(f"{path}: expected {math.prod(shape)} bytes of data for shape {shape}, got {size}")
    if size == 0:
        raise Error(f"{path}: expected at least one example, got shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _find(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"
    return packed if packed.exists() else folder / name


def _read_pair(image_path: Path, label_path: Path) -> dict[str, np.ndarray]:
    image, label = read_idx(image_path, 3), read_idx(label_path, 1)
    if len(image) != len(label):
        raise Error(f"{label_path}: expected {len(image)} labels, one for each image, got {len(label)}")
    return {"image": image, "label": label.astype(np.int32)}
