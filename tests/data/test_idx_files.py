import gzip
import math
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from jaxhp.data import idx, mnist_sample
from jaxhp.data.idx_files import read_idx

MNIST = Path(__file__).parents[3] / "shared/data/mnist"


def packed(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder: Path, part: str, image: np.ndarray, label: np.ndarray, *, zipped: bool = False) -> None:
    for stem, array in (("images-idx3", image), ("labels-idx1", label)):
        content = packed(array)
        name = f"{part}-{stem}-ubyte" + (".gz" if zipped else "")
        (folder / name).write_bytes(gzip.compress(content) if zipped else content)


IMAGE = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
LABEL = np.array([3, 1, 255, 0], np.uint8)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train", IMAGE, LABEL)
    write(tmp_path, "t10k", IMAGE[:2] + 100, LABEL[:2], zipped=True)
    return tmp_path


def test_reads_plain_and_packed_files(folder):
    data = idx(folder)
    np.testing.assert_array_equal(data.train["image"], IMAGE)
    np.testing.assert_array_equal(data.train["label"], LABEL)
    assert (data.train["image"].dtype, data.train["label"].dtype) == (np.uint8, np.int32)
    data.train["image"][0] = 0  # writable
    assert data.test is not None
    np.testing.assert_array_equal(data.test.open()["image"], IMAGE[:2] + 100)
    np.testing.assert_array_equal(idx(str(folder)).train["label"], LABEL)


def test_test_files_are_not_read_until_opened(folder):
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"nonsense")
    data = idx(folder)
    assert data.test is not None
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz: expected a complete gzip file"):
        data.test.open()
    assert data.test.opened == 0


def test_no_test_files_is_no_test_data(folder):
    for path in folder.glob("t10k*"):
        path.unlink()
    assert idx(folder).test is None


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
)
def test_a_missing_file_is_named(folder, name):
    next(folder.glob(name + "*")).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        idx(folder)
    assert str(caught.value) == f"folder: expected {name} or {name}.gz in {str(folder)!r}"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^folder: expected a folder of IDX files, got '.*nowhere'$"):
        idx(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"", "expected an IDX header of 16 bytes, got 0 bytes"),
        ("train-images-idx3-ubyte", packed(LABEL), "expected an IDX header of 16 bytes, got 12 bytes"),
        ("train-images-idx3-ubyte", b"P" * 20, "expected IDX images, magic 00000803, got 50505050"),
        ("train-labels-idx1-ubyte", packed(IMAGE), "expected IDX labels, magic 00000801, got 00000803"),
        ("train-images-idx3-ubyte", packed(IMAGE)[:-1], "expected 24 bytes of data for shape (4, 2, 3), got 23"),
        ("train-labels-idx1-ubyte", packed(LABEL) + b"!", "expected 4 bytes of data for shape (4,), got 5"),
        ("train-labels-idx1-ubyte", packed(LABEL[:3]), "expected 4 labels, one for each image, got 3"),
        ("train-labels-idx1-ubyte", packed(LABEL[:0]), "expected at least one example, got shape (0,)"),
        ("train-images-idx3-ubyte.gz", gzip.compress(packed(IMAGE), mtime=0)[:-9], "expected a complete gzip file"),
        ("train-images-idx3-ubyte.gz", packed(IMAGE), "expected a complete gzip file"),
    ],
)
def test_bad_files_are_named(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match="expected") as caught:
        idx(folder)
    assert str(caught.value).startswith(f"{folder / name}: {message}")
    assert "\n" not in str(caught.value)


@given(
    array=arrays_of.arrays(np.uint8, arrays_of.array_shapes(min_dims=1, max_dims=4, max_side=5)), zipped=st.booleans()
)
def test_round_trip(tmp_path_factory, array, zipped):
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if zipped else "file")
    path.write_bytes(gzip.compress(packed(array)) if zipped else packed(array))
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


headers = st.builds(
    lambda magic, sizes, data: magic + struct.pack(f">{len(sizes)}I", *sizes) + data,
    st.sampled_from([b"\0\0\x08\x03", b"\0\0\x08\x01", b"\0\0\x0d\x03"]),
    st.lists(st.integers(0, 4) | st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    st.binary(max_size=64),
)


@given(
    content=st.binary(max_size=80) | headers,
    zipped=st.sampled_from(["no", "yes", "claimed"]),
    ndim=st.sampled_from([1, 3]),
)
@example(content=b"\0\0\x08\x03" + b"\xff" * 12, zipped="no", ndim=3)
@example(content=b"\x1f\x8b\x08\x08" + b"\0" * 9, zipped="claimed", ndim=3)
def test_any_bytes_give_the_described_array_or_a_value_error(tmp_path_factory, content, zipped, ndim):
    path = tmp_path_factory.mktemp("idx") / ("file" if zipped == "no" else "file.gz")
    path.write_bytes(gzip.compress(content) if zipped == "yes" else content)
    try:
        array = read_idx(path, ndim)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017 (most inputs are bad)
        return
    assert zipped != "claimed" or content[:2] == b"\x1f\x8b"
    assert array.dtype == np.uint8
    assert array.ndim == ndim
    assert math.prod(array.shape) == array.size >= 1
    if zipped != "claimed":
        assert packed(array) == content


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST files in {MNIST}")
def test_all_of_mnist():
    start = time.perf_counter()
    data = idx(MNIST)
    print(f"MNIST read in {time.perf_counter() - start:.2f} s")
    assert data.train["image"].shape == (60_000, 28, 28)
    sample = mnist_sample()
    np.testing.assert_array_equal(data.train["image"][:5000], sample.train["image"])
    np.testing.assert_array_equal(data.train["label"][:5000], sample.train["label"])
    assert data.test is not None
    assert sample.test is not None
    test, sample_test = data.test.open(), sample.test.open()
    assert test["image"].shape == (10_000, 28, 28)
    np.testing.assert_array_equal(test["image"][:1000], sample_test["image"])
    np.testing.assert_array_equal(test["label"][:1000], sample_test["label"])
