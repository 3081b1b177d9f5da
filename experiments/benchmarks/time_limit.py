"""Ten searches of different speed, each with a time that it may take: how long it took, finals and compiling included.

python experiments/benchmarks/time_limit.py [SECONDS] [--cpu] [--smoke]

Every search asks for 200 rounds, more than most have time for. Nothing compiled before is used. With --cpu all clocks
count the seconds of the processor, on one core, which others on the machine do not stretch; with --smoke one for 5 s.

Result with 30 s and --cpu, on one core of an AMD EPYC (the share of the time that was taken, and rounds):

    random, tiny      0.40  all 200 rounds        auto              0.81    9 rounds
    random            0.78   14 rounds            three replicates  0.78   41
    narrowing, long   0.78   13                   folds             0.80   26
    sobol, deep       0.71   13                   two groups        0.84   71
    halving           0.79   51                   no finals         0.90   12

What is left is the tenth by which every expectation is raised, and the time that was set aside for compiling what the
finals measure with, which takes less than compiling the step.

In wall time with 30 s, on both cores, nothing else running:

    random, tiny      0.35  all 200 rounds        auto              0.83   20 rounds
    random            0.82   32 rounds            three replicates  0.83   89
    narrowing, long   0.79   26                   folds             0.84   55
    sobol, deep       0.79   32                   two groups        0.88  135
    halving           0.79   76                   no finals         0.94   26

With programs of others on all cores (load 12 to 17 on 2 cores) and 40 s, each search had one round, four took 0.52 to
1.10 of the time, and six, whose first round and finals alone took longer, 1.5 to 2.9 of it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxhp-compiled-")
if "--cpu" in sys.argv:
    time.perf_counter = time.process_time
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jaxhp as hp

SPACE = hp.Space(lr=hp.LogUniform(1e-4, 1.0), weight_decay=hp.LogUniform(1e-8, 1e-2))
WIDE = hp.Space(lr=hp.LogUniform(1e-4, 1.0), weight_decay=hp.LogUniform(1e-8, 1e-2), width=hp.Choice([16, 64]))
SMALL, LARGE = hp.data.mnist_sample(500), hp.data.mnist_sample(2000)


def mlp(data, *hidden):
    return hp.tasks.mlp(data, hidden=hidden)


SEARCHES = {
    "random, tiny": lambda: hp.Search(mlp(SMALL, 8), SPACE, hp.Random(16, rounds=200), epochs=3),
    "random": lambda: hp.Search(mlp(LARGE, 64), SPACE, hp.Random(32, rounds=200), epochs=5),
    "narrowing, long": lambda: hp.Search(mlp(SMALL, 64), SPACE, hp.Narrowing(32, rounds=200), epochs=20),
    "sobol, deep": lambda: hp.Search(mlp(LARGE, 100, 100), SPACE, hp.Sobol(16, rounds=200), epochs=5),
    "halving": lambda: hp.Search(mlp(SMALL, 64), SPACE, hp.Halving(81, rounds=200), epochs=27),
    "auto": lambda: hp.Search(mlp(SMALL, 64), SPACE, hp.Auto(32, rounds=200), epochs=5),
    "three replicates": lambda: hp.Search(mlp(SMALL, 64), SPACE, hp.Random(16, rounds=200), epochs=5, replicates=3),
    "folds": lambda: hp.Search(mlp(SMALL, 64), SPACE, hp.Random(16, rounds=200), epochs=5, folds=5),
    "two groups": lambda: hp.Search(
        lambda static: mlp(SMALL, static["width"]), WIDE, hp.Random(32, rounds=200), epochs=5
    ),
    "no finals": lambda: hp.Search(mlp(LARGE, 64), SPACE, hp.Random(32, rounds=200), epochs=10, finals=None),
}


def main(seconds: float, searches: int) -> None:
    print(f"{'search':18} {'asked s':>8} {'took s':>8} {'share':>6} {'rounds':>7}  estimate")
    for name, make in list(SEARCHES.items())[:searches]:
        search = make()
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            result = search.run(folder, seconds=seconds, quiet=True)
            took = time.perf_counter() - began
        estimate = "none" if result.estimate is None else f"{result.estimate.mean:.3f}"
        share, rounds = took / seconds, len(result.stage.rungs)
        print(f"{name:18} {seconds:8.0f} {took:8.1f} {share:6.2f} {rounds:7}  {estimate}", flush=True)


if __name__ == "__main__":
    numbers, smoke = [argument for argument in sys.argv[1:] if not argument.startswith("--")], "--smoke" in sys.argv
    main(float(numbers[0]) if numbers else 5.0 if smoke else 30.0, 1 if smoke else len(SEARCHES))
