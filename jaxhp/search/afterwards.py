"""What a search does once it has ended, or has a result: test, and give the networks that it has trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxhp.report.tested import Tested
from jaxhp.search.groups import Groups
from jaxhp.search.sealed import Retraining, open_test
from jaxhp.selection.stretches import Stretch


@dataclass(frozen=True, eq=False)
class Afterwards:
    """Trains again what a search has trained; a `Retrainer`.

    Attributes:
      groups: of the search.
      how: a config is trained anew.
    """

    groups: Groups
    how: Retraining

    def test(
        self, trial_id: int, history: Sequence[Stretch], directory: Path | None, opened: int, seeds: int
    ) -> Tested:
        """See `Retrainer.test`."""
        return open_test(self.groups.spec, self.how, trial_id, history, directory, opened, seeds)
