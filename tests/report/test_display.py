import io
import sys
from types import ModuleType

import numpy as np
from rich.console import Console

from jaxhp.engine.events import Compiling, Progressed, RoundBegan, RoundFinished, SearchBegan
from jaxhp.objectives import Objectives
from jaxhp.report import panels
from jaxhp.report.display import Display
from jaxhp.report.front_line import FrontLine
from jaxhp.trials import Status, Trial, Trials

TOP = [Trial(4, {"lr": 0.1}, score=0.75)]


def test_plain_lines_where_there_is_no_terminal():
    text = io.StringIO()
    with Display(100, "accuracy", console=Console(file=text, width=100)) as display:
        display.note("resumed [here]")
        display.skip(20)
        display.update("round 1/2", 3, 3, 40, 2.0, TOP)
        display.update("round 2/2", 1, 3, 20, 1.0, TOP)  # too soon for another line
    assert text.getvalue().splitlines() == [
        "resumed [here]",
        "round 1/2  epoch 3/3  20 member-epochs/s  0:02 left  best accuracy 0.7500",
    ]


def test_a_live_panel_in_a_terminal_with_the_top_five():
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    with Display(100, "accuracy", console=console) as display:
        display.update("round 1/2", 2, 3, 50, 1.0, TOP * 9)
        assert "round 1/2  epoch 2/3" in text.getvalue()
        assert text.getvalue().count("0.7500") == 5


def test_quiet_says_nothing():
    text = io.StringIO()
    with Display(100, "accuracy", quiet=True, console=Console(file=text)) as display:
        display.note("x")
        display.update("round 1/1", 1, 1, 1, 1.0, [Trial(0, {}, score=np.nan)])
    assert not text.getvalue()


def test_the_best_is_that_of_the_whole_search_also_where_an_earlier_run_found_it():
    def ran(trial_id: int, score: float) -> Trial:
        return Trial(trial_id, {"lr": 0.1}, 0, Status.COMPLETE, 1, score)

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
    first, second = text.getvalue().splitlines()
    assert first.endswith("best error 0.2500")
    assert second.endswith("best error 0.1250")


def test_compiling_is_said_and_neither_it_nor_a_first_call_counts_for_the_time_left():
    text = io.StringIO()
    drafts = Trials.of([Trial(0, {"lr": 0.2})])
    with Display(100, "error", "min", console=Console(file=text, width=100)) as display:
        display.observe(Compiling(1, 2, {"width": 8}))
        display.observe(Compiling(2, 2, {"width": 16}))
        display.observe(RoundBegan(0, 1, 2, drafts))
        display.observe(Progressed(drafts.trial_id, np.float32([0.5]), 2, 10, 1000.0, False, 0, fresh=True))
        display.observe(Progressed(drafts.trial_id, np.float32([0.5]), 2, 10, 0.5, True, 0))
    assert text.getvalue().splitlines() == [
        "compiling group 1 of 2: width=8",
        "compiling group 2 of 2: width=16",
        "round 1/1  epoch 2/2  best error 0.5000",
        "round 1/1  epoch 2/2  20 member-epochs/s  0:04 left  best error 0.5000",  # 80 left at 10 in half a second
    ]


def test_a_live_panel_says_what_is_compiled_above_the_best_so_far():
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True)
    with Display(100, "accuracy", console=console) as display:
        display.observe(SearchBegan(Trials.of([Trial(4, {"lr": 0.1}, 0, Status.COMPLETE, 1, 0.75)])))
        display.observe(Compiling(1, 1, {}))
        assert "compiling\n" in text.getvalue()
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
    assert [line[-6:] for line in text.getvalue().splitlines()] == ["0.7500", "0.7500"]


def test_in_a_notebook_one_output_is_renewed_a_few_times_a_second_and_its_last_line_stays(monkeypatch):
    clock, told = [0.0], []

    class Output:
        update = staticmethod(told.append)

    stub = ModuleType("IPython.display")
    stub.HTML, stub.display = str, lambda html, display_id: told.append(html) or Output
    monkeypatch.setitem(sys.modules, "IPython.display", stub)
    monkeypatch.setattr(panels.time, "perf_counter", lambda: clock[0])
    console = Console(force_jupyter=True, file=io.StringIO())
    evil = Trial(4, {"<script>lr": 0.1}, score=0.75)
    with Display(100, "accuracy", console=console) as display:
        for epoch in range(1, 11):  # a second
            display.update("round 1/2", epoch, 10, 5, 0.1, [evil])
            clock[0] += 0.1
    assert 3 <= len(told[:-1]) <= 5
    assert "round 1/2  epoch 1/10" in told[0]
    assert "width:5.0%" in told[0]
    assert "0.7500" in told[0]
    assert "<script>" not in "".join(told)
    assert "epoch 10/10" in told[-1]
    assert "width:50.0%" in told[-1]
    assert "0.7500" not in told[-1]
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
