"""What the ledger keeps of the sealed test data: that they were opened, and what was found."""

from __future__ import annotations

from typing import NamedTuple

from jaxhp.values import Json

OPENED, TESTED = "test opened", "test"  # kinds of ledger events


class Tested(NamedTuple):
    """What an opening of the test data found.

    Attributes:
      trial_id: the trial whose config was tested.
      mean: the metric on the test data, over the seeds that did not diverge; NaN if all did.
      low, high: 95% interval over seeds and examples.
      scores: of each seed; NaN for one that diverged.
      opening: how many times this search's test data had been opened, this time included. Only the first is a test.
    """

    trial_id: int
    mean: float
    low: float
    high: float
    scores: tuple[float, ...]
    opening: int

    @classmethod
    def from_event(cls, event: Json) -> Tested:
        """Read it from the ledger's event, in which null stands for NaN."""
        scores = tuple(float("nan") if score is None else score for score in event["scores"])
        mean, low, high = (float("nan") if event[n] is None else event[n] for n in ("mean", "low", "high"))
        return cls(event["trial_id"], mean, low, high, scores, event["opening"])
