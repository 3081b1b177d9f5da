"""The regression of `small_search`, trained by plain NumPy, a member at a time, with a schedule of configs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxhp.engine.streams import Keys, key_of
from jaxhp.trials import Trials

BATCH, MOMENTUM = 10, 0.5


def stages(trials: Trials, trial_id: int, budgets: Sequence[int]) -> list[tuple[float, int]]:
    """The learning rates that a trial was trained with, and up to which epoch, followed back by hand."""
    by_id = {trial.trial_id: trial for trial in trials}
    trial, end, found = by_id[trial_id], budgets[-1], []
    while True:
        found.insert(0, (trial.config["lr"], end))
        if trial.parent is None:
            return found
        end, trial = budgets[trial.round - 1], by_id[trial.parent]


def trained(task: Any, schedule: Sequence[tuple[float, int]], replicate: int, seed: int = 0) -> np.ndarray:
    """Weights after SGD with momentum, in float64, from the same initial weights and minibatches."""
    root = jax.random.key(seed)
    w = np.asarray(task.init(key_of(root, Keys.INIT, replicate), {})["w"], np.float64)
    x, y = (np.asarray(task.train[name], np.float64) for name in "xy")
    velocity, begun = np.zeros_like(w), 0
    for lr, end in schedule:
        for epoch in range(begun, end):
            key = jax.random.fold_in(key_of(root, Keys.ORDER, replicate), epoch)
            order = np.argsort(np.asarray(jax.random.bits(key, (len(x),))) >> 1, kind="stable")
            for start in range(0, len(x), BATCH):
                rows = np.take(order, range(start, start + BATCH), mode="wrap")
                sides = x[rows] @ w
                slope = 2 * (sides.prod(-1) - y[rows])[:, None] * sides[:, ::-1] / BATCH
                velocity = MOMENTUM * velocity + x[rows].T @ slope
                w = w - lr * velocity
        begun = end
    return w


def error(w: np.ndarray, data: Any) -> float:
    return float(np.mean(((data["x"] @ w).prod(-1) - data["y"]) ** 2))
