"""What a person reads of a search that is not finished, or that has no finals."""

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.report.stage import NO_FINALS, RUNGS
from jaxhp.store.files import write_json
from jaxhp.store.ledger import Ledger, Round, Saved
from jaxhp.trials import Status, Trial, Trials


def trial(i: int, epochs: int, score: float) -> Trial:
    status = Status.DIVERGED if np.isnan(score) else Status.STOPPED
    return Trial(i, {"lr": 0.1 * (i + 1)}, 0, status, epochs, score, 0.011, diverged_at=2 if np.isnan(score) else 0)


@pytest.fixture
def begun(tmp_path):
    """Three trials to 3 epochs, of which the best is to go on to 9: about to begin its first round."""
    manifest = {"metric": "accuracy", "mode": "max", "space": hp.Space(lr=hp.Uniform(0, 1)).to_json()}
    with Ledger(tmp_path, write=True) as ledger:
        write_json(tmp_path / "manifest.json", manifest)
        ledger.event("begun")
        ledger.set_meta(RUNGS, "[[3, 3], [1, 9]]")
        ask(ledger, 0, [0, 1, 2], 3)
    return tmp_path


def ask(ledger: Ledger, number: int, ids: list[int], epochs: int) -> None:
    drafts = Trials.of(Trial(i, {"lr": 0.1 * (i + 1)}) for i in ids)
    ledger.begin(
        Round(number, epochs, np.zeros((len(ids), 1), "<f4"), np.full(len(ids), -1, "<i4"), drafts.trial_id), drafts
    )


def end(ledger: Ledger, number: int, trials: list[Trial]) -> None:
    ledger.finish(number, Trials.of(trials), np.float32([t.score for t in trials]), 1.0)


def summary(directory) -> list[str]:
    found = {hp.Result.load(directory, top).summary() for top in (None, 1)}  # quick or whole, it says the same
    assert len(found) == 1
    return found.pop().splitlines()


def test_before_its_first_round_is_finished(begun):
    assert summary(begun) == [
        "status    in training, or killed: 0 of 2 rounds finished, round 1 under way (3 trials to 3 epochs)",
        "best yet  none: no round is finished",
    ]


def test_between_rounds_it_says_how_far_it_is_the_best_yet_and_whether_its_network_is_saved(begun):
    with Ledger(begun, write=True) as ledger:
        end(ledger, 0, [trial(0, 3, 0.5), trial(1, 3, 0.625), trial(2, 3, float("nan"))])
        ask(ledger, 1, [1], 9)
        ledger.event("stopped", signal="SIGTERM")
    lines = summary(begun)
    assert lines == [
        "status    stopped by SIGTERM: 1 of 2 rounds finished, round 2 under way (1 trial to 9 epochs)",
        "best yet  trial 1: lr=0.2",
        "score     accuracy 0.625 (trial 1): the best score at 3 epochs, biased by the choice",
        "network   not saved yet; best.safetensors is written when the search ends",
    ]
    with Ledger(begun, write=True) as ledger:
        ledger.name_checkpoint(Saved(1, 0, True, "00000-000001", "0" * 64))
        ledger.event("resume")
    again = summary(begun)
    assert again[0].startswith("status    in training, or killed: 1 of 2")
    assert again[3] == "network   a checkpoint has it; best.safetensors is written when the search ends"
    with pytest.raises(hp.Error, match="expected a finished search"):
        _ = hp.Result.load(begun).best.params


def test_a_checkpoint_of_another_round_has_not_got_it(begun):
    with Ledger(begun, write=True) as ledger:
        end(ledger, 0, [trial(0, 3, 0.5), trial(1, 3, 0.625), trial(2, 3, float("nan"))])
        ask(ledger, 1, [1], 9)
        end(ledger, 1, [trial(1, 9, 0.75)])
        ledger.name_checkpoint(Saved(1, 0, True, "00000-000001", "0" * 64))
    assert summary(begun)[0] == "status    in training, or killed: 2 of 2 rounds finished, not its finals"
    assert summary(begun)[3].startswith("network   not saved yet")


def test_the_raw_best_is_the_best_of_those_trained_longest_and_not_the_best_score_seen(begun):
    with Ledger(begun, write=True) as ledger:
        end(ledger, 0, [trial(0, 3, 0.875), trial(1, 3, 0.9375), trial(2, 3, 0.5)])
        ask(ledger, 1, [1], 9)
        end(ledger, 1, [trial(1, 9, 0.75)])
        ledger.set_meta("finished", "yes")
    raw = hp.Result.load(begun).raw_best
    assert (raw.trial_id, raw.score, raw.epochs) == (1, 0.75, 9)
    assert "raw best  accuracy 0.750 (trial 1): the best score at 9 epochs, biased by the choice" in summary(begun)


def test_while_every_trial_has_diverged(begun):
    with Ledger(begun, write=True) as ledger:
        end(ledger, 0, [trial(i, 3, float("nan")) for i in range(3)])
    assert summary(begun)[1:] == [
        "best yet  none: every trial so far diverged, 3 trials in epoch 2",
        "longest   trial 0, diverged in epoch 2: lr=0.1",
        "tried     lr 0.1000 to 0.3000; search elsewhere, or mend the task",
    ]


def test_no_finals_says_why_and_what_to_pass(begun):
    with Ledger(begun, write=True) as ledger:
        end(ledger, 0, [trial(0, 3, 0.5), trial(1, 3, 0.625), trial(2, 3, float("nan"))])
        ledger.set_meta(NO_FINALS, "it is too small")
        ledger.set_meta("finished", "yes")
    assert summary(begun)[:2] == [
        "chosen    trial 1: lr=0.2",
        "estimate  none, so nothing corrects the choice: it is too small",
    ]


def test_damage_is_named(begun):
    with Ledger(begun, write=True) as ledger:
        ledger.set_meta(RUNGS, '[[3, "a"]]')
    with pytest.raises(hp.Error, match="the list of rounds is damaged"):
        hp.Result.load(begun)
