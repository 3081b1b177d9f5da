import gzip
import hashlib
import importlib.util
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets
from requests.exceptions import ConnectionError as Unreachable
from tensorflow_datasets.core.download.checksums import compute_url_info
from tensorflow_datasets.image_classification import mnist
from tensorflow_datasets.image_classification.mnist import FashionMNIST

from jaxhp.data import idx, mnist_sample, png, tfds
from jaxhp.data.tfds_source import _stack

SHARED = Path(__file__).parents[3] / "shared/data"
FASHION, MNIST = SHARED / "fashion_mnist", SHARED / "mnist"
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None

needs_fashion = pytest.mark.skipif(not FASHION.is_dir(), reason=f"no Fashion-MNIST files in {FASHION}")
needs_tensorflow = pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed")
lacks_tensorflow = pytest.mark.skipif(HAS_TENSORFLOW, reason="TensorFlow is installed")

# SHA-256 over the label and the PNG file of each record in order, as the stock builder wrote them with
# tensorflow-datasets 4.9.10 and tensorflow-cpu 2.21.0.
STOCK_RECORDS = {
    "train": "7f06283757089cd781bdb46d76e80270ecbc3ec4781866f6162e9bf3b6e0e56f",
    "test": "e3c0cf13d56e2f24ce6eb829f4c43e557ef6ccb5ae8d1a9e955924bd6ae8ad05",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Fashion-MNIST prepared from local files: with TensorFlow where it is installed, else without."""
    folder = tmp_path_factory.mktemp("tfds")
    return folder, tfds("fashion_mnist", data_dir=folder, manual_dir=FASHION)


@pytest.mark.slow
@needs_fashion
def test_fashion_mnist_is_all_there(prepared):
    _, data = prepared
    original = idx(FASHION)
    assert data.test.opened == 0
    assert original.test is not None
    for part, source, n in ((data.train, original.train, 60_000), (data.test.open(), original.test.open(), 10_000)):
        assert (part["image"].shape, part["image"].dtype) == ((n, 28, 28, 1), np.uint8)
        assert (part["label"].shape, part["label"].dtype) == ((n,), np.int32)
        assert fingerprints_of_examples(part) == fingerprints_of_examples(source)
        assert (part["label"] != source["label"]).any()  # TFDS's order, not the file's


def fingerprints_of_examples(tree):
    return sorted(
        zlib.crc32(image.tobytes(), label) for image, label in zip(tree["image"], tree["label"].tolist(), strict=True)
    )


@pytest.mark.slow
@needs_fashion
@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng writes other bytes")
def test_the_records_are_those_of_the_stock_builder(prepared):
    folder, _ = prepared
    builder = tensorflow_datasets.builder("fashion_mnist", data_dir=folder)
    for split, expected in STOCK_RECORDS.items():
        undecoded = {"image": tensorflow_datasets.decode.SkipDecoding()}
        source = builder.as_data_source(split=split, decoders=undecoded)
        digest = hashlib.sha256()
        for record in source.__getitems__(range(len(source))):
            digest.update(bytes([record["label"]]) + record["image"])
        assert digest.hexdigest() == expected


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The real builder of Fashion-MNIST over 200 + 50 digits of the bundled sample, under checksums of their own."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("small")
    sample = mnist_sample(200)
    assert sample.test is not None
    test = {key: array[:50] for key, array in sample.test.open().items()}
    url_infos = {}
    for part, tree in (("train", sample.train), ("t10k", test)):
        for kind, array in (("images-idx3", tree["image"]), ("labels-idx1", tree["label"].astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            file = source / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
            url_infos[FashionMNIST.URL + file.name] = compute_url_info(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, "_TRAIN_EXAMPLES", 200)
        patch.setattr(mnist, "_TEST_EXAMPLES", 50)
        patch.setattr(FashionMNIST, "url_infos", url_infos)
        yield folder, tfds("fashion_mnist", data_dir=folder, manual_dir=source), sample.train, test


def test_small_files_come_out_whole(small):
    _, data, train, test = small
    assert data.test.opened == 0
    for part, source in ((data.train, train), (data.test.open(), test)):
        assert part["image"].shape == (*source["image"].shape, 1)
        assert (part["image"].dtype, part["label"].dtype) == (np.uint8, np.int32)
        assert fingerprints_of_examples(part) == fingerprints_of_examples(source)


def test_what_is_prepared_is_only_read(small):
    folder, data, *_ = small
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = tfds("fashion_mnist:3.0.1", data_dir=folder, train="train[:100]", test=None, keys=["label"])
    assert list(again.train) == ["label"]
    np.testing.assert_array_equal(again.train["label"], data.train["label"][:100])
    assert again.test is None
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": "training"}, "train: expected a split of fashion_mnist (train, test), got 'training'"),
        ({"test": "exam"}, "test: expected a split of fashion_mnist (train, test), got 'exam'"),
        ({"keys": ["pixels"]}, "keys: expected features of fashion_mnist (image, label), got ('pixels',)"),
        ({"keys": []}, "keys: expected features of fashion_mnist (image, label), got ()"),
    ],
)
def test_bad_choices(small, arguments, message):
    with pytest.raises(ValueError, match="expected") as caught:
        tfds("fashion_mnist", data_dir=small[0], **arguments)
    assert str(caught.value) == message


def test_the_test_split_is_read_on_opening(small):
    folder, *_ = small
    data = tfds("fashion_mnist", data_dir=folder, train="train[:10]")
    records = folder / "fashion_mnist/3.0.1/fashion_mnist-test.array_record-00000-of-00001"
    hidden = records.rename(records.with_suffix(".hidden"))
    try:
        with pytest.raises(Exception, match=r"(?i)no such file|not found"):
            data.test.open()  # type: ignore[union-attr]
        assert data.test.opened == 0  # type: ignore[union-attr]
    finally:
        hidden.rename(records)


@needs_fashion
@needs_tensorflow
def test_tensorflow_encodes_the_same_png():
    import tensorflow

    images = idx(FASHION).train["image"][:500]
    assert png.encode(images) == [tensorflow.io.encode_png(image[..., None]).numpy() for image in images]


def test_unknown_names_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"^name: expected a data set that TFDS knows, got 'nonesuch'$"):
        tfds("nonesuch", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^manual_dir: expected a folder with the original files, got '.*no'$"):
        tfds("fashion_mnist", data_dir=tmp_path, manual_dir=tmp_path / "no")


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST files in {MNIST}")
def test_files_with_another_checksum_are_named(tmp_path):
    with pytest.raises(ValueError, match="checksum") as caught:
        tfds("mnist", data_dir=tmp_path, manual_dir=MNIST)
    assert str(caught.value).startswith(f"mnist: expected the file that TFDS registers, got {MNIST}/t")
    assert "\n" not in str(caught.value)


def test_no_network_names_the_files(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise Unreachable("no network")

    monkeypatch.setattr("tensorflow_datasets.core.download.downloader._Downloader._sync_download", refuse)
    with pytest.raises(ConnectionError, match=r"train-images-idx3-ubyte\.gz, train-labels-idx1-ubyte\.gz$") as caught:
        tfds("fashion_mnist", data_dir=tmp_path)
    assert str(caught.value).startswith(f"fashion_mnist: not prepared in {tmp_path}/fashion_mnist/3.0.1 and cannot")


class Flowers(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
    """A stock-like builder whose images TensorFlow must encode."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")

    def _info(self):
        features = {"image": tensorflow_datasets.features.Image(shape=(2, 2, 3))}
        return tensorflow_datasets.core.DatasetInfo(
            builder=self, features=tensorflow_datasets.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"image": np.zeros((2, 2, 3), np.uint8)}


