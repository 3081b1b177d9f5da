"""Sequences of several lengths in one array."""

import numpy as np
import pytest

import jaxhp as hp


def test_each_sequence_stands_at_the_start_of_its_row():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 3)).astype(np.float32) for n in (4, 0, 1, 6)]
    found = hp.data.padded(sequences, length=8, value=-1)
    assert found["x"].shape == (4, 8, 3)
    assert found["x"].dtype == np.float32
    for row, mask, n, sequence in zip(found["x"], found["mask"], found["length"], sequences, strict=True):
        assert n == len(sequence) == mask.sum()
        np.testing.assert_array_equal(row[mask], sequence)
        assert (row[~mask] == -1).all()


def test_without_a_length_it_is_the_longest():
    found = hp.data.padded([[1, 2], [3], []])
    assert found["x"].tolist() == [[1, 2], [3, 0], [0, 0]]
    assert found["x"].dtype == np.int64
    assert found["mask"].tolist() == [[True, True], [True, False], [False, False]]
    assert found["length"].tolist() == [2, 1, 0]
    assert found["length"].dtype == np.int32
    train, _ = hp.split(found, valid=1)  # it is data for a task
    assert len(train["x"]) == 2


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        ([], {}, "sequences: expected at least one, got none"),
        ([[1, 2], 3], {}, r"sequences\[1\]: expected an array of numbers, got int64\[\]"),
        ([[1], ["a"]], {}, r"sequences\[1\]: expected an array of numbers, got str"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], {}, r"sequences\[1\]: expected positions shaped as in the others"),
        ([[1], [1, 2, 3]], {"length": 2}, r"length: expected at least the 3 positions of sequences\[1\]"),
        ([[1]], {"length": 2.5}, "length: expected an integer, got 2.5"),
        ([np.zeros(1, np.uint8)], {"value": -1}, "value: expected a number that uint8 holds"),
        ([[1, 2]], {"value": 0.5}, "value: expected a number that int64 holds"),
        ([[1, 2]], {"value": "x"}, "value: expected a number that int64 holds"),
    ],
)
def test_what_does_not_fit_is_named(sequences, options, message):
    with pytest.raises(hp.Error, match=f"^{message}"):
        hp.data.padded(sequences, **options)
