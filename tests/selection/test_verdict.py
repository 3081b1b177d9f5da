import pytest

from jaxhp.selection.verdict import Estimate


@pytest.mark.parametrize(
    ("mean", "half", "correction", "said"),
    [
        (5.46e-05, 1.1e-05, 3e-23, ""),
        (5.46e-05, 1.1e-05, 2e-06, ", corrected by -2.0e-06 since the search has used them"),
        (0.9, 0.02, 0.004, ", corrected by -0.004 since the search has used them"),
        (0.9, 0.02, 1e-6, ""),
    ],
)
def test_a_correction_is_said_where_it_can_be_seen_beside_the_interval(mean, half, correction, said):
    found = Estimate(mean, mean - half, mean + half, 27, 2, 500, held_out=False, correction=correction)
    assert found.basis == f"2 fresh replicates, 500 validation examples{said}; 27 trials tried"
