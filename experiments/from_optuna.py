"""A script of Optuna around a jitted training, before and after: what changes in it, and what that gains.

    python experiments/from_optuna.py [--smoke] [--trials N] [--epochs N]

The script has data, a network, a loss, an optimizer, suggestions and a study. Before: `study.optimize(objective)`, one
trial after another, around an epoch that is compiled once for all trials. After: the body of `after` in the place of
that line, and `objective` with its loop is not needed any more. Both run here, the second with the same study, sampler
and pruner; printed are the lines, and seconds with compilation apart, wall and CPU. The CPU seconds of the first call
count as compiling, so they are too many there.

On 2 quiet cores, with `JAXHP_CACHE=off`:

    1 line goes, 10 come, with the import; 21 are not needed any more
    no pruner    before  compiling  1.8 s (2.8 of CPU), the rest 15.5 (23.1)   best 0.884  256 complete
    no pruner    after   compiling  5.1 s (10.1),       the rest 11.7 (21.0)   best 0.864  256 complete
    MedianPruner before  compiling  1.8 s (2.7),        the rest  5.3 (7.6)    best 0.860   30 complete, 226 pruned
    MedianPruner after   compiling  5.2 s (10.2),       the rest 10.0 (17.1)   best 0.860  167 complete,  89 pruned

So the work is the same without a pruner, and a pruner finds less to prune in batches of 64, which are asked for before
any of them has ended.
"""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optuna

import jaxhp as hp

BATCH = 100


# The script: what stays.
def images(n_train: int, n_valid: int) -> list[dict[str, np.ndarray]]:
    sample: Any = hp.data.mnist_sample(n_train + n_valid).train
    x, y = sample["image"].reshape(n_train + n_valid, -1).astype(np.float32) / 255, sample["label"]
    return [{"x": x[rows], "y": y[rows]} for rows in (slice(n_train), slice(n_train, None))]


def weights(key: jax.Array) -> Any:
    widths = (784, 100, 100, 10)
    keys = jax.random.split(key, 3)
    return [
        {"w": jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, "b": jnp.zeros(n)}
        for k, m, n in zip(keys, widths, widths[1:], strict=False)
    ]


def logits(params: Any, x: jax.Array) -> jax.Array:
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss(params: Any, batch: Any) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch["x"]), batch["y"]).mean()


def correct(params: Any, batch: Any) -> jax.Array:
    return (logits(params, batch["x"]).argmax(-1) == batch["y"]).astype(jnp.float32)


def optimizer(config: Any) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(config["weight_decay"]), optax.sgd(config["lr"]))


def suggest(trial: Any) -> dict[str, float]:
    return {
        "lr": trial.suggest_float("lr", 1e-3, 1.0, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-8, 1e-3, log=True),
    }


def new_study(pruner: optuna.pruners.BasePruner) -> optuna.Study:
    sampler = optuna.samplers.TPESampler(seed=0, constant_liar=True)
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)


# Before: its training loop.
@jax.jit
def epoch_of(params: Any, state: Any, key: jax.Array, config: Any, train: Any, valid: Any) -> Any:
    def step(carry: Any, rows: jax.Array) -> Any:
        params, state = carry
        gradient = jax.grad(loss)(params, jax.tree.map(lambda leaf: leaf[rows], train))
        updates, state = optimizer(config).update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    order = jax.random.permutation(key, len(train["x"])).reshape(-1, BATCH)
    (params, state), _ = jax.lax.scan(step, (params, state), order)
    return params, state, correct(params, valid).mean()


def objective(trial: Any, train: Any, valid: Any, epochs: int) -> float:
    config, accuracy = suggest(trial), 0.0
    params = weights(jax.random.key(0))
    state = optimizer(config).init(params)
    for epoch in range(1, epochs + 1):
        params, state, found = epoch_of(params, state, jax.random.key(epoch), config, train, valid)
        accuracy = float(found)
        trial.report(accuracy, epoch)
        if epoch < epochs and trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


def before(study: optuna.Study, train: Any, valid: Any, trials: int, epochs: int) -> None:
    study.optimize(partial(objective, train=train, valid=valid, epochs=epochs), n_trials=trials)


