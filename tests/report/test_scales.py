"""Axes: round numbers within the range, positions in order, and room for what matters."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import jaxhp as hp
from jaxhp.report.scales import axis, parameter_axis, score_axis

numbers = st.floats(-1e30, 1e30, allow_nan=False).map(lambda value: value if abs(value) > 1e-30 else 0.0)


@given(numbers, numbers)
@example(9.999999999694918e29, 9.999999999705531e29)
@example(1.0, 1.0 + 1.01e-6)
def test_any_range_has_an_axis_with_a_few_round_numbers_inside(a, b):
    found = axis(min(a, b), max(a, b))
    assert found.low < found.high
    assert 1 <= len(found.ticks) <= 12
    values = [value for value, _ in found.ticks]
    assert values == sorted(set(values))
    slack = 1e-6 * (found.high - found.low)
    assert found.low - slack <= values[0] <= values[-1] <= found.high + slack


@given(st.floats(1e-37, 1e37), st.floats(1.1, 1e12))
def test_so_has_a_logarithmic_one(low, factor):
    found = axis(low, low * factor, log=True)
    assert 1 <= len(found.ticks) <= 20
    assert all(0 <= float(found.at(value)) <= 1 for value, _ in found.ticks)


@given(st.lists(numbers, min_size=2, max_size=20))
def test_positions_are_in_the_order_of_values_and_within_the_axis(values):
    found = score_axis(values, "max")
    at = found.at(sorted(values))
    assert (np.diff(at) >= 0).all()
    assert ((at >= 0) & (at <= 1)).all()


def test_marked_values():
    assert [label for _, label in axis(1e-6, 1e-2, log=True).ticks] == ["1e-06", "1e-05", "0.0001", "0.001", "0.01"]
    assert [label for _, label in axis(1.0, 3.0, whole=True).ticks] == ["1", "2", "3"]
    assert [label for _, label in parameter_axis(hp.Choice(["sgd", True, 3])).ticks] == ["sgd", "True", "3"]
    assert parameter_axis(hp.IntUniform(4, 64, log=True)).log
    assert not parameter_axis(hp.Uniform(0.0, 0.9)).log
    assert np.isnan(axis(0.0, 1.0).at(np.nan))


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_few_scores_far_off_on_the_bad_side_do_not_hide_the_others(mode):
    sign = 1 if mode == "max" else -1
    scores = [*(sign * np.linspace(-1, 1, 99)), -sign * 1e6, float("nan"), float("inf")]
    found = score_axis(scores, mode)
    assert found.high - found.low < 10
    assert 0 < float(found.at(sign)) < 1  # the best has room
    assert float(found.at(-sign * 1e6)) == (0 if mode == "max" else 1)


def test_losses_over_several_powers_of_ten_are_logarithmic_and_accuracies_are_not():
    assert score_axis([1e-4, 0.1, 9.0], "min").log
    assert not score_axis([1e-4, 0.1, 9.0], "max").log
    assert not score_axis([], "min").log
