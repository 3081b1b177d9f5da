"""Do time, memory and compilation grow with the work, and with nothing else?

    python experiments/benchmarks/growth.py [--json] [--smoke] [--part NAME ...]

Four parts, each on the book's network (784-100x6-10, 400 training and 100 validation images):

- members: the time a member takes in one call of the step, for 16 to 4,096 members, SGD and AdamW, and the most memory
  that the process took, beside the plan's figure. Each size in a
  process of its own; the sizes are timed in turns, so that a change of the machine's speed meets all of them alike.
- compile: seconds to compile the step for 16 and for 1,024 members, and to find it in the cache.
- rounds: a recorded search (Narrowing, finals off) of 256 members a round, in one round and in ten: how much of a
  round goes into sampling, ranking, recording and display. The first round compiles all of these.
- waves: 20,000 members with AdamW, one epoch, by waves; and Halving over them (20,000 one epoch, 6,666 go on to three).
  Their weights and optimizer states together are larger than the memory. Only where it is named: it writes up to 31
  GB of temporary files.

Result (2 cores, 24 GiB): from 64 to 4,096 members the time of one (1.3 ms a member and epoch with SGD, 1.6 with AdamW)
stays within 4% with SGD and 2% with AdamW; each of 16 members takes 7 to 8% more. The process took 3.1 GiB for 4,096
members with SGD (plan now 4.7) and 7.0 with AdamW (8.7); for few members 1.4, nearly all of it for compiling, for
which the plan has 1.5. Compilation 4.3 s for 16 and for 1,024 members, 0.4 s from the cache. The first round of a
search takes 1.1 s beside the step, nearly all of it for compiling the strategy; further rounds of 3.3 s less than can
be told from the noise of the step (-0.5%). 20,000 networks with AdamW: one epoch by 3 waves in 53 s (44 in the step),
13.3 GiB; halving over them in 148 s (58 in the step, the rest for 31 GB of files), 22.8 GiB, mapped files included.

Takes about 7 minutes on 2 cores, the waves 4 more.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import show
from stacked import Stacked
from worker import Worker

import jaxhp as hp

MEMBERS = (16, 64, 256, 1024, 4096)
PARTS = ("members", "compile", "rounds", "waves")
SPACE = hp.Space(lr=hp.LogUniform(1e-4, 1e-2), weight_decay=hp.LogUniform(1e-8, 1e-4))


def stacked(optimizer: str, count: int, epochs: int) -> Stacked:
    configs = {"lr": np.geomspace(1e-4, 1e-2, count), "weight_decay": np.full(count, 1e-6)}
    return Stacked(hp.tasks.mlp(hp.data.mnist_sample(500), optimizer=optimizer), configs, epochs)


def search(strategy: Any, optimizer: str = "sgd", epochs: int = 1) -> hp.Search:
    task = hp.tasks.mlp(hp.data.mnist_sample(500), optimizer=optimizer)
    return hp.Search(task, SPACE, strategy, epochs=epochs, finals=None)


def resident() -> int:
    """The most bytes that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work_members(optimizer: str, count: str, epochs: str) -> None:
    """Times calls of the step when asked; tells of compilation and memory first."""
    members = stacked(optimizer, int(count), int(epochs))
    times = max(1, 1024 // int(count))
    members.run()
    print(json.dumps({"bytes": resident()}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(times):
            members.run()
        print(json.dumps((time.perf_counter() - began) / times / int(count) / int(epochs)), flush=True)


def work_compile(count: str) -> None:
    print(json.dumps(stacked("sgd", int(count), 50).population.compile_s), flush=True)


def work_waves(kind: str, count: str, directory: str) -> None:
    """Trains a population that is larger than the memory; tells what it took."""
    members = int(count)
    strategy = hp.Random(members) if kind == "random" else hp.Halving(members, eta=3)
    wanted = search(strategy, "adamw", 1 if kind == "random" else 3)
    waves = wanted.plan().groups[0].waves
    result = wanted.run(directory, quiet=True)
    summary = json.loads(Path(directory, "summary.json").read_text())
    told = {name: summary[name] for name in ("wall_s", "step_s", "compile_s", "epochs_trained")}
    print(json.dumps(told | {"bytes": resident(), "waves": waves, "best": result.best.score}), flush=True)


def members_part(smoke: bool) -> list[dict[str, Any]]:
    rows = []
    for optimizer in ("sgd",) if smoke else ("sgd", "adamw"):
        sizes, epochs = ((4, 16), 1) if smoke else (MEMBERS, 2)
        workers = {count: Worker(__file__, "members", optimizer, count, epochs) for count in sizes}
        taken: dict[int, list[float]] = {count: [] for count in sizes}
        for _ in range(1 if smoke else 5):
            for count, worker in workers.items():
                taken[count].append(worker.run())
        for worker in workers.values():
            worker.end()
        for count in sizes:
            ratios = [mine / first for mine, first in zip(taken[count], taken[sizes[1]], strict=True)]
            plan = search(hp.Random(count), optimizer, epochs).plan()
            rows.append(
                {
                    "optimizer": optimizer,
                    "members": count,
                    "ms a member and epoch": round(1e3 * statistics.median(taken[count]), 3),
                    f"by that of {sizes[1]}": round(statistics.median(ratios), 3),
                    "memory MiB": round(workers[count].ready["bytes"] / 2**20),
                    "plan MiB": round(plan.peak_bytes / 2**20),
                }
            )
    return rows


def compile_part(smoke: bool) -> list[dict[str, Any]]:
    rows = []
    for count in (4,) if smoke else (16, 1024):
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (Worker(__file__, "compile", count, XDG_CACHE_HOME=folder).ready for _ in range(2))
        rows.append({"members": count, "compile s": round(cold, 2), "from the cache s": round(warm, 2)})
    return rows


def rounds_part(smoke: bool) -> list[dict[str, Any]]:
    population, epochs, many = (8, 1, 3) if smoke else (256, 10, 10)
    found = []
    for rounds in (1, many):
        with tempfile.TemporaryDirectory() as folder:
            search(hp.Narrowing(population, rounds=rounds), epochs=epochs).run(folder)
            summary = json.loads(Path(folder, "summary.json").read_text())
        other = summary["wall_s"] - summary["compile_s"] - summary["step_s"]
        found.append((summary["step_s"], other, summary["compilations"]))
    (step, other, compiled), (steps, others, compiled_too) = found
    further = ((steps - step) / (many - 1), (others - other) / (many - 1))
    return [
        {
            "": name,
            "seconds in the step": round(in_step, 3),
            "seconds in all else": round(beside, 3),
            "share of all else": round(beside / in_step, 4),
            "compilations": compilations,
        }
        for name, (in_step, beside), compilations in (
            ("the first round", (step, other), compiled),
            (f"each further one of {many}", further, compiled_too),
        )
    ]


def waves_part(smoke: bool) -> list[dict[str, Any]]:
    rows, members = [], 40 if smoke else 20_000
    for kind in ("random", "halving"):
        with tempfile.TemporaryDirectory() as folder:
            told = Worker(__file__, "waves", kind, members, folder).ready
        rows.append(
            {
                "strategy": kind,
                "members": members,
                "waves": told["waves"],
                "member-epochs": told["epochs_trained"],
                "seconds": round(told["wall_s"], 1),
                "of these in the step": round(told["step_s"], 1),
                "peak GiB of the process": round(told["bytes"] / 2**30, 2),
                "best accuracy": round(told["best"], 3),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=PARTS[:3])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a few members, seconds")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        name, *arguments = args.worker
        {"members": work_members, "compile": work_compile, "waves": work_waves}[name](*arguments)
        return
    parts = {"members": members_part, "compile": compile_part, "rounds": rounds_part, "waves": waves_part}
    for name in args.part:
        show(f"Growth: {name}", {}, parts[name](args.smoke), args.json)


if __name__ == "__main__":
    main()