# After: instead of that line.
def after(study: optuna.Study, train: Any, valid: Any, trials: int, epochs: int, **options: Any) -> None:
    parts = dict(train=train, valid=valid, batch_size=BATCH, metric="accuracy", mode="max")
    task = hp.Task(
        init=lambda key, config: weights(key),
        loss=lambda params, batch, key, config: loss(params, batch),
        evaluate=lambda params, batch, config: {"accuracy": correct(params, batch)},
        optimizer=optimizer,
        **parts,
    )
    hp.optuna.optimize(study, task, suggest, batch=trials // 4, rounds=4, epochs=epochs, finals=None, **options)


# The comparison.
class Clock:
    """Seconds of this process, wall and CPU, and of them those of compilation; it watches a search."""

    def __init__(self):
        self.began, self.compiled, self._compiling = self._now(), np.zeros(2), None

    @staticmethod
    def _now() -> np.ndarray:
        return np.asarray([time.perf_counter(), time.process_time()])

    def __call__(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Compiling":
            self._compiling = self._now()
        elif kind == "Progressed" and self._compiling is not None:
            first_call = np.asarray([event.seconds, 0.0])  # whose CPU seconds nobody knows, so they count as compiling
            self.compiled, self._compiling = self.compiled + self._now() - self._compiling - first_call, None

    def told(self) -> np.ndarray:
        """Return [compiling, the rest] by [wall, CPU]."""
        return np.stack([self.compiled, self._now() - self.began - self.compiled])


def of_before(study: optuna.Study, *arguments: Any) -> np.ndarray:
    clock = Clock()
    train, valid, _, _ = arguments
    config = {"lr": 0.1, "weight_decay": 0.0}  # floats of Python, as Optuna suggests them: one program for all
    params = weights(jax.random.key(0))
    epoch_of.lower(params, optimizer(config).init(params), jax.random.key(0), config, train, valid).compile()
    clock.compiled = clock._now() - clock.began
    before(study, *arguments)
    return clock.told()


def of_after(study: optuna.Study, *arguments: Any) -> np.ndarray:
    clock = Clock()
    after(study, *arguments, quiet=True, watch=[clock])
    return clock.told()


def lines(*functions: Any) -> int:
    return sum(len([line for line in inspect.getsource(f).splitlines() if line.strip()]) for f in functions)


WAYS = {"before": of_before, "after": of_after}
PRUNERS = {"no pruner": optuna.pruners.NopPruner, "MedianPruner": optuna.pruners.MedianPruner}


def report(way: str, pruner: str, trials: int, epochs: int, n_train: int) -> None:
    """Run one way and print its line."""
    train, valid = images(n_train, n_train // 4)
    study, load = new_study(PRUNERS[pruner]()), os.getloadavg()[0]
    (compiling, compiling_cpu), (rest, rest_cpu) = WAYS[way](study, train, valid, trials, epochs)
    states = dict(Counter(trial.state.name.lower() for trial in study.trials))
    print(
        f"{pruner:12} {way:6}  compiling {compiling:5.1f} s ({compiling_cpu:5.1f} CPU)  the rest {rest:6.1f} s "
        f"({rest_cpu:6.1f} CPU)  best {study.best_value:.3f}  {states}  load {load:.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a version that takes seconds")
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--way", choices=WAYS, help="one way alone, in this process")
    parser.add_argument("--pruner", choices=PRUNERS, help="likewise")
    args = parser.parse_args()
    trials, epochs, n_train = (16, 2, 200) if args.smoke else (args.trials, args.epochs, 1000)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if args.way:
        report(args.way, args.pruner, trials, epochs, n_train)
        return
    print(f"1 line goes, {lines(after)} come, with the import; {lines(epoch_of, objective)} are not needed any more")
    print(f"{trials} trials of {epochs} epochs on {n_train} images:", flush=True)
    for pruner in list(PRUNERS)[-1 if args.smoke else 0 :]:
        for way in WAYS:  # each in a process of its own, so that none finds what the other compiled
            subprocess.run([sys.executable, *sys.argv, "--way", way, "--pruner", pruner], check=True)


if __name__ == "__main__":
    main()
