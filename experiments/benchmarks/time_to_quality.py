"""Seconds from the start of a process until it would choose a configuration that is as good as asked.

    python experiments/benchmarks/time_to_quality.py [--case NAME ...] [--way NAME ...] [--seeds N] [--seconds S]
        [--picture FILE.png] [--out FILE.json] [--smoke]

Six hyperparameters of a network are searched in the ways of `quality_ways.py`, each in a process of its own and alone
on the machine, in turns. Imports and compilation count, and nothing compiled before is used. Every config that a way
would have chosen is judged afterwards: trained anew with eight other seeds, in the same way for all, and measured on
test data that no way has seen. The machine has to be quiet while ways run; `--out`
keeps what they chose, and where that file is there it is judged, and nothing is run again.

What is asked: as good as the best of 8, of 32 and of 128 random configs. 128 random configs are ranked; the accuracy of
the rank that this is, is that of the three configs about it with eight other seeds.

Result (one case and one seed alone, 40 s, on 2 quiet cores; the other cases are still to be measured):

    Fashion-MNIST, MLP     best of 8 (0.841)    best of 32 (0.847)    best of 128 (0.848)
    jaxhp                         13.8                 13.8                  13.8
    Optuna + PyTorch              14.7  x1.1           38.4  x2.8               -  >x2.9
    Optuna + jitted                7.9  x0.6           10.7  x0.8            10.7   x0.8
    random, vmap                  17.7  x1.3              -  >x2.9              -  >x2.9
    Ray ASHA, Hyperoptax             -  >x2.9             -  >x2.9              -  >x2.9

So it is ahead of most, and behind one jitted function that Optuna calls again and again. On 2 cores a network of this
size fills a core by itself, and stacking spares nothing; the first choice comes when 64 configs have been through the
rungs, and about 6 s of it are imports and compiling, so what trains one config after another has a good one sooner.

Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from quality_ways import RANGES, WAYS, Case, search, task_of

import jaxhp as hp

HERE = Path(__file__).parent
POOL, JUDGES = 128, 8
LEVELS = {"best of 8": 8, "best of 32": 32, "best of 128": 128}
Line = dict[str, Any]


def _case(kind: str, sizes: tuple[int, ...], epochs: int, batch: int, image: Any, label: Any, test: int) -> Case:
    """A case of examples in the order given; the last ones are the test data."""
    image, label = np.asarray(image, np.float32), np.asarray(label, np.int32)
    order = np.random.default_rng(0).permutation(len(label))
    parts = np.split(order, [int(0.8 * (len(label) - test)), len(label) - test])
    return Case(kind, sizes, epochs, batch, *({"image": image[rows], "label": label[rows]} for rows in parts))


def _images(data: Any, count: int) -> tuple[Any, Any]:
    return data.train["image"][:count].astype(np.float32) / 255, data.train["label"][:count]


def _fashion(count: int) -> tuple[Any, Any]:
    return _images(hp.data.idx(HERE.parents[2] / "shared/data/fashion_mnist"), count)


def _table(name: str) -> tuple[Any, Any]:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    scaled = (found.data - found.data.mean(0)) / np.maximum(found.data.std(0), 1e-6)  # pixels that are always 0
    return scaled, found.target if name != "diabetes" else found.target > np.median(found.target)


CASES: dict[str, Callable[[], Case]] = {
    "MNIST sample, MLP": lambda: _case("mlp", (100, 100), 20, 50, *_images(hp.data.mnist_sample(), 2500), 1000),
    "MNIST sample, CNN": lambda: _case("cnn", (8, 16), 10, 50, *_images(hp.data.mnist_sample(), 2500), 1000),
    "Fashion-MNIST, MLP": lambda: _case("mlp", (64,), 20, 100, *_fashion(15_000), 5000),
    "Fashion-MNIST, CNN": lambda: _case("cnn", (8, 16), 10, 100, *_fashion(8000), 3000),
    "digits, MLP": lambda: _case("mlp", (64,), 30, 50, *_table("digits"), 600),
    "breast cancer, MLP": lambda: _case("mlp", (32,), 30, 20, *_table("breast_cancer"), 200),
    "diabetes, MLP": lambda: _case("mlp", (32,), 30, 20, *_table("diabetes"), 150),
}


class Judge:
    """Accuracies on test data of configs that are trained anew."""

    def __init__(self, case: Case):
        self._task, self._epochs = task_of(case, valid=case.test), case.epochs

    def accuracies(self, configs: list[Line], seeds: range) -> Any:
        """f64[configs], means over seeds."""
        scores = [hp.score(self._task, configs, epochs=self._epochs, seed=seed) for seed in seeds]
        return np.mean(np.nan_to_num(scores), axis=0)


def levels(judge: Judge, pool: int) -> dict[str, float]:
    """The accuracy that each level asks for."""
    rng = np.random.default_rng(0)

    def value(kind: str, low: float, high: float) -> float:
        u = float(rng.random())
        found = low * (high / low) ** u if kind == "log" else low + (high - low) * u
        return round(found) if kind == "int" else found

    configs = [{name: value(kind, low, high) for name, (low, high, kind) in RANGES.items()} for _ in range(pool)]
    order = np.argsort(-judge.accuracies(configs, range(100, 101)))
    found = {}
    for name, of in LEVELS.items():
        rank = max(pool / of, 1) * np.log(2)  # where the best of so many lies in half of all draws
        about = order[max(int(rank) - 1, 0) :][:3]
        found[name] = float(judge.accuracies([configs[row] for row in about], range(200, 200 + JUDGES)).mean())
    return found


def run(way: str, file: str, seed: int, seconds: float) -> list[Line]:
    """Whom a way would have chosen, and when, in so many seconds."""
    environment = {**os.environ, "JAXHP_CACHE": "off", "PYTHONPATH": os.pathsep.join(map(str, [HERE.parents[1], HERE]))}
    environment.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # jaxhp's modules are kept compiled, as those of installed packages
    command = [sys.executable, "-W", "ignore", __file__, "--worker", way, file, str(seed)]
    began = time.time()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [*command, repr(began)], stdout=out, stderr=subprocess.PIPE, env=environment, start_new_session=True
        )
        try:
            _, error = process.communicate(timeout=seconds)
            if process.returncode:
                print(f"{way}: {error.decode()[-400:]}", file=sys.stderr)
        except subprocess.TimeoutExpired:
            pass
        _end(process)
        out.seek(0)
        lines = [json.loads(line) for line in out if line.startswith("{")]
    chosen: list[Line] = []
    for line in sorted(lines, key=lambda line: line["at"]):
        if line["at"] <= seconds and (line["final"] or not chosen or line["score"] > chosen[-1]["score"]):
            chosen.append(line)
    return chosen


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a way and all that it has started; Ray's processes have groups of their own."""
    for pid in [process.pid, *_below(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


def _below(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = parents.get(pid, [])
    return found + [below for child in found for below in _below(child)]


def reached(chosen: list[Line], level: float) -> float:
    """Seconds until a config that good was chosen, infinity where none was."""
    return min((line["at"] for line in chosen if line["test"] >= level), default=float("inf"))


def quartiles(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}" if np.isfinite(values[0]) else "-"
    ordered = sorted(values)
    low, middle, high = (ordered[round(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
    return " ".join(f"{value:.1f}" if np.isfinite(value) else "-" for value in (middle, low, high))


def picture(found: Line, file: str) -> None:
    """Draw the accuracy on test data of what would be chosen, by time: medians over seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(5 * len(found), 4), squeeze=False, layout="constrained")
    for ax, (name, case) in zip(axes[0], found.items(), strict=True):
        times = np.geomspace(1, case["seconds"], 200)
        for way, runs in case["ways"].items():
            curves = [
                [next((line["test"] for line in reversed(chosen) if line["at"] <= t), np.nan) for t in times]
                for chosen in runs
            ]
            ax.step(times, np.median(curves, axis=0), where="post", label=way, lw=2.5 if way == "jaxhp" else 1.2)
        for level, value in case["levels"].items():
            ax.axhline(value, color="0.8", lw=0.8, zorder=0)
            ax.annotate(level, (1, value), fontsize=7, color="0.4")
        low = min(case["levels"].values())
        ax.set(xscale="log", xlabel="seconds from the start of the process", title=name, ylabel="test accuracy")
        ax.set_ylim(low - 0.05, max(case["levels"].values()) + 0.02)
    axes[0][0].legend(fontsize=8)
    figure.savefig(file, dpi=120)


def searched(case: Case, names: list[str], seeds: int, seconds: float) -> dict[str, list[list[Line]]]:
    """Whom each way would have chosen, seed by seed."""
    ways: dict[str, list[list[Line]]] = {way: [] for way in names}
    with tempfile.NamedTemporaryFile(suffix=".case") as file:
        pickle.dump(tuple(case), file)
        file.flush()
        for seed in range(seeds):
            for way in names:
                ways[way].append(run(way, file.name, seed, seconds))
    return ways


def judged(case: Case, ways: dict[str, list[list[Line]]], seconds: float, pool: int) -> Line:
    """The levels of a case; every line gets what its config reaches on test data."""
    judge = Judge(case)
    wanted = levels(judge, pool)
    lines = [line for runs in ways.values() for chosen in runs for line in chosen]
    accuracies = judge.accuracies([line["config"] for line in lines], range(300, 300 + JUDGES))
    for line, accuracy in zip(lines, accuracies, strict=True):
        line["test"] = float(accuracy)
    return {"levels": wanted, "ways": ways, "seconds": seconds}


def show(name: str, case: Line, seeds: int) -> None:
    """Print the table of a case."""
    wanted, ways = case["levels"], case["ways"]
    print(f"\n{name}: seconds, median and quartiles of {seeds}; how many times those of jaxhp")
    print(f"{'':20}" + "".join(f"{level} ({value:.3f})".rjust(28) for level, value in wanted.items()))
    first = ways.get("jaxhp", next(iter(ways.values())))
    ours = {level: statistics.median([reached(c, v) for c in first]) for level, v in wanted.items()}
    for way, runs in ways.items():
        cells = []
        for level, value in wanted.items():
            times = [reached(chosen, value) for chosen in runs]
            middle = statistics.median(times)
            ratio = f"{middle / ours[level]:.1f}" if np.isfinite(middle) else f">{case['seconds'] / ours[level]:.1f}"
            ratio = f"x{ratio}" if np.isfinite(ours[level]) else "-"
            cells.append(f"{quartiles(times)}  {ratio}".rjust(28))
        print(f"{way:20}" + "".join(cells), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        search(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", nargs="*", choices=CASES, default=[*CASES])
    parser.add_argument("--way", nargs="*", choices=WAYS, default=[*WAYS])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--picture", metavar="FILE.png")
    parser.add_argument("--out", metavar="FILE.json", type=Path)
    parser.add_argument("--smoke", action="store_true", help="one small case, two ways, a minute in all")
    asked = parser.parse_args()
    if asked.smoke:
        asked.case, asked.way, asked.seeds, asked.seconds = ["digits, MLP"], ["jaxhp", "random, vmap"], 1, 12.0
    cases = {name: CASES[name]() for name in asked.case}
    if asked.out and asked.out.exists():
        ran = json.loads(asked.out.read_text())
    else:
        ran = {name: searched(case, asked.way, asked.seeds, asked.seconds) for name, case in cases.items()}
        if asked.out:
            asked.out.write_text(json.dumps(ran))
    found: Line = {}
    for name, case in cases.items():
        found[name] = judged(case, ran[name], asked.seconds, 16 if asked.smoke else POOL)
        show(name, found[name], asked.seeds)
    if asked.picture:
        picture(found, asked.picture)


if __name__ == "__main__":
    main()
