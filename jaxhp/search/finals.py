"""The finals of a search: the finalists are trained on fresh replicates, and the choice is recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from jaxhp.engine.local import Outcome, Progress, Rows
from jaxhp.report.display import Display
from jaxhp.search.definition import Definition
from jaxhp.search.durable import Durable
from jaxhp.selection.budgets import at_full_budget, latest
from jaxhp.selection.contest import Played, contest, neighbourhoods, survivors
from jaxhp.selection.verdict import Finals
from jaxhp.store import Ledger
from jaxhp.trials import Trial, rank


def run_finals(
    search: Definition, finals: Finals, trials: Sequence[Trial], work: Durable, ledger: Ledger, display: Display
) -> None:
    """Chooses one of the trials (see `contest`) and records how in the ledger.

    Fresh replicates have the ids that follow those of the search. Their number is a whole multiple of the folds, so
    that replicate r stays in fold r % K.
    """
    mode = search.task.mode
    ranked = rank(trials, mode)
    finalists = survivors(ranked, finals.top)
    if not finalists:
        ledger.event("warning", text="no finals: every trial diverged")
        return
    unit = np.stack([search.space.unit(t.config) for t in ranked])
    scores = at_full_budget(ranked, search.task.metric, search.rungs)
    near = neighbourhoods(unit, latest(scores)[0], range(len(finalists)), mode)
    fresh: dict[int, list[np.ndarray]] = {t.trial_id: [] for t in finalists}

    def play(who: Sequence[int], replicates: range) -> Played:
        playing = [finalists[p] for p in who]
        ids = range(search.width + replicates.start, search.width + replicates.stop)
        parts = _train(search, playing, ids, work, ledger, display)
        for row, trial in enumerate(playing):
            fresh[trial.trial_id] += [part.replicate_scores[row] for part in parts]
        valid = np.concatenate([part.valid for part in parts if part.valid is not None], 1)
        held_out = [part.held_out for part in parts if part.held_out is not None]
        return Played(valid, np.concatenate(held_out, 1) if held_out else None)

    choice = contest(
        finalists,
        {t.trial_id: float(value) for t, value in zip(finalists, near, strict=True)},
        finals,
        play,
        mode=mode,
        scores=scores,
        fold=search.fold,
    )
    most = finals.members(search.folds or 1)
    scores = {trial: _padded(np.concatenate(parts), most) for trial, parts in fresh.items()}
    ledger.record_finals(scores, json.dumps(choice.to_json()))


def _train(
    search: Definition, trials: list[Trial], replicates: range, work: Durable, ledger: Ledger, display: Display
) -> list[Outcome]:
    """Trains finalists in the populations of the search, with as many replicates at a time as these hold."""

    def progress(p: Progress) -> None:
        display.update("finals", p.epoch, search.epochs, p.member_epochs, p.seconds, trials[:5])

    start = np.zeros(len(trials), np.int32)
    ids = np.asarray([t.trial_id for t in trials], np.int32)
    rows = Rows([t.config for t in trials], ids, start - 1, start, np.arange(len(trials), dtype=np.int32))
    at_once = min(work.trainer.group(t.config).population.replicates_at_most for t in trials)
    parts = []
    for i in range(0, len(replicates), at_once):
        some = replicates[i : i + at_once]
        number = len(search.rungs) + some[0]  # the parts of the finals follow the rounds
        label = {"trial_id": ids, "replicate": np.asarray(some, np.int32)}
        known = ledger.part(number)
        if known and all(np.array_equal(known.pop(name), value) for name, value in label.items()):
            parts.append(Outcome(**known))
            continue
        outcome = work.train(number, rows, some, search.epochs, outcomes=True, progress=progress)
        measured = {name: value for name, value in outcome._asdict().items() if value is not None}
        ledger.record_part(number, label | measured)
        work.stop_if_asked()
        parts.append(outcome)
    return parts


def _padded(scores: np.ndarray, length: int) -> np.ndarray:
    """With NaN for the replicates that a finalist did not take part in."""
    return np.pad(scores, (0, length - len(scores)), constant_values=np.nan)
