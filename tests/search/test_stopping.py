"""What Ctrl-C leaves of a search: its finished rounds, in the exception or in its directory."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from small_search import shared

import jaxhp as hp
from jaxhp.engine.events import RoundBegan
from jaxhp.search.signals import Signals


def interrupted(number, directory=None):
    """Run a search until a round begins, where a person presses Ctrl-C."""

    def press(event):
        if isinstance(event, RoundBegan) and event.round == number:
            raise KeyboardInterrupt

    return hp.Search.run(shared("random"), directory, quiet=True, watch=[press])


def test_without_a_directory_the_exception_has_the_finished_rounds():
    with pytest.raises(hp.Stopped) as stopped:
        interrupted(1)
    text = "stopped; 1 of 2 rounds are finished and kept: except hp.Stopped as e: result = e.result"
    assert str(stopped.value) == text
    result, whole = stopped.value.result, shared("random").run(quiet=True)
    first = whole.trials[whole.trials.round == 0]
    finished = result.trials[result.trials.round == 0]
    np.testing.assert_array_equal(finished.trial_id, first.trial_id)
    np.testing.assert_array_equal(finished.score, first.score)
    assert result.best.trial_id == first.trial_id[0]
    assert result.best.params["w"].shape == (4, 2)
    assert result.summary().startswith("status    stopped by SIGINT: 1 of 2 rounds finished, round 2 under way")
    assert "best.safetensors" not in result.summary()


def test_before_a_round_is_finished_there_is_nothing_to_keep():
    with pytest.raises(hp.Stopped, match="no round was finished, so nothing is left") as stopped:
        interrupted(0)
    assert stopped.value.result is None


def test_a_directory_has_them_anyway(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(1, tmp_path)
    assert hp.Result.load(tmp_path).stage.done == 1


def test_a_second_ctrl_c_where_a_persons_variables_live_ends_nothing(monkeypatch, capsys):
    signals = Signals()

    def press_twice():
        with signals:
            os.kill(os.getpid(), signal.SIGINT)
            while signals.received is None:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                time.sleep(0.001)

    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background ignores
    try:
        with pytest.raises(KeyboardInterrupt):
            press_twice()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert signals.received is signal.SIGINT
    assert "once more to stop at once" in capsys.readouterr().err
