"""TensorFlow Datasets as a source, through its own API: https://www.tensorflow.org/datasets"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxhp.data.dataset import Dataset, Sealed
from jaxhp.values import Error

_CHUNK = 1000  # examples decoded at once


def tfds(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    *,
    train: str = "train",
    test: str | None = "test",
    keys: Sequence[str] | None = None,
) -> Dataset:
    """Read a TFDS data set into memory; it is prepared first if it is not yet.

    Reading needs no TensorFlow, nor does preparing mnist, fashion_mnist and kmnist; preparing most others does. The
    examples come in TFDS's order, shuffled by hash, which is not the order of the original files.

    Args:
      name: as in TFDS: "fashion_mnist", "cifar10:3.0.2".
      data_dir: where prepared data lies or goes; None: where TFDS keeps it, ~/tensorflow_datasets.
      manual_dir: a folder with the original files, under the names TFDS registers; what is not there is downloaded.
      train, test: which splits to read, in TFDS's words ("train[:80%]"); test None: no test data.
      keys: the features to read, each of the same shape in every example; None: the supervised pair that TFDS names
        ("image" and "label").

    Returns:
      A Dataset of one array a feature. Images are uint8[N, H, W, C], other integers become int32.

    Raises:
      Error: TFDS does not know the name, a split or a feature; the original files are not those it registers; the
        data is prepared in a format that cannot be read without TensorFlow; or a feature cannot be stacked.
      FileNotFoundError: `manual_dir` is no folder.
      ModuleNotFoundError: TensorFlow is needed to prepare the data and missing.
      ConnectionError: the original files are not in `manual_dir` and cannot be downloaded.
    """
    if importlib.util.find_spec("array_record") is None:
        raise ModuleNotFoundError("tfds: reading TFDS data needs array_record: pip install array_record")
    if manual_dir is not None and not Path(manual_dir).expanduser().is_dir():
        raise FileNotFoundError(f"manual_dir: expected a folder with the original files, got {str(manual_dir)!r}")
    builder = _prepared(name, data_dir, None if manual_dir is None else Path(manual_dir).expanduser())
    for argument, split in (("train", train), ("test", test)):
        try:
            builder.info.splits[split or train]
        except (KeyError, ValueError) as error:
            known = ", ".join(builder.info.splits)
            raise Error(f"{argument}: expected a split of {name} ({known}), got {split!r}") from error
    chosen = builder.info.supervised_keys if keys is None else tuple(keys)
    known = list(builder.info.features or {})
    if not chosen or not all(key in known for key in chosen):
        raise Error(f"keys: expected features of {name} ({', '.join(known)}), got {chosen!r}")
    sealed = None if test is None else Sealed(lambda: _read(builder, test, chosen))
    return Dataset(_read(builder, train, chosen), sealed)


def _prepared(name: str, data_dir: str | os.PathLike[str] | None, manual_dir: Path | None) -> Any:
    import tensorflow_datasets  # takes 0.6 s, so only when used

    from jaxhp.data.tfds_builders import prepare

    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir)
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise Error(f"name: expected a data set that TFDS knows, got {name!r}") from error
    if not builder.is_prepared():
        builder = tensorflow_datasets.builder(name, data_dir=data_dir, file_format="array_record")
        prepare(builder, manual_dir)
        builder = tensorflow_datasets.builder(name, data_dir=data_dir)
    return builder


def _read(builder: Any, split: str, keys: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        source = builder.as_data_source(split=split)
    except NotImplementedError as error:
        raise Error(
            f"{builder.name}: prepared in {builder.data_dir} as {builder.info.file_format.value}, which needs "
            "TensorFlow to be read; pass another data_dir to have it prepared as array_record"
        ) from error
    columns: dict[str, list[ArrayLike]] = {key: [] for key in keys}
    for start in range(0, len(source), _CHUNK):
        for example in source.__getitems__(range(start, min(start + _CHUNK, len(source)))):
            for key in keys:
                columns[key].append(example[key])
    return {key: _stack(values, key) for key, values in columns.items()}


def _stack(values: list[ArrayLike], key: str) -> np.ndarray:
    shapes = sorted({np.shape(value) for value in values})
    if len(shapes) != 1:
        raise Error(f"{key}: expected examples of one shape, got {len(shapes)} shapes, as {shapes[:2]}")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise Error(f"{key}: expected numbers, got dtype {array.dtype}; name the features to read with keys=")
    if array.dtype.kind not in "iu" or (array.dtype == np.uint8 and array.ndim > 1):
        return array
    if array.size and not -(2**31) <= array.min() <= array.max() < 2**31:
        raise Error(f"{key}: expected integers within int32, got {array.min()} to {array.max()}")
    return array.astype(np.int32)
