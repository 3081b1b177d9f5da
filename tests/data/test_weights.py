"""Class weights against scikit-learn's."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import jaxhp as hp


def test_weights_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for classes in (1, 2, 3, 10):
        labels = rng.permutation(np.concatenate([np.arange(classes), rng.binomial(classes - 1, 0.2, 50)]))
        for kind in ("balanced", {0: 2.5}):
            expected = compute_class_weight(kind, classes=np.arange(classes), y=labels)
            np.testing.assert_allclose(hp.data.class_weights(labels, kind), expected, rtol=1e-6)
        assert hp.data.class_weights(labels)[labels].mean() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(hp.data.class_weights(np.array([True, False])), [1, 1])


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0.0, 1.0], "balanced", "labels: expected integers or booleans"),
        ([], "balanced", "labels: expected integers or booleans"),
        ([-1, 0], "balanced", "labels: expected classes from 0, got -1"),
        ([0, 2, 2], "balanced", "labels: expected an example of each class from 0 to 2, got none of 1"),
        ([10**12, 0], "balanced", "labels: expected classes from 0, each with an example, got 1000000000000"),
        ([0, 1], "even", "kind: expected 'balanced' or a dict from class to weight, got 'even'"),
        ([0, 1], {2: 1.0}, "kind: expected classes from 0 to 1, got 2"),
        ([0, 1], {1: -1.0}, "kind: expected a weight of 0 or more for class 1, got -1.0"),
    ],
)
def test_what_does_not_fit_is_named(labels, kind, message):
    with pytest.raises(hp.Error, match=f"^{message}"):
        hp.data.class_weights(labels, kind)
