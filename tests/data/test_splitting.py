import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

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


@given(st.lists(st.integers(0, 2), min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 3))
def test_of_each_class_either_part_has_its_share(label, share, seed):
    label, count = np.asarray(label), round(len(label) * share)
    sizes = np.bincount(label)[np.unique(label)]
    tree = {"id": np.arange(len(label)), "y": label}
    try:
        theirs = train_test_split(label, test_size=count, stratify=label)[1]
    except ValueError:  # what scikit-learn refuses is refused, but one class, which is no class
        if len(sizes) > 1:
            with pytest.raises(ValueError, match=r"^(stratify: expected at least 2 examples of each|valid: .*empty)"):
                split(tree, share, seed, stratify="y")
        return
    train, valid = split(tree, share, seed, stratify="y")
    assert sorted([*train["id"], *valid["id"]]) == list(range(len(label)))
    assert len(valid["id"]) == len(theirs) == count
    for c, size in zip(np.unique(label), sizes, strict=True):
        assert abs((valid["y"] == c).sum() - size * count / len(label)) < 1
        assert abs((valid["y"] == c).sum() - (theirs == c).sum()) <= 1


def test_without_classes_to_tell_apart_a_stratified_split_is_the_plain_one():
    tree = {"id": np.arange(30), "y": np.zeros(30, int)}
    for one, other in zip(split(tree, 0.3, 2), split(tree, 0.3, 2, stratify="y"), strict=True):
        np.testing.assert_array_equal(one["id"], other["id"])


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 9), st.booleans())
def test_no_group_is_in_both_parts(groups, share, seed, stratify):
    groups, count = np.asarray(groups), round(len(groups) * share)
    if len(set(groups.tolist())) < 2 or not 0 < count < len(groups):
        return
    tree = {"id": np.arange(len(groups)), "patient": groups, "sick": groups % 2 == 0}
    train, valid = split(tree, share, seed, groups="patient", stratify="sick" if stratify else None)
    assert not set(train["patient"]) & set(valid["patient"])
    assert sorted([*train["id"], *valid["id"]]) == list(range(len(groups)))
    largest = np.bincount(groups).max()
    assert abs(len(valid["id"]) - count) <= largest  # and the nearest that this shuffle of groups has


def test_groups_are_taken_at_random_large_ones_too():
    groups = np.repeat(np.arange(10), [1, 1, 1, 1, 1, 1, 1, 1, 1, 6])
    held_out = [9 in split({"g": groups}, 0.4, seed, groups="g")[1]["g"] for seed in range(200)]
    # 6 are wanted: with j small groups before it, j + 6 is nearer than j while j is 0, 1 or 2, in 3 of 10 shuffles
    assert np.mean(held_out) == pytest.approx(0.3, abs=0.1)


def test_stratified_groups_have_even_shares_of_the_classes():
    label = np.repeat([0, 0, 0, 1], 40)
    tree = {"y": label, "g": np.arange(160) // 4}
    shares = [split(tree, 0.25, seed, groups="g", stratify="y")[1]["y"].mean() for seed in range(20)]
    assert max(abs(np.asarray(shares) - 0.25)) < 0.051  # 2 or 3 of 10 groups


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=60), st.floats(0.05, 0.95))
def test_the_future_is_held_out(when, share):
    when, count = np.asarray(when), round(len(when) * share)
    if len(set(when.tolist())) < 2 or not 0 < count < len(when):
        return
    train, valid = split({"t": when, "id": np.arange(len(when))}, share, order="t")
    assert train["t"].max() < valid["t"].min()
    assert sorted([*train["id"], *valid["id"]]) == list(range(len(when)))
    at = np.cumsum(np.bincount(when + 5))  # the places where the sorted values change
    places = at[(at > 0) & (at < len(when))]
    assert abs(len(train["t"]) - (len(when) - count)) == min(abs(places - (len(when) - count)))


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


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"stratify": "z"}, r"stratify: expected a column of the training data \(f, x, y\), got 'z'"),
        ({"stratify": "f"}, "stratify: expected a column of classes, integers or booleans, got 'f', float64"),
        ({"stratify": "x"}, "stratify: expected at least 2 examples of each of 10 classes, .* got 1 of the smallest"),
        ({"groups": "f"}, "groups: expected at least 2 groups in 'f', got 1"),
        ({"groups": 3}, "groups: expected the name of a column of the data, got 3"),
        ({"order": "f"}, "order: expected at least 2 different values in 'f', got 1"),
        ({"order": "x", "stratify": "y"}, "order: expected neither stratify nor groups beside an order, got stratify"),
    ],
)
def test_columns_that_do_not_fit_are_refused(named, message):
    tree = {"x": np.arange(10), "y": np.arange(10) % 2, "f": np.zeros(10)}
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        split(tree, **named)
    assert "\n" not in str(caught.value)
