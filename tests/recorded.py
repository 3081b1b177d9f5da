"""A run directory made by hand, without training: everything that a ledger may hold, in a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import jaxhp as hp
from jaxhp.objectives import Objectives
from jaxhp.report.tested import OPENED, TESTED
from jaxhp.selection.verdict import Estimate, Finalist, Measured, Verdict
from jaxhp.store.files import write_json
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Status, Trial, Trials, rank

SPACE = hp.Space(
    lr=hp.LogUniform(1e-5, 1.0),
    momentum=hp.Uniform(0.0, 0.99, when={"kind": "sgd"}),
    width=hp.IntUniform(4, 64, log=True),
    kind=hp.Choice(["sgd", "adam"]),
    batch=100,
)
ENVIRONMENT = {
    "device_kind": "cpu",
    "platform": "cpu",
    "devices": 2,
    "python": "3.12.1",
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "jaxhp": "0.1.0",
    "numpy": "2.3.0",
    "optax": "0.2.6",
    "flags": {"XLA_FLAGS": ""},
    "argv": ["jaxhp", "run", "small.py"],
}


def manifest(space: hp.Space, metric: str, **changes: Any) -> dict[str, Any]:
    return {
        "space": space.to_json(),
        "strategy": "Halving(population=9, eta=3)",
        "epochs": 9,
        "seed": 7,
        "replicates": 1,
        "folds": None,
        "paired": True,
        "finals": "Finals(top=3, replicates=8, holdout=None)",
        "tile": 4,
        "task": "0f" * 32,
        "data": "a1" * 32,
        "batch_size": 100,
        "train_examples": 400,
        "metric": metric,
        "mode": "max",
        "environment": ENVIRONMENT,
    } | changes


def made(directory: Path, *, space: hp.Space = SPACE, metric: str = "accuracy", size: int = 27, **changes: Any) -> Path:
    """Two rounds, the second trains the best third on and has one trial that diverged; finals, an opened test, events.

    `changes` go into the manifest. A last round has begun and is not finished.
    """
    rng = np.random.default_rng(0)
    with Ledger(directory, write=True) as ledger:
        write_json(directory / "manifest.json", manifest(space, metric, **changes))
        unit = rng.random((size, space.dim), dtype=np.float32)
        configs = space.configs(unit)
        first = [
            trial(i, config, u, 3, Status.STOPPED, metric)
            for i, (config, u) in enumerate(zip(configs, unit, strict=True))
        ]
        _record(ledger, 0, 3, unit, first)
        best = rank(first, "max")[: size // 3]
        kept = unit[[t.trial_id for t in best]]
        second = [trial(t.trial_id, t.config, u, 9, Status.COMPLETE, metric) for t, u in zip(best, kept, strict=True)]
        second[-1] = trial(best[-1].trial_id, best[-1].config, kept[-1], 9, Status.DIVERGED, metric)
        _record(ledger, 1, 9, kept, second)
        chosen = finals(ledger, rank(second, "max")[:3], size)
        ledger.event("warning", text="a checkpoint of round 1 is of no use")
        ledger.event("out of memory", round=1, rows_before=8, rows_now=4, reason="RESOURCE_EXHAUSTED")
        ledger.event("resume", environment=ENVIRONMENT, notes=["its devices is 2, now it is 1: results stay the same"])
        ledger.event(OPENED, trial_id=chosen)
        scores = [0.81, 0.84, 0.82]
        ledger.event(TESTED, trial_id=chosen, mean=0.8233, low=0.79, high=0.85, scores=scores, opening=1)
        ledger.record_spent({"wall_s": 12.5, "compile_s": 3.25, "step_s": 8.0, "compilations": 1, "runs": 2})
        ids = np.arange(size, size + 2, dtype=np.int32)
        drafts = [Trial(int(i), space.config(unit[0]), 2) for i in ids]
        ledger.begin(Round(2, 9, unit[:2], ids * 0 - 1, ids), Trials.of(drafts))
    return directory


def trial(number: int, config: Mapping, unit: np.ndarray, epochs: int, status: Status, metric: str) -> Trial:
    """One whose score is best near the middle of the first axis of the unit cube, and near the end of the last."""
    reached = 0.9 - 0.5 * abs(float(unit[0]) - 0.5) - 0.5 * (1 - float(unit[-1])) + 1e-3 * number
    epoch = np.arange(1, epochs + 1, dtype=np.float32)
    valid = (reached * (1 - 0.5 * np.exp(-epoch / 2))).astype(np.float32)
    diverged = status is Status.DIVERGED
    if diverged:
        valid[4:] = np.nan
    curve = {f"train_{metric}": valid * np.float32(1.05), f"valid_{metric}": valid}
    score = float("nan") if diverged else float(valid[-1])
    return Trial(number, dict(config), 0, status, epochs, score, 0.01, curve, (score,), 5 if diverged else 0)


def finals(ledger: Ledger, finalists: list[Trial], tried: int) -> int:
    """With the second of them chosen, whose id is returned."""
    found = tuple(
        Finalist(t.trial_id, 8, t.score - 0.01, -0.004 * place, 0.005, t.score - 0.05, place < 2, p)
        for place, (t, p) in enumerate(zip(finalists, (0.55, 0.4, 0.05), strict=True))
    )
    estimate = Estimate(finalists[1].score - 0.02, finalists[1].score - 0.05, finalists[1].score, tried, 4, 100, False)
    scores = {t.trial_id: np.full(8, t.score - 0.01, np.float32) for t in finalists}
    choice = Verdict(finalists[1].trial_id, estimate, found)
    ledger.record_finals(scores, json.dumps(choice.to_json()))
    return choice.trial_id


def _record(ledger: Ledger, number: int, epochs: int, unit: np.ndarray, trials: list[Trial]) -> None:
    ids = np.asarray([t.trial_id for t in trials], np.int32)
    drafts = Trials.of(Trial(t.trial_id, t.config) for t in trials)
    ledger.begin(Round(number, epochs, unit, ids * 0 - 1, ids), drafts)
    ledger.finish(number, Trials.of(trials), np.asarray([t.score for t in trials], np.float32), 1.5)


OBJECTIVES = {
    "metric": ["accuracy", "size"],
    "mode": ["max", "min"],
    "constraints": {"latency": ["at most", 2.0]},
}


def front(directory: Path, size: int = 24) -> Path:
    """One round of a finished search for accuracy against size, with latency bounded, and finals along its front."""
    rng = np.random.default_rng(1)
    with Ledger(directory, write=True) as ledger:
        write_json(directory / "manifest.json", manifest(SPACE, "accuracy", epochs=3, objectives=OBJECTIVES))
        unit = rng.random((size, SPACE.dim), dtype=np.float32)
        trials = []
        for i, (config, u) in enumerate(zip(SPACE.configs(unit), unit, strict=True)):
            reached = trial(i, config, u, 3, Status.DIVERGED if i == 5 else Status.COMPLETE, "accuracy")
            for name, values in (("size", 10 + 90 * u[2]), ("latency", 1 + 1.4 * u[0])):
                reached.curve[f"valid_{name}"] = np.full(3, values, np.float32)
            trials.append(reached)
        of = Objectives.from_json(OBJECTIVES)
        _record(ledger, 0, 3, unit, trials)
        known = ledger.trials().ranked_by("accuracy", "max", 3, "last")
        rows = known[of.front(known)]
        again = []
        for t in rows[: min(3, len(rows))]:
            means = {n: float(of.values(Trials.of([t]), n)[0]) for n in of.measured}
            spread = {"accuracy": 0.02, "size": 0.0, "latency": 0.1}
            estimates = {
                n: Estimate(m, m - spread[n], m + spread[n], size, 8, 100, False, None) for n, m in means.items()
            }
            again.append(Measured(t.trial_id, 8, estimates))
        choice = Verdict(again[0].trial_id, again[0].estimates["accuracy"], (), tuple(again))
        scores = {one.trial_id: np.full(8, one.estimates["accuracy"].mean, np.float32) for one in again}
        ledger.record_finals(scores, json.dumps(choice.to_json()))
        ledger.set_meta("finished", "yes")
        ledger.record_spent({"wall_s": 12.5})
    return directory
