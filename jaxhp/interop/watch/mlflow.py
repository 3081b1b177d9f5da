"""Watching a search in MLflow."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from jaxhp.engine.events import SearchBegan
from jaxhp.interop.points import Point, points
from jaxhp.interop.watch.tracker import Tracker, report_of, title
from jaxhp.packages import needed
from jaxhp.report.result import Result
from jaxhp.report.rows import table_rows
from jaxhp.space import Space
from jaxhp.trials import Status, Trial

_SEARCH, _TRIAL, _EPOCHS, _TRIALS = "jaxhp.search", "jaxhp.trial_id", "jaxhp.epochs", "jaxhp.trials"  # tags
_FACTS = ("status", "round", "epochs", "parent", "diverged_at")
_ABOUT = ("strategy", "epochs", "seed", "replicates", "folds", "finals", "metric", "mode", "epoch")


class MLflow(Tracker):
    """Logs a search to MLflow while it runs: `search.run(dir, watch=[hp.watch.MLflow("http://localhost:5000")])`.

    The search is a run, its trials are runs within it: params are a trial's config, metrics its curves by epoch and its
    `score`, tags what became of it. At the end the search's run has what was chosen, the estimate, the summary and,
    where there is a run directory, the report as an artifact.

    A server that is out of reach is asked as often and as long as MLflow is told to (MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT); the search waits meanwhile.

    Args:
      uri: of the tracking server, a database or a folder; None: as MLflow is configured.
      experiment: made where there is none; None: MLFLOW_EXPERIMENT_NAME, or "jaxhp".

    Raises:
      Error: mlflow is missing.
    """

    def __init__(self, uri: str | None = None, experiment: str | None = None) -> None:
        super().__init__()
        self._mlflow = needed("mlflow", "watch: MLflow", "mlflow", "mlflow")
        self._uri, self._experiment = uri, experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "jaxhp"
        self._client: Any = None
        self._search = self._home = self._parent = ""  # ids of the search, the experiment, and the search's run
        self._runs: dict[int, str] = {}  # trial to the id of its run
        self._status: dict[int, str] = {}

    def begin(self, about: SearchBegan) -> dict[int, int]:
        """See `Tracker.begin`; runs are found again by their tags."""
        self._client = self._mlflow.MlflowClient(self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        self._home = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._search, self._parent, self._runs, self._status, whole = about.id, "", {}, {}, {}
        for run in self._found():
            tags = run.data.tags
            if _TRIAL not in tags:
                self._parent = run.info.run_id
                continue
            self._runs[int(tags[_TRIAL])] = run.info.run_id
            if run.info.status in ("FINISHED", "FAILED"):
                whole[int(tags[_TRIAL])] = int(tags.get(_EPOCHS, -1))
        if not self._parent:
            self._parent = self._create(title(about), {})
            space = Space.from_json((about.manifest or {})["space"]).parameters
            about_it = {name: value for name, value in (about.manifest or {}).items() if name in _ABOUT}
            self._send(self._parent, [], about_it | {f"space.{name}": value for name, value in space.items()}, {})
        self._client.update_run(self._parent, status="RUNNING")
        return whole

    def there(self, trial: Trial) -> dict[str, int]:
        """See `Tracker.there`."""
        run = self._runs.get(trial.trial_id)
        if run is None:
            return {}
        known = self._client.get_run(run).data.metrics
        names = {point.name for point in points(trial) if _key(point.name) in known}
        return {name: max(m.step for m in self._client.get_metric_history(run, _key(name))) for name in names}

    def write(self, trial: Trial, new: list[Point], there: dict[str, int]) -> None:
        """See `Tracker.write`."""
        number, running = trial.trial_id, trial.status is Status.RUNNING
        if number not in self._runs:
            tags = {_TRIAL: str(number), "mlflow.parentRunId": self._parent}
            self._runs[number] = self._create(f"trial {number}", tags)
            self._status[number] = "RUNNING"
        facts = {name: value for name, value in table_rows([trial])[0].items() if name in _FACTS and value is not None}
        tags = {} if running else {f"jaxhp.{name}": value for name, value in facts.items()}
        self._send(self._runs[number], new, {} if there else trial.config, tags)
        self._stand(number, "RUNNING" if running else "FAILED" if trial.status is Status.DIVERGED else "FINISHED")

    def finish(self, result: Result) -> None:
        """See `Tracker.finish`; what stood there of an earlier choice is replaced."""
        best, estimate, at = result.best, result.estimate, len(result.trials)
        tags = {"jaxhp.chosen": best.trial_id, "mlflow.note.content": f"```\n{result.summary()}\n```"}
        tags |= {f"chosen.{name}": value for name, value in best.config.items()}
        ends = {} if estimate is None else {name: getattr(estimate, name) for name in ("mean", "low", "high")}
        new = [Point(f"estimate/{name}", at, value) for name, value in ends.items()]
        there = self._client.get_run(self._parent).data
        self._send(self._parent, [] if there.tags.get(_TRIALS) == str(at) else new, {}, tags | {_TRIALS: at})
        with report_of(result) as page:
            if page is not None:
                self._client.log_artifact(self._parent, str(page))
        self._client.set_terminated(self._parent, "FINISHED")

    def _found(self) -> Iterator[Any]:
        """Give the runs that are tagged as this search's."""
        token, tagged = "", f"tags.`{_SEARCH}` = '{self._search}'"
        while token is not None:
            page = self._client.search_runs([self._home], tagged, max_results=1000, page_token=token or None)
            yield from page
            token = page.token or None

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        made = self._client.create_run(self._home, tags={_SEARCH: self._search, **tags}, run_name=name)
        return made.info.run_id

    def _stand(self, trial: int, status: str) -> None:
        """Say of a trial's run how it stands, where it is not known yet."""
        if self._status.get(trial) == status:
            return
        if status == "RUNNING":
            self._client.update_run(self._runs[trial], status)
        else:
            self._client.set_terminated(self._runs[trial], status)
        self._status[trial] = status

    def _send(self, run: str, new: list[Point], params: Mapping[str, object], tags: Mapping[str, object]) -> None:
        """Log to a run, in as few requests as MLflow takes."""
        kinds, now = self._mlflow.entities, int(time.time() * 1000)
        parts = {
            "metrics": (1000, [kinds.Metric(_key(name), value, now, epoch) for name, epoch, value in new]),
            "params": (100, [kinds.Param(_key(name), str(value)) for name, value in params.items()]),
            "tags": (100, [kinds.RunTag(_key(name), str(value)) for name, value in tags.items()]),
        }
        requests = max(math.ceil(len(facts) / most) for most, facts in parts.values())
        for i in range(requests):
            some = {kind: facts[i * most : (i + 1) * most] for kind, (most, facts) in parts.items()}
            self._client.log_batch(run, **some)


def _key(name: str) -> str:
    """Return a name with an underscore for every character that MLflow takes in none."""
    return "/".join(re.sub(r"[^\w\-. ]", "_", part).strip(".") or "_" for part in name.split("/"))
