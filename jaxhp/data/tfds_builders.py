"""Preparing TFDS data sets: with TensorFlow where it is installed, and MNIST and its likes also without.

TFDS reads prepared data without TensorFlow, but the stock builders of MNIST, Fashion-MNIST and KMNIST need it to unpack
.gz files, to open them and to encode PNG. `without_tensorflow` replaces those three steps and nothing else: checksums,
features, shuffling and writing stay TFDS's own, and the records come out the same byte for byte.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorflow_datasets import core, download
from tensorflow_datasets.image_classification import mnist

from jaxhp.data import png
from jaxhp.data.idx_files import read_idx

_CHUNK = 1000  # images encoded at once: bounds memory


def has_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


def prepare(builder: core.DatasetBuilder, manual_dir: Path | None) -> None:
    """Downloads what `manual_dir` does not hold and writes the records where `builder` will read them."""
    if isinstance(builder, mnist.MNIST) and not has_tensorflow():
        builder = without_tensorflow(type(builder))(data_dir=builder._data_dir_root, file_format="array_record")
    builder.download_and_prepare(download_config=download.DownloadConfig(manual_dir=manual_dir))


def without_tensorflow(stock: type[mnist.MNIST]) -> type[mnist.MNIST]:
    """A builder that writes what `stock` writes, and needs no TensorFlow."""
    with core.registered.skip_registration():

        class Builder(stock):
            name = stock.name
            url_infos = stock.url_infos  # the checksums, else looked for beside this file

            def _split_generators(self, dl_manager: Any) -> Any:
                return super()._split_generators(SimpleNamespace(download_and_extract=dl_manager.download))

            def _generate_examples(self, num_examples: int, data_path: Any, label_path: Any) -> Iterator[Any]:
                images, labels = read_idx(Path(data_path), 3), read_idx(Path(label_path), 1)
                if not len(images) == len(labels) == num_examples:
                    raise ValueError(
                        f"{data_path}: expected {num_examples} images and labels, got {len(images)} and {len(labels)}"
                    )
                for start in range(0, num_examples, _CHUNK):
                    for i, image in enumerate(png.encode(images[start : start + _CHUNK]), start):
                        yield i, {"image": image, "label": int(labels[i])}

    return Builder
