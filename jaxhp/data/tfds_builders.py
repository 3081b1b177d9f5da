"""Preparing TFDS data sets: with TensorFlow where it is installed, and MNIST and its likes also without.

TFDS reads prepared data without TensorFlow, but the stock builders of MNIST, Fashion-MNIST and KMNIST need it to unpack
.gz files, to open them and to encode PNG. `without_tensorflow` replaces those three steps and nothing else: checksums,
features, shuffling and writing stay TFDS's own. The records come out in the same order with the same bytes, but for the
order of an example's two features, which protobuf leaves open and which varies with the stock builder too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from requests.exceptions import ConnectionError as Unreachable
from tensorflow_datasets import core, download
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.registered import skip_registration
from tensorflow_datasets.image_classification.mnist import MNIST

from jaxhp.data import png
from jaxhp.data.idx_files import read_idx
from jaxhp.values import Error

_CHUNK = 1000  # images encoded at once: bounds memory


def prepare(builder: core.DatasetBuilder, manual_dir: Path | None) -> None:
    """Take the original files from `manual_dir`, or download them, and write the records `builder` will read.

    Args:
      builder: of a data set that is not prepared yet.
      manual_dir: a folder with the original files; None: there is none.

    Raises:
      ValueError, ModuleNotFoundError, ConnectionError: see `jaxhp.data.tfds`.
    """
    name, tensorflow = builder.name, importlib.util.find_spec("tensorflow") is not None
    if isinstance(builder, MNIST) and not tensorflow:
        root = Path(builder.data_dir).parents[1]  # of root/name/version
        builder = without_tensorflow(type(builder))(data_dir=root, file_format="array_record")
    try:
        builder.download_and_prepare(download_config=download.DownloadConfig(manual_dir=manual_dir))
    except NonMatchingChecksumError as error:
        file = str(error).partition(", downloaded to ")[2].partition(", has wrong checksum")[0]
        raise Error(
            f"{name}: expected the file that TFDS registers, got {file} with another checksum; "
            "jaxhp.data.idx reads IDX files whatever their checksum"
        ) from error
    except Unreachable as error:
        files = sorted(info.filename for info in (builder.url_infos or {}).values() if info.filename)
        raise ConnectionError(
            f"{name}: not prepared in {builder.data_dir} and cannot be downloaded; pass as manual_dir a folder with "
            f"its original files: {', '.join(files[:8])}"
        ) from error
    except Exception as error:
        if tensorflow or "No module named 'tensorflow'" not in str(error):
            raise
        raise ModuleNotFoundError(
            f"{name}: preparing it needs TensorFlow (reading it does not): pip install 'jaxhp[tfds]'"
        ) from error


def without_tensorflow(stock: type[MNIST]) -> type[MNIST]:
    """Make a builder that writes what `stock` writes, and needs no TensorFlow."""
    with skip_registration():

        class Builder(stock):
            __module__ = stock.__module__
            name = stock.name
            url_infos = stock.url_infos

            def _split_generators(self, dl_manager: Any) -> Any:
                packed: Any = SimpleNamespace(download_and_extract=dl_manager.download)
                return super()._split_generators(packed)

            def _generate_examples(
                self, num_examples: int, data_path: str | Path, label_path: str | Path
            ) -> Generator[Any]:
                images, labels = read_idx(Path(data_path), 3), read_idx(Path(label_path), 1)
                if not len(images) == len(labels) == num_examples:
                    raise Error(
                        f"{data_path}: expected {num_examples} images and labels, got {len(images)} and {len(labels)}"
                    )
                for start in range(0, num_examples, _CHUNK):
                    for i, image in enumerate(png.encode(images[start : start + _CHUNK]), start):
                        yield i, {"image": image, "label": int(labels[i])}

    return Builder
