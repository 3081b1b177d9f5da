"""Random tasks: a member among others has the weights that an ordinary loop gives it, within rounding."""

import pytest
from random_tasks import TOLERANCE, among_others, by_hand, distance, documented, draw, wrong


@pytest.mark.slow  # each compiles for 5 to 12 s of a CPU
@pytest.mark.parametrize("seed", range(20))
def test_a_member_among_others_is_the_one_of_an_ordinary_loop(seed):
    """And no loop with one wrong key is: with another replicate's, or with epochs that are counted from 1."""
    drawn = draw(seed)
    loop, right, other = by_hand(drawn), documented(drawn), documented(wrong(drawn))
    found, tolerance = among_others(drawn), TOLERANCE[drawn.dtypes]
    off = distance(found, loop(right))
    assert off < tolerance
    far = max(10 * off, 100 * tolerance if "bfloat16" not in drawn.dtypes else tolerance)
    names = ("init", "order", "noise") if "dropout" in drawn.name else ("init", "order")
    for keys in (right._replace(**{name: getattr(other, name)}) for name in names):
        assert distance(found, loop(keys)) > far
    assert distance(found, loop(right, later=1)) > far
