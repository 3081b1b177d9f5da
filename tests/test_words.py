"""Numbers as people read them: every digit that the error leaves, none that it does not, whatever their size."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxhp import words

sizes = st.floats(1e-30, 1e30)
values = st.one_of(st.just(0.0), sizes, sizes.map(lambda value: -value))


@given(values, sizes)
def test_a_number_is_written_to_a_twentieth_of_its_error(value, error):
    """The second digit of an error is worth at most a tenth of it; rounding there loses half of that."""
    style = words.style_of(value, error)
    assert abs(float(style.write(value)) - value) <= error / 18 + 1e-12 * abs(value)
    assert abs(float(style.write(error)) / error - 1) < 0.06


@given(st.lists(st.tuples(values, sizes), min_size=1, max_size=8))
def test_in_a_column_no_error_is_shown_as_zero_and_no_number_loses_more_than_half_its_error(pairs):
    for (value, error), (text, told) in zip(pairs, words.column(*zip(*pairs, strict=True)), strict=True):
        assert abs(float(text) - value) <= error / 2 + 1e-12 * abs(value)
        assert float(told) > 0


@given(values)
def test_a_number_whose_error_is_not_known_has_four_digits(value):
    assert float(words.number(value)) == pytest.approx(value, rel=5.1e-4, abs=0)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.91234, 0.0021, "0.9123 ± 0.0021"),
        (0.9, 0.03, "0.900 ± 0.030"),
        (7.04e-6, 5e-7, "7.04e-06 ± 5.0e-07"),
        (1000.0051, 0.0051, "1000.0051 ± 0.0051"),
        (250_000.0, 50.0, "250000 ± 50"),
        (-5000.0, 0.103, "-5000.00 ± 0.10"),
        (3.4e9, 2e7, "3.400e+09 ± 2.0e+07"),
        (1.0, 0.0, "1.000 ± 0.000"),
        (0.0, 5e-7, "0 ± 5.0e-07"),
        (-1e-9, 0.03, "0.000 ± 0.030"),
        (0.9996, 0.000996, "0.9996 ± 0.0010"),
        (math.nan, math.nan, "- ± -"),
        (math.nan, 0.03, "- ± -"),
        (0.5, math.nan, "0.5000 ± -"),
    ],
)
def test_numbers_and_their_errors(value, error, text):
    assert " ± ".join(words.column([value], [error])[0]) == text


def test_a_column_ends_alike_but_for_what_that_would_hide():
    values, errors = [0.9, 0.25, 1.0, 7e-6, math.nan], [0.03, 0.11, 0.0, 5e-7, math.nan]
    assert [text for text, _ in words.column(values, errors)] == ["0.900", "0.250", "1.000", "7.00e-06", "-"]


def test_a_number_whose_interval_is_known():
    assert words.interval(0.8157, 0.7502, 0.8813) == ("0.816", "0.750", "0.881")
    assert words.interval(7e-6, 7e-6, 7e-6) == ("7.000e-06",) * 3