@lacks_tensorflow
def test_missing_tensorflow_names_the_command(tmp_path):
    from jaxhp.data.tfds_builders import prepare

    with pytest.raises(ModuleNotFoundError) as caught:
        prepare(Flowers(data_dir=tmp_path, file_format="array_record"), None)
    message = "flowers: preparing it needs TensorFlow (reading it does not): pip install 'jaxhp[tfds]'"
    assert str(caught.value) == message


def test_stacking():
    assert _stack([np.zeros((2, 2, 1), np.uint8)] * 3, "image").dtype == np.uint8
    assert _stack([np.uint8(3), np.uint8(4)], "label").dtype == np.int32
    assert _stack([np.int64(3), np.int64(-4)], "label").tolist() == [3, -4]
    assert _stack([1.5, 2.5], "x").dtype == np.float64
    with pytest.raises(ValueError, match=r"^label: expected integers within int32, got 0 to 2147483648$"):
        _stack([0, 2**31], "label")
    with pytest.raises(
        ValueError, match=r"^image: expected examples of one shape, got 2 shapes, as \[\(2,\), \(3,\)\]$"
    ):
        _stack([np.zeros(3), np.zeros(2)], "image")
    with pytest.raises(ValueError, match=r"^id: expected numbers, got dtype \|S1; name the features"):
        _stack([b"a", b"b"], "id")


def test_importing_the_package_does_not_import_tfds():
    check = "import sys, jaxhp.data; sys.exit('tensorflow_datasets' in sys.modules)"
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    assert subprocess.run([sys.executable, "-c", check], env={**os.environ, "PYTHONPATH": path}).returncode == 0
