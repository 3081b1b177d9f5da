"""What is written for others to run is of any number of rows, or says what keeps it from that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxhp as hp
from jaxhp.engine.exported import write_exported

DATA = {"x": np.arange(12, dtype=np.float32).reshape(4, 3), "y": np.zeros(4, np.int32)}


def test_any_number_of_rows(tmp_path):
    pytest.importorskip("flatbuffers")
    path = tmp_path / "f.jaxexport"
    reads = write_exported(lambda batch: batch["x"].reshape(batch["x"].shape[0], -1).sum(1), DATA, path, None)
    assert reads == ("x",)
    function = jax.export.deserialize(bytearray(path.read_bytes()))
    for rows in (1, 7):
        np.testing.assert_array_equal(function.call({"x": jnp.ones((rows, 3))}), np.full(rows, 3.0))


def test_a_number_of_rows_that_must_be_known_is_named_with_its_cure(tmp_path):
    with pytest.raises(hp.Error, match=r"any number of rows \(x.shape\[0\] in the place of len\(x\), or give rows="):
        write_exported(lambda batch: batch["x"].reshape(len(batch["x"]), -1).sum(1), DATA, tmp_path / "f", None)
    assert not (tmp_path / "f").exists()
