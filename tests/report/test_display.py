import io

import numpy as np
from rich.console import Console

from jaxhp.engine.events import Progressed, RoundBegan, RoundFinished, SearchBegan
from jaxhp.report.display import Display
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
        display.observe(RoundBegan(2, 3, 1, drafts))
        display.observe(Progressed(drafts.trial_id, np.float32([0.5, 0.75]), 1, 2, 1.0, True, 0))
    first, second = text.getvalue().splitlines()
    assert first.endswith("best error 0.2500")
    assert second.endswith("best error 0.1250")
