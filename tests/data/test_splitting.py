import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxhp.data import Dataset, arrays, mnist_sample, split


def test_the_order_is_fixed_for_ever():
    train, valid = split({"x": np.arange(10)}, valid=3, seed=7)
    assert (train["x"].tolist(), valid["x"].tolist()) == ([9, 0, 2, 8, 7, 5, 1], [6, 3, 4])


def test_the_books_split():
    train, valid = split(mnist_sample(500), valid=0.2)
    assert train["image"].shape == (400, 28, 28)
    assert valid["image"].shape == (100, 28, 28)
    assert valid["label"].dtype == np.int32


@given(n=st.integers(2, 60), share=st.floats(0.01, 0.99), seed=st.integers(0, 2**64), data=st.data())
def test_every_example_lands_once_and_leaves_stay_together(n, share, seed, data):
    count = data.draw(st.sampled_from([share, data.draw(st.integers(1, n - 1))]))
    expected = count if isinstance(count, int) else round(n * count)
    tree = {"id": np.arange(n), "twin": [np.arange(n)[:, None] * 10]}
    if not 1 <= expected < n:
        with pytest.raises(ValueError, match="split empty"):
            split(tree, valid=count, seed=seed)
        return
    train, valid = split(tree, valid=count, seed=seed)
    assert len(valid["id"]) == expected
    assert sorted([*train["id"], *valid["id"]]) == list(range(n))
    for part in (train, valid):
        np.testing.assert_array_equal(part["twin"][0][:, 0], part["id"] * 10)


def test_it_shuffles_by_seed():
    tree = np.arange(1000)
    first, again, other = (split(tree, seed=seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    assert first.tolist() != sorted(first)
    assert 400 < first.mean() < 600


def test_a_dataset_is_split_without_opening_its_test_data():
    data = arrays(np.arange(10), test=np.arange(4))
    train, valid = split(data, valid=0.3)
    assert (len(train), len(valid)) == (7, 3)
    assert data.test is not None
    assert data.test.opened == 0


@pytest.mark.parametrize(
    ("valid", "error", "message"),
    [
        (0.001, ValueError, "valid: 0.001 of 10 examples leaves the validation split empty"),
        (0.999, ValueError, "valid: 0.999 of 10 examples leaves the training split empty"),
        (0, ValueError, "valid: 0 of 10 examples leaves the validation split empty"),
        (-1, ValueError, "valid: -1 of 10 examples leaves the validation split empty"),
        (10, ValueError, "valid: 10 of 10 examples leaves the training split empty"),
        (1.0, ValueError, "valid: expected a fraction in (0, 1) or an integer number of examples, got 1.0"),
        (-0.2, ValueError, "valid: expected a fraction in (0, 1) or an integer number of examples, got -0.2"),
        (float("nan"), ValueError, "valid: expected a fraction in (0, 1) or an integer number of examples, got nan"),
        (True, ValueError, "valid: expected a fraction in (0, 1) or a number of examples, got True"),
        ("0.2", ValueError, "valid: expected a fraction in (0, 1) or a number of examples, got '0.2'"),
    ],
)
def test_bad_shares(valid, error, message):
    with pytest.raises(error) as caught:
        split(np.arange(10), valid=valid)
    assert str(caught.value) == message


def test_other_bad_input():
    with pytest.raises(ValueError, match=r"^seed: expected an integer, got 0\.5$"):
        split(np.arange(10), seed=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^seed: expected 0 or more, got -1$"):
        split(np.arange(10), seed=-1)
    with pytest.raises(ValueError, match=r"^data\['y'\]: expected 3 examples"):
        split({"x": np.arange(3), "y": np.arange(4)})
    with pytest.raises(ValueError, match=r"^data\['x'\]: expected finite values, got nan at index \(1,\)"):
        split(Dataset({"x": np.array([0, np.nan])}), valid=1)
