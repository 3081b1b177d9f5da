import io
import re
import sys
from types import ModuleType

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from jaxhp.engine.events import (
    Compiling,
    FinalsBegan,
    Noted,
    Progressed,
    RoundBegan,
    RoundFinished,
    SearchBegan,
    Warned,
)
from jaxhp.objectives import Objectives
from jaxhp.report import panels
from jaxhp.report.display import Display
from jaxhp.report.front_line import FrontLine
from jaxhp.report.panels import Now, view
from jaxhp.trials import Status, Trial, Trials


def ran(trial_id: int, score: float, round: int = 0, **config) -> Trial:
    status = Status.DIVERGED if np.isnan(score) else Status.COMPLETE
    return Trial(trial_id, config or {"lr": 0.1}, round, status, 1, score)


class Speed:
    """A search that takes four seconds more."""

    member_epochs_s = 20.0

    def left(self) -> float:
        return 4.2


def train(display: Display, found: list[Trial], round: int = 0, epochs: int = 3, calls: int = 1) -> None:
    drafts = Trials.of(found)
    display.observe(RoundBegan(round, 2, epochs, drafts))
    for call in range(calls):
        display.observe(Progressed(drafts.trial_id, drafts.score, epochs - calls + call + 1, 5, 0.1, False, 0))
    display.observe(RoundFinished(round, drafts, kept=False))


def test_plain_lines_one_a_round_where_there_is_no_terminal():
    text = io.StringIO()
    with Display(100, "accuracy", epochs=9, speed=Speed(), console=Console(file=text, width=100)) as display:
        display.observe(Noted("resumed [here]"))
        train(display, [ran(4, 0.75), ran(5, np.nan)], calls=3)
        display.observe(Warned("careful"))
        train(display, [ran(6, 0.5)], 1, 9)
        display.observe(FinalsBegan([ran(4, 0.75)], 9))
    assert text.getvalue().splitlines() == [
        "resumed [here]",
        "round 1/2 to 3 of 9 epochs  epoch 3/3  20 member-epochs/s  0:04 left  best accuracy 0.7500  1 diverged",
        "careful",
        "round 2/2  epoch 9/9  20 member-epochs/s  0:04 left  best accuracy 0.7500  1 diverged  1 warning",
        "finals  1 trial on fresh replicates  0:04 left  best accuracy 0.7500  1 diverged  1 warning",
    ]


WIDE = {"学習率 [red]\x1b[2J": 0.1, "🚀" * 100: 0.5, "weight_decay": 1e-5, "momentum": 0.9}


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_a_panel_fits_its_terminal_whatever_names_there_are(width):
    top = [ran(i, 0.9 - 0.01 * i, **WIDE) for i in range(9)]
    now = Now("round 1/2 " + "🚀" * 100, 30, 120, top, "准确率" * 40, 75.0, [0.5, 0.8, 0.9], 3, 1)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ={})
    with console.capture() as shown:
        console.print(Group(*view(now, width)))
    lines = shown.get().splitlines()
    assert len(lines) == 3 + 1 + 5
    assert max(map(cell_len, lines)) <= width
    assert "25%  1:15 left" in lines[1]
    assert "▁▆█" in lines[2]
    assert "3 diverged" in lines[2]
    assert "\x1b" not in shown.get()
    assert all(f"0.{90 - i}" in line for i, line in enumerate(lines[4:]))
    assert (f"+{len(WIDE)} more" in lines[3]) == (width == 40)


def test_a_live_panel_in_a_terminal_with_the_top_five():
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    with Display(100, "accuracy", console=console) as display:
        train(display, [ran(i, 0.75) for i in range(9)])
        assert "round 1/2  epoch 3/3" in text.getvalue()
        assert text.getvalue().count("0.7500") == 1 + 5


def test_a_pipe_gets_no_control_codes_and_NO_COLOR_no_colours():
    moves = r"\x1b\[(\?25[lh]|\d*[AKG]|[01]?m)"  # what a live panel needs, and bold
    for terminal, allowed in ((False, r"$^"), (True, moves)):
        text = io.StringIO()
        environ = {"NO_COLOR": "1", "TERM": "xterm-256color"}
        console = Console(file=text, width=100, _environ=environ, force_terminal=terminal)
        with Display(100, "accuracy", console=console) as display:
            train(display, [ran(4, 0.75)])
        assert "\x1b" not in re.sub(allowed, "", text.getvalue())


def test_quiet_says_nothing():
    text = io.StringIO()
    with Display(100, "accuracy", quiet=True, console=Console(file=text)) as display:
        display.note("x")
        train(display, [ran(0, np.nan)])
    assert not text.getvalue()


