"""Watching a search in TensorBoard."""

from __future__ import annotations

from pathlib import Path

from jaxhp.engine.events import SearchBegan
from jaxhp.interop.points import Point
from jaxhp.interop.watch.tracker import Tracker, folder, title
from jaxhp.objectives import Objectives
from jaxhp.packages import needed
from jaxhp.report.result import Result
from jaxhp.space import Space
from jaxhp.trials import Trial


class TensorBoard(Tracker):
    """Logs a search for TensorBoard while it runs: `search.run(dir, watch=[hp.watch.TensorBoard("logs")])`.

    In `dir` a search has a folder of its own, named as its run directory, which has a folder for each trial, with its
    curves as scalars and its config in the HParams tab; and at its end the summary as text, and `estimate/mean`, `low`
    and `high` as scalars at the number of trials.

    Args:
      dir: what `tensorboard --logdir` is given; made where there is none.

    Raises:
      Error: it cannot be written, or tensorboardX is missing.
    """

    def __init__(self, dir: str | Path) -> None:
        super().__init__()
        needed("tensorboardX", "watch: TensorBoard", "tensorboardX", "tensorboard")
        from jaxhp.interop import event_file, tensorboard_logs

        self._files, self._logs = event_file, tensorboard_logs
        self._dir = folder(dir, "TensorBoard")
        self._folder = self._dir

    def begin(self, about: SearchBegan) -> dict[int, int]:
        """See `Tracker.begin`; the files are quick to ask, trial by trial."""
        assert about.manifest is not None
        self._folder = self._dir / title(about)
        if not self._files.last_steps(self._folder):
            of, record = Space.from_json(about.manifest["space"]), about.manifest.get("objectives")
            others = Objectives.from_json(record).measured[1:] if record else ()
            self._files.append(self._folder, [(0, self._logs.experiment(of, about.manifest["metric"], others))])
        return {}

    def there(self, trial: Trial) -> dict[str, int]:
        """See `Tracker.there`."""
        return self._files.last_steps(self._of(trial))

    def write(self, trial: Trial, new: list[Point], there: dict[str, int]) -> None:
        """See `Tracker.write`."""
        self._files.append(self._of(trial), self._logs.entries(trial, new, there))

    def finish(self, result: Result) -> None:
        """See `Tracker.finish`."""
        at, there = len(result.trials), self._files.last_steps(self._folder)
        if there.get("summary", 0) < at:
            found = [(at, self._logs.text("summary", result.summary()))]
            if result.estimate is not None:
                ends = {name: getattr(result.estimate, name) for name in ("mean", "low", "high")}
                found += [(at, self._logs.scalar(f"estimate/{name}", value)) for name, value in ends.items()]
            self._files.append(self._folder, found)

    def _of(self, trial: Trial) -> Path:
        return self._folder / f"trial_{trial.trial_id:05d}"
