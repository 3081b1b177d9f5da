"""What a search does for its result: what takes its task to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jaxhp.report.tested import Tested
from jaxhp.selection.stretches import Stretch

if TYPE_CHECKING:
    pass


class Retrainer(Protocol):
    """Trains again what a search has trained."""

    def test(
        self, trial_id: int, history: Sequence[Stretch], directory: Path | None, opened: int, seeds: int
    ) -> Tested:
        """Test a trial; see `Result.test`.

        Args:
          history: how it was trained.
          directory: of the run.
          opened: how many times the test data was opened before.
          seeds: fresh replicates.
        """
        ...
