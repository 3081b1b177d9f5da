"""Where a live display stands: a panel in a terminal, or one in a notebook, which is replaced by the next."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jaxhp import words
from jaxhp.report.markup import element
from jaxhp.report.pieces import table
from jaxhp.report.styles import style
from jaxhp.report.table import cells_of, cut, trials_table
from jaxhp.report.telling import clock, plural, spark
from jaxhp.trials import Trial
from jaxhp.words import plain

_SHOWN = 5  # of the best trials
_EVERY_S = 0.3  # a notebook is told no more often, and keeps up
_BAR, _LEAST_BAR = 60, 8  # columns of the bar
_SURE = 0.1  # share of the work after which the time left is known well
_ROUNDS = 24  # whose best is drawn


class Now(NamedTuple):
    """How far a search is.

    Attributes:
      line: what it does.
      done, total: of its work.
      top: the best trials so far.
      metric: the name of their scores.
      left_s: seconds until it ends; None: not known yet.
      best: the best score after each round so far.
      diverged, warnings: how many there were.
    """

    line: str
    done: int
    total: int
    top: Sequence[Trial]
    metric: str
    left_s: float | None = None
    best: Sequence[float] = ()
    diverged: int = 0
    warnings: int = 0

    @property
    def share(self) -> float:
        """Return the share of the work that is done."""
        return min(self.done / max(self.total, 1), 1.0)

    def facts(self) -> list[str]:
        """Say how good the best is, how many diverged and how many warnings there were."""
        best = [f"best {self.metric} {words.number(self.top[0].score, self.top[0].stderr)}"] if self.top else []
        diverged = [f"{self.diverged:,} diverged"] if self.diverged else []
        return [*best, *diverged, *([plural(self.warnings, "warning")] if self.warnings else [])]


class Panel(Protocol):
    """Shows how far a search is until it ends."""

    def show(self, now: Now) -> None: ...
    def stop(self) -> None: ...


def panel(console: Console) -> Panel | None:
    """Open the panel that suits where this runs; None where only lines can be shown, one after another."""
    if console.is_jupyter:
        return _InNotebook()
    return _InTerminal(console) if console.is_terminal and not console.is_dumb_terminal else None


def time_left(now: Now) -> str:
    """Say how long it will take, before a tenth of the work is done only about; "" where that is not known."""
    about = "about " if now.share < _SURE else ""
    return "" if now.left_s is None else f"{about}{clock(now.left_s)} left"


def view(now: Now, width: int, *, ascii_only: bool = False) -> Iterator[RenderableType]:
    """Lay out what a terminal of so many columns shows.

    Args:
      ascii_only: whether it can show nothing else.
    """
    yield _line(now.line, width, "bold")
    told = "  ".join(filter(None, (f"{100 * now.share:.0f}%", time_left(now))))
    bar = max(min(_BAR, width - len(told) - 2), _LEAST_BAR)
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(ProgressBar(total=1.0, completed=now.share, width=bar), Text(told, no_wrap=True))
    yield row
    facts = [plain(fact) for fact in now.facts()]
    if facts:
        drawn = f"  {spark(now.best[-_ROUNDS:])}" if len(now.best) > 1 and not ascii_only else ""
        rest = "".join(f"  {fact}" for fact in facts[1:])
        yield _line(cut(facts[0], max(width - len(drawn) - len(rest), 16)) + drawn + rest, width, "")
    if now.top:
        yield trials_table(now.top, now.metric, _SHOWN, width)


def _line(text: str, width: int, look: str) -> Text:
    return Text(cut(plain(text), width), style=look, no_wrap=True)


class _InTerminal:
    def __init__(self, console: Console):
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._live.start()

    def show(self, now: Now) -> None:
        options = self._live.console.options
        self._live.update(Group(*view(now, options.max_width, ascii_only=options.ascii_only)), refresh=True)

    def stop(self) -> None:
        self._live.stop()


class _InNotebook:
    """One output of a cell, renewed a few times a second; its last line stays."""

    def __init__(self):
        self._output: Any = None
        self._last: Now | None = None
        self._said_s = -_EVERY_S

    def show(self, now: Now) -> None:
        self._last = now
        if time.perf_counter() - self._said_s >= _EVERY_S:
            self._said_s = time.perf_counter()
            self._tell(now, _SHOWN)

    def stop(self) -> None:
        if self._last is not None:
            self._tell(self._last, 0)

    def _tell(self, now: Now, shown: int) -> None:
        from IPython.display import HTML, display

        track = element("div", element("div", style=f"width:{100 * now.share:.1f}%"), class_="track")
        headings, *rows = cells_of(now.top, now.metric, shown)
        best = table(headings, rows, "Best so far") if rows else None
        told = "  ".join(filter(None, (now.line, time_left(now))))
        facts = element("div", "  ".join([*now.facts(), *([spark(now.best)] if len(now.best) > 1 else [])]))
        output = element("div", style(pictures=False), element("div", told), track, facts, best, class_="jaxhp")
        if self._output is None:
            self._output = display(HTML(output), display_id=True)
        else:
            self._output.update(HTML(output))
