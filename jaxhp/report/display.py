"""What a person sees while a search runs: a live panel in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from jaxhp.report.table import trials_table
from jaxhp.trials import Trial


class Display:
    """Round, epoch, members a second, time left and the current top five.

    Args:
      total: member-epochs of the whole search.
      metric: the name of the score.
      quiet: show nothing.
    """

    def __init__(self, total: int, metric: str, *, quiet: bool = False, console: Console | None = None):
        self.total, self.metric, self.quiet = total, metric, quiet
        self.console = console or Console()
        self.done, self.began, self.training_s, self.trained = 0, time.perf_counter(), 0.0, 0
        self._live: Live | None = None
        self._said = 0.0

    def __enter__(self) -> Display:
        if not self.quiet and self.console.is_terminal:
            self._live = Live(console=self.console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def skip(self, member_epochs: int) -> None:
        """Work that an earlier run of this search has done."""
        self.done += member_epochs

    def update(self, label: str, epoch: int, epochs: int, member_epochs: int, seconds: float, top: list[Trial]) -> None:
        """After a call of the step: what was trained, how long it took, and the best trials so far."""
        self.done += member_epochs
        self.trained += member_epochs
        self.training_s += seconds
        rate = self.trained / max(self.training_s, 1e-9)
        left = max(self.total - self.done, 0) / max(rate, 1e-9)
        line = f"{label}  epoch {epoch}/{epochs}  {rate:,.0f} member-epochs/s  {_clock(left)} left"
        if self._live is not None:
            bar = ProgressBar(total=max(self.total, 1), completed=min(self.done, self.total), width=60)
            self._live.update(Group(Text(line), bar, trials_table(top, self.metric, 5)), refresh=True)
        elif not self.quiet and (epoch == epochs or time.perf_counter() - self._said > 5):
            self._said = time.perf_counter()
            best = top[0].score if top and np.isfinite(top[0].score) else float("nan")
            self.note(f"{line}  best {self.metric} {best:.4f}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"
