"""Watching a search in W&B."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxhp.engine.events import SearchBegan
from jaxhp.interop.points import SCORE, Point, points
from jaxhp.interop.wandb_files import logged
from jaxhp.interop.watch.tracker import Tracker, folder, report_of, title
from jaxhp.packages import needed
from jaxhp.report.result import Result
from jaxhp.report.rows import table_rows
from jaxhp.trials import Status, Trial

_ID = 16  # letters of a search's id that its runs' ids begin with


class WandB(Tracker):
    """Logs a search to W&B while it runs: `search.run(dir, watch=[hp.watch.WandB("my-project")])`.

    The search is a group: a run for each trial, with its config, its curves by epoch as step, and what became of it in
    the summary; and a run of the job type "search", which at the end has what was chosen, the estimate and, where there
    is a run directory, the report as an artifact. Offline (WANDB_MODE=offline) it is logged for `wandb sync`.

    A run of W&B takes some tenths of a second to begin, and each trial needs one: this is for hundreds of trials, not
    for thousands.

    Args:
      project: made where there is none.
      dir: where W&B keeps its files; None: as W&B is configured.

    Raises:
      Error: wandb is missing, or `dir` cannot be written.
    """

    def __init__(self, project: str = "jaxhp", dir: str | Path | None = None) -> None:
        super().__init__()
        self._wandb = needed("wandb", "watch: WandB", "wandb", "wandb")
        self._project, self._dir = project, None if dir is None else folder(dir, "WandB")
        self._id = self._group = ""
        self._search: Any = None  # its run
        self._runs: dict[int, Any] = {}  # those that are open, by trial
        self._known: dict[int, dict[str, int]] = {}  # what the files on this machine have of trials

    def begin(self, about: SearchBegan) -> dict[int, int]:
        """See `Tracker.begin`; what was logged on this machine is read from W&B's own files."""
        self.pause()
        self._id, self._group, self._known = about.id[:_ID], title(about), {}
        self._search = self._run(self._id, self._group, dict(about.manifest or {}), "search")
        whole: dict[int, int] = {}
        for path in sorted(Path(self._search.settings.wandb_dir).glob(f"*run-*-{self._id}-*/run-{self._id}-*.wandb")):
            trial, found = int(path.stem.rpartition("-")[2]), logged(path)
            before = self._known.get(trial, {})
            self._known[trial] = before | {n: max(last, before.get(n, 0)) for n, last in found.last.items()}
            if found.ended and "epochs" in found.summary:
                whole[trial] = max(json.loads(found.summary["epochs"]), whole.get(trial, 0))
        return whole

    def there(self, trial: Trial) -> dict[str, int]:
        """See `Tracker.there`; of a run that was logged elsewhere the server knows the last step."""
        if trial.trial_id in self._known:
            return self._known[trial.trial_id]
        last = self._of(trial).step - 1
        return {point.name: last for point in points(trial) if point.name != SCORE} if last > 0 else {}

    def write(self, trial: Trial, new: list[Point], there: dict[str, int]) -> None:
        """See `Tracker.write`; the score stands in the summary."""
        run, rows = self._of(trial), dict[int, dict[str, float]]()
        for name, epoch, value in new:
            if name != SCORE:
                rows.setdefault(epoch, {})[name] = value
        for epoch, row in sorted(rows.items()):
            run.log(row, step=epoch, commit=True)
        if trial.status is not Status.RUNNING:
            facts = {
                name: value for name, value in table_rows([trial])[0].items() if name not in ("trial_id", "config")
            }
            run.summary.update({name: value for name, value in facts.items() if value is not None})
            self._runs.pop(trial.trial_id).finish(exit_code=int(trial.status is Status.DIVERGED))

    def finish(self, result: Result) -> None:
        """See `Tracker.finish`."""
        best, estimate = result.best, result.estimate
        ends = {} if estimate is None else {f"estimate/{n}": getattr(estimate, n) for n in ("mean", "low", "high")}
        told = {"chosen": best.trial_id} | {f"chosen.{name}": value for name, value in best.config.items()}
        self._search.summary.update({**told, **ends, "trials": len(result.trials)})
        with report_of(result) as page:
            if page is not None:
                artifact = self._wandb.Artifact(f"report-{self._id}", type="report")
                artifact.add_file(str(page))
                self._search.log_artifact(artifact)
            self.pause()

    def pause(self) -> None:
        """Close what is open; a run that goes on is opened again."""
        for run in (*self._runs.values(), self._search):
            if run is not None:
                run.finish()
        self._runs, self._search = {}, None

    def _of(self, trial: Trial) -> Any:
        number = trial.trial_id
        if number not in self._runs:
            self._runs[number] = self._run(f"{self._id}-{number}", f"trial {number}", dict(trial.config), "trial")
        return self._runs[number]

    def _run(self, id: str, name: str, config: Mapping[str, object], kind: str) -> Any:
        quiet = self._wandb.Settings(console="off", silent=True, x_disable_stats=True)
        return self._wandb.init(
            project=self._project,
            dir=self._dir,
            id=id,
            name=name,
            group=self._group,
            job_type=kind,
            config=config,
            resume="allow",
            reinit="create_new",
            settings=quiet,
        )
