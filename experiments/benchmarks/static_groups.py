"""What does a search cost whose trials nearly all have a program of their own?

    python experiments/benchmarks/static_groups.py [--json] [--smoke] [--repeats N]

Networks on the bundled MNIST sample: 6 widths, 5 depths, 4 batch sizes and 2 optimizers are compiled in, the learning
rate and weight decay are data. 64 configs fall to 53 of the 240 groups. They are trained once by a search, and once one
after another in a worker a core, each by one jitted function from initial weights to the last score, which both sides
take from the same task; a worker compiles it once for configs that share it. Each side is made of fresh processes that
find nothing in a cache, and their start, imports and compilation count. The sides take turns.

The ratios are of the medians. Once, on 2 quiet cores, 10 epochs: 151.1 s (264 CPU s) for the search, 80.3 s (153) for
the workers, a ratio of 1.88. The difference is compiling: a search has two programs a group, of initial weights and of
the step, and all of a group is measured, with its errors, where a worker returns one score. What a search of all 64
makes, checks and describes before its first program is compiled (64 of 240 groups: 53 to train, and 11 more for their
values) took 5.2 CPU s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from machine import show

import jaxhp as hp

NUMBERS: dict[str, Any] = {"lr": hp.LogUniform(1e-4, 1e-1), "weight_decay": hp.LogUniform(1e-6, 1e-2)}
SPACE = hp.Space(
    width=hp.Choice([16, 24, 32, 48, 64, 96]),
    depth=hp.Choice([1, 2, 3, 4, 5]),
    batch=hp.Choice([20, 25, 40, 50]),
    optimizer=hp.Choice(["momentum", "adamw"]),
    **NUMBERS,
)
SMALL = hp.Space(width=hp.Choice([16, 24]), depth=1, batch=50, optimizer="adamw", **NUMBERS)
SMOKE = 2  # trials, of the small space


def make(static: Any) -> hp.Task:
    data, hidden = hp.data.mnist_sample(1000), (static["width"],) * static["depth"]
    options = {"optimizer": static["optimizer"], "batch_size": static["batch"], "train_examples": 0}
    return hp.tasks.mlp(data, hidden, **options)


def space(trials: int) -> hp.Space:
    return SMALL if trials <= SMOKE else SPACE


def drawn(trials: int) -> list[dict[str, Any]]:
    return space(trials).configs(np.random.default_rng(0).random((trials, space(trials).dim)))


def searched(trials: int, epochs: int) -> None:
    """All configs as one search."""
    options = {"epochs": epochs, "finals": None, "include": drawn(trials)}
    result = hp.Search(make, space(trials), hp.Random(trials), **options).run(quiet=True)
    print(
        json.dumps({"best": result.best.score, "programs": len({repr(space(trials).static(c)) for c in drawn(trials)})})
    )


def one_after_another(trials: int, epochs: int, part: int, parts: int) -> None:
    """One worker's share of the configs."""
    import jax
    import jax.numpy as jnp

    from jaxhp.compiling import cpu_options

    hp.setup(1)
    compiled: dict[Any, Any] = {}

    def trained(task: hp.Task, static: dict[str, Any]) -> Any:
        def run(config: dict[str, Any], key: Any, train: Any, valid: Any) -> Any:
            config = static | config
            params = task.init(key, config)
            optimizer = task.optimizer(config)
            steps = task.n_train // task.batch_size

            def epoch(carried: Any, key: Any) -> Any:
                order = jax.random.permutation(key, task.n_train).reshape(steps, -1)

                def step(carried: Any, rows: Any) -> Any:
                    params, state = carried
                    batch = jax.tree.map(lambda leaf: leaf[rows], train)
                    gradients = jax.grad(task.loss)(params, batch, key, config)
                    updates, state = optimizer.update(gradients, state, params)
                    return (jax.tree.map(jnp.add, params, updates), state), None

                carried, _ = jax.lax.scan(step, carried, order)
                return carried, task.evaluate(carried[0], valid, config)["accuracy"].mean()

            return jax.lax.scan(epoch, (params, optimizer.init(params)), jax.random.split(key, epochs))[1][-1]

        return jax.jit(run, compiler_options=cpu_options())

    best = 0.0
    for config in drawn(trials)[part::parts]:
        static = space(trials).static(config)
        if repr(static) not in compiled:
            task = make(static)
            compiled[repr(static)] = task, trained(task, static)
        task, run = compiled[repr(static)]
        traced = {name: np.float32(config[name]) for name in ("lr", "weight_decay")}
        best = max(best, float(run(traced, jax.random.key(0), task.train, task.valid)))
    print(json.dumps({"best": best, "programs": len(compiled)}))


def timed(arguments: list[list[Any]]) -> tuple[float, float, list[Any]]:
    """Wall and CPU seconds of processes side by side, and what they answer."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "JAXHP_CACHE": "off"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, each)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for each in arguments
    ]
    answers = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime - before.ru_utime, answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", nargs="+")
    options = parser.parse_args()
    if options.worker:
        kind, *numbers = options.worker
        {"search": searched, "one": one_after_another}[kind](*map(int, numbers))
        return
    trials, epochs, repeats = (SMOKE, 1, 1) if options.smoke else (options.trials, 10, options.repeats)
    cores = len(os.sched_getaffinity(0))
    sides = {
        "one search": [["--worker", "search", trials, epochs]],
        f"{cores} workers, one trial after another": [
            ["--worker", "one", trials, epochs, part, cores] for part in range(cores)
        ],
    }
    found: dict[str, list[Any]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, arguments in sides.items():
            found[name].append(timed(arguments))
    rows = [
        {
            "trained by": name,
            "s": round(statistics.median(wall for wall, _, _ in runs), 1),
            "CPU s": round(statistics.median(cpu for _, cpu, _ in runs), 1),
            "programs": sum(answer["programs"] for answer in runs[0][2]),
            "best accuracy": round(max(answer["best"] for answer in runs[0][2]), 3),
        }
        for name, runs in found.items()
    ]
    ours, theirs = rows
    ratio = {"ratio s": round(ours["s"] / theirs["s"], 2), "ratio CPU s": round(ours["CPU s"] / theirs["CPU s"], 2)}
    show("A program for nearly every trial", {"trials": trials, "epochs": epochs, **ratio}, rows, options.json)


if __name__ == "__main__":
    main()
