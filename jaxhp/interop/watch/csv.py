"""Watching a search in a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from jaxhp.engine.events import SearchBegan
from jaxhp.interop.points import Point
from jaxhp.interop.table import as_csv, csv_lines
from jaxhp.interop.watch.tracker import Tracker
from jaxhp.report.result import Result
from jaxhp.space import Space
from jaxhp.store.files import located, refuse_link, write_out
from jaxhp.trials import Trial
from jaxhp.values import Error

_COLUMNS = ("search", "trial_id", "round", "epoch", "name", "value")


class CSV(Tracker):
    """Logs a search to a file while it runs: `search.run(dir, watch=[hp.watch.CSV("curves.csv")])`.

    A row is one number of a trial, `name` such as "accuracy/valid" or "score", after an epoch; `search` tells searches
    apart that share the file, and `config.<name>` has the trial's config. At the end, what became of all trials and
    which was chosen stands beside it, for `curves.csv` in `curves.trials.csv`, as `jaxhp export --to csv` writes it.

    Args:
      path: made where there is none, else appended to.

    Raises:
      Error: it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = located(path, "watch: CSV path")
        refuse_link(self._path)
        try:
            open(self._path, "ab").close()
        except OSError as error:
            raise Error(f"watch: CSV path: expected a writable file, got {path}: {error.strerror}") from None
        self._search, self._names = "", []
        self._known: dict[int, dict[str, int]] = {}

    def begin(self, about: SearchBegan) -> dict[int, int]:
        """See `Tracker.begin`; all that is there is read at once.

        Raises:
          Error: the file has other columns.
        """
        assert about.manifest is not None
        space = Space.from_json(about.manifest["space"])
        self._search, self._names, self._known = about.id, [*space.parameters, *space.fixed], {}
        header = [*_COLUMNS, *(f"config.{name}" for name in self._names)]
        content = self._path.read_bytes() if self._path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]  # the last row may have been cut off
        first, *rows = csv.reader(io.StringIO(whole.decode(errors="replace"), newline="")) if content else [header]
        if first != header:
            raise Error(f"{self._path} holds something else: its first columns are {','.join(first)[:80]}")
        if len(whole) < len(content):
            with open(self._path, "r+b") as file:
                file.truncate(len(whole))
        if not content:
            self._append([header])
        for search, trial, _, epoch, name, *_ in rows:
            if search == about.id:
                known = self._known.setdefault(int(trial), {})
                known[name] = max(int(epoch), known.get(name, 0))
        return {}

    def there(self, trial: Trial) -> dict[str, int]:
        """See `Tracker.there`."""
        return self._known.get(trial.trial_id, {})

    def write(self, trial: Trial, new: list[Point], there: dict[str, int]) -> None:
        """See `Tracker.write`."""
        config = [trial.config.get(name) for name in self._names]
        of = (self._search, trial.trial_id, trial.round)
        self._append([[*of, epoch, name, value, *config] for name, epoch, value in new])

    def finish(self, result: Result) -> None:
        """See `Tracker.finish`."""
        if self._path.is_file():  # beside a device there is nothing
            write_out(self._path.with_suffix(f".trials{self._path.suffix}"), as_csv(result))

    def _append(self, rows: Sequence[Sequence[object]]) -> None:
        with open(self._path, "ab") as file:
            file.write(csv_lines(rows))