def test_the_best_is_that_of_the_whole_search_also_where_an_earlier_run_found_it():
    text = io.StringIO()
    drafts = Trials.of([Trial(1, {"lr": 0.2}, 1), Trial(2, {"lr": 0.3}, 1)])
    with Display(4, "error", "min", console=Console(file=text, width=100)) as display:
        display.observe(SearchBegan(Trials.of([ran(0, 0.25)])))
        display.observe(RoundBegan(1, 2, 1, drafts))
        display.observe(Progressed(drafts.trial_id, np.float32([0.5, np.nan]), 1, 2, 1.0, True, 0))
        display.observe(RoundFinished(1, Trials.of([ran(1, 0.5), ran(2, 0.125)]), kept=False))
        drafts = Trials.of([Trial(3, {"lr": 0.2}, 2), Trial(4, {"lr": 0.3}, 2)])
        display.observe(RoundBegan(2, 3, 1, drafts))
        display.observe(Progressed(drafts.trial_id, np.float32([0.5, 0.75]), 1, 2, 1.0, True, 0))
        assert display._so_far("").best == [0.25, 0.125, 0.125]
        display.observe(RoundFinished(2, Trials.of([ran(3, 0.5), ran(4, np.nan)]), kept=False))
    first, second = text.getvalue().splitlines()
    assert first.endswith("best error 0.1250  1 diverged")
    assert second.endswith("best error 0.1250  2 diverged")


def test_compiling_is_said():
    text = io.StringIO()
    with Display(100, "error", "min", console=Console(file=text, width=100)) as display:
        display.observe(Compiling(1, 2, {"width": 8}))
        display.observe(Compiling(2, 2, {"width": 16}))
    assert text.getvalue().splitlines() == ["compiling group 1 of 2: width=8", "compiling group 2 of 2: width=16"]


def test_a_live_panel_says_what_is_compiled_above_the_best_so_far():
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    with Display(100, "accuracy", console=console) as display:
        display.observe(SearchBegan(Trials.of([Trial(4, {"lr": 0.1}, 0, Status.COMPLETE, 1, 0.75)])))
        display.observe(Compiling(1, 1, {}))
        assert "compiling" in text.getvalue()
        assert "0.7500" in text.getvalue()


def test_with_static_groups_the_best_is_that_of_the_search_and_not_of_the_group_in_training():
    """Group by group: the second group's call is worse than what the first one reached in this round."""
    text = io.StringIO()
    drafts = Trials.of([Trial(i, {"width": 8 * (i + 1)}) for i in range(4)])
    with Display(8, "accuracy", console=Console(file=text, width=100)) as display:
        display.observe(SearchBegan(Trials.of(())))
        display.observe(RoundBegan(0, 1, 2, drafts))
        display.observe(Progressed(np.int32([1, 3]), np.float32([0.75, 0.5]), 2, 4, 1.0, False, 0))
        display.observe(Progressed(np.int32([0, 2]), np.float32([0.25, np.nan]), 2, 4, 1.0, True, 0))
        now = display._so_far("")
    assert (now.top[0].trial_id, now.top[0].score, now.diverged) == (1, 0.75, 1)


def test_in_a_notebook_one_output_is_renewed_a_few_times_a_second_and_its_last_line_stays(monkeypatch):
    clock, told = [0.0], []

    class Output:
        update = staticmethod(told.append)

    stub = ModuleType("IPython.display")
    stub.HTML, stub.display = str, lambda html, display_id: told.append(html) or Output
    monkeypatch.setitem(sys.modules, "IPython.display", stub)
    monkeypatch.setattr(panels.time, "perf_counter", lambda: clock[0])
    console = Console(force_jupyter=True, file=io.StringIO())
    evil = Trials.of([Trial(4, {"<script>lr": 0.1})])
    with Display(100, "accuracy", console=console) as display:
        display.observe(RoundBegan(0, 2, 10, evil))
        for epoch in range(1, 11):  # a second
            display.observe(Progressed(evil.trial_id, np.float32([0.75]), epoch, 5, 0.1, epoch == 10, 0))
            clock[0] += 0.1
    assert 3 <= len(told[:-1]) <= 5
    assert "round 1/2  epoch 1/10" in told[0]
    assert "width:5.0%" in told[0]
    assert "0.7500" in told[0]
    assert "<script>" not in "".join(told)
    assert "epoch 10/10" in told[-1]
    assert "width:50.0%" in told[-1]
    assert told[-1].count("0.7500") == 1  # the best, without the table
    assert max(map(len, told)) < 5000


def test_the_front_of_several_objectives_is_said_after_every_round():
    """Its size, and the best of each objective; of a trial that goes on, as it is now."""

    def trials(*points):
        facts = {"status": Status.COMPLETE, "epochs": 1}
        of = [(i, {"valid_error": np.float32([e]), "valid_size": np.float32([s])}) for i, e, s in points]
        return Trials.of(Trial(i, {}, score=float(c["valid_error"][0]), curve=c, **facts) for i, c in of)

    objectives = Objectives(("error", "size"), ("min", "max"))
    said: list[str] = []
    front = FrontLine(objectives, said.append)
    for number, found in enumerate([trials((0, 0.5, 3), (1, 0.25, 2), (2, 0.75, 2)), trials((1, 0.5, 2))]):
        front.observe(RoundBegan(number, 2, 1, found))
        front.observe(RoundFinished(number, found, False))
    assert said == [
        "round 1/2  front of 2 trials; best error 0.2500, size 3.000",
        "round 2/2  front of 1 trial; best error 0.5000, size 3.000",
    ]
