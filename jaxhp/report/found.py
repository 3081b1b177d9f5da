"""What a ledger holds of a search's result, and what its manifest says that it is the result of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp.objectives import Objectives
from jaxhp.report.chosen import Chosen
from jaxhp.report.stage import Ruin, Stage, is_saved
from jaxhp.report.tested import OPENED, TESTED, Tested
from jaxhp.selection.stretches import Stretch, stretches
from jaxhp.selection.verdict import Verdict
from jaxhp.space import Space
from jaxhp.store.digest import manifest_digest
from jaxhp.store.enlarging import BEFORE
from jaxhp.store.ledger import Ledger
from jaxhp.store.ours import NETWORK
from jaxhp.trials import MODES, Trial, rank
from jaxhp.values import Config, Error, Json, is_int

if TYPE_CHECKING:
    from jaxtyping import PyTree

Like = Callable[[Config], Any]
"""Gives the shapes of what a task's `init` makes of a config; None where the task is not known."""


def asked(ledger: Ledger, manifest: Json) -> dict[str, Any]:
    """Return what a manifest says of its search, as arguments of `Result.of`.

    Raises:
      Error: it is damaged, or not that of the search in the ledger.
    """
    metric, mode, space, epochs = (manifest.get(name) for name in ("metric", "mode", "space", "epochs"))
    if not isinstance(metric, str) or mode not in MODES or not isinstance(space, Mapping):
        raise Error(
            f"{ledger.directory}/manifest.json: expected a metric, a mode and a space, "
            f"got {metric!r}, {mode!r}, {space!r:.80}"
        )
    known = manifest_digest(manifest)
    if ledger.meta("manifest") not in (None, known) and ledger.meta(BEFORE) != known:
        text = f"{ledger.directory}/manifest.json: expected the manifest of the search in the ledger"
        raise Error(f"{text}, got another or damaged one (its SHA-256)")
    strategy = manifest.get("strategy")
    return {
        "metric": metric,
        "mode": mode,
        "space": Space.from_json(space),
        "budget": epochs if is_int(epochs) else None,
        "epoch": "best" if manifest.get("epoch") == "best" else "last",
        "objectives": ledger.decode("manifest.json", _objectives, manifest),
        "strategy": strategy if isinstance(strategy, str) else None,
    }


def found(
    ledger: Ledger,
    metric: str,
    mode: str,
    params: PyTree[np.ndarray],
    top: int | None,
    curves: bool,
    budget: int | None,
    epoch: str,
    objectives: Objectives | None,
    like: Like,
) -> dict[str, Any]:
    """Return what a ledger holds, as fields of a `Result`; see `Result.of`.

    Raises:
      Error: the ledger is damaged, or holds no trials yet.
    """
    objectives = objectives or Objectives((metric,), (mode,))
    # which tell the epoch that a score is of, and the other metrics
    curves = curves or epoch == "best" or not objectives.plain
    text = ledger.meta("choice")
    verdict = ledger.decode("the choice", _verdict, text) if text else None
    finalists, measured = (verdict.finalists, verdict.measured) if verdict else ((), ())
    played = {f.trial_id: f.replicates for f in (*measured, *finalists)}
    if top is None or not objectives.plain:
        trials = rank(ledger.trials(curves=curves), mode)
    else:
        trials = ledger.best(mode, max(top, len(finalists), 1), curves=curves)
    trials = objectives.ranked(trials.ranked_by(metric, mode, budget, epoch))
    if not len(trials):
        raise Error(f"{ledger.directory}: expected at least one trial in the ledger, found none")
    place = np.flatnonzero(trials.trial_id == verdict.trial_id) if verdict else np.zeros(1, int)
    if not len(place):
        raise Error(f"{ledger.path}: the choice is damaged: there is no such trial")
    best, stage = trials[int(place[0])], Stage.of(ledger)
    history = ledger.decode("the lineage of the chosen trial", _history, ledger, best)
    lost = ledger.trials(curves=False) if top is not None and not trials.healthy().any() else trials
    ruin = ledger.decode("the trials", Ruin.of, lost)
    has_file = ledger.directory is not None and stage.finished and ruin is None
    file = ledger.directory / NETWORK if ledger.directory is not None and has_file else None
    scores = ledger.finals()
    return dict(
        metric=metric,
        mode=mode,
        stage=stage,
        ruin=ruin,
        directory=ledger.directory,
        trials=trials[:top],
        raw_best=trials[0],
        objectives=objectives,
        front=trials[:1] if objectives.plain else trials[objectives.front(trials)],
        best=Chosen(
            **vars(best),
            history=history,
            network=params,
            file=file,
            sha256=ledger.meta("network"),
            search=ledger.meta("manifest"),
            like=like(best.config),
        ),
        estimate=verdict.estimate if verdict else None,
        finalists=finalists,
        measured=measured,
        finals=ledger.decode("the finals", lambda: {i: scores[i][:count] for i, count in played.items()}),
        opened=len(ledger.events(OPENED)),
        tests=[ledger.decode("a test", _tested, event) for event in ledger.events(TESTED)],
        _scores=scores,
        _judged=verdict is not None,
        _saved=not stage.finished and is_saved(ledger, best),
        _whole=top is None,
        _curves=curves,
    )


def _history(ledger: Ledger, trial: Trial) -> tuple[Stretch, ...]:
    if trial.parent is None:
        return (Stretch(trial.trial_id, trial.config, trial.scored_at),)
    budgets = [asked.epochs for asked in ledger.rounds()]
    return stretches(ledger.trials(curves=False), trial.trial_id, budgets, trial.epochs)


def _objectives(manifest: Json) -> Objectives | None:
    record = manifest.get("objectives")
    return None if record is None else Objectives.from_json(record)


def _verdict(text: str) -> Verdict:
    choice = Verdict.from_json(json.loads(text))
    estimates = [choice.estimate or (), *(e for one in choice.measured for e in one.estimates.values())]
    numbers = [value for e in estimates for value in e if value is not None]
    _check_numbers(choice.trial_id, *numbers, *(value for f in choice.finalists for value in f))
    _check_numbers(*(value for one in choice.measured for value in one[:2]))
    return choice


def _tested(event: Json) -> Tested:
    found = Tested.from_event(event)
    _check_numbers(*found.scores, found.trial_id, found.mean, found.low, found.high, found.opening)
    return found


def _check_numbers(*values: object) -> None:
    for value in values:
        if not isinstance(value, (int, float)):
            raise Error(f"expected numbers, got {value!r:.100}")
        float(value)  # an integer may be too large for it
