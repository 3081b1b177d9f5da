"""Kills searches with SIGKILL at random moments, resumes them, and compares every end with an uninterrupted one.

    python experiments/kill_harness.py --kills 240      # about half an hour
    python experiments/kill_harness.py --smoke          # 4 kills, less than a minute
    python experiments/kill_harness.py --points         # dies at every named crash point instead

Four strategies (random, halving, population based training, Gaussian process) train a network of 150 weights in many
short calls with a checkpoint after each. A process is killed after a random time, started again on its directory,
killed again, and so on; in the end it is left to finish. After every kill all trials that the ledger held before must
be there, unchanged and once; the final digest must be that of a run nobody touched. The table at the end says what
the processes were doing when they died.

Result on 2 shared cores, as runs of `--kills 24` with seeds 11 to 15 and 21 to 25 (2 to 4 minutes each): 240 kills, of
which 56 at a checkpoint, 43 while compiling, 32 while starting, 25 in a step, 14 in a commit and 70 in between; no
trial lost or counted twice, every digest that of the run nobody touched.
"""

import argparse
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxhp as hp
from jaxhp.engine import population
from jaxhp.engine.events import STORED, Event, Observer, Progressed, Stored
from jaxhp.store import checkpoints as checkpoint
from jaxhp.store.ledger import Ledger
from jaxhp.strategies import GP, PBT, Halving, Random

PHASES = ("start", "compile", "step", "checkpoint", "commit", "between")
STEP = "step done"  # a call of the step is done; nothing of it is on disk yet
POINTS = (*STORED, STEP)
STRATEGIES = {
    "random": Random(population=24, rounds=3),
    "halving": Halving(population=27, eta=3, rounds=2),
    "pbt": PBT(population=12, generations=5),
    "gp": GP(population=12, rounds=4),
}


def make(kind: str) -> hp.Search:
    """A search over the learning rate and momentum of a small regression; some rates are too high, and diverge."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8)).astype(np.float32)
    data = {"x": x, "y": np.tanh(x @ rng.normal(size=8)).astype(np.float32)}
    train, valid = hp.split(data, valid=0.2, seed=0)

    def init(key, config):
        keys = jax.random.split(key)
        return {"w": 0.3 * jax.random.normal(keys[0], (8, 16)), "v": 0.3 * jax.random.normal(keys[1], (16,))}

    def error(params, batch):
        return (jnp.tanh(batch["x"] @ params["w"]) @ params["v"] - batch["y"]) ** 2

    task = hp.Task(
        init,
        lambda params, batch, key, config: jnp.mean(error(params, batch)),
        lambda params, batch, config: {"error": error(params, batch)},
        lambda config: optax.sgd(config["lr"], config["momentum"]),
        train=train,
        valid=valid,
        batch_size=20,
        metric="error",
        mode="min",
    )
    space = hp.Space(lr=hp.LogUniform(1e-4, 30.0), momentum=hp.Uniform(0.0, 0.95))
    return hp.Search(task, space, STRATEGIES[kind], epochs=9, seed=0, tile=4, finals=hp.Finals(top=2, replicates=4))


def watch(phase: mmap.mmap) -> None:
    """Lets the process say what it is doing."""

    def during(name: str, function):
        def wrapped(*args, **kwargs):
            before, phase[0] = phase[0], PHASES.index(name)
            try:
                return function(*args, **kwargs)
            finally:
                phase[0] = before if before else PHASES.index("between")

        return wrapped

    searches: Any = import_module("jaxhp.search.asked")
    searches.compile = during("compile", searches.compile)
    population.Population.step = during("step", population.Population.step)
    checkpoint.Checkpoints.save = during("checkpoint", checkpoint.Checkpoints.save)
    for name in ("begin", "finish", "record_finals", "record_part"):
        setattr(Ledger, name, during("commit", getattr(Ledger, name)))


def dying(crash: str) -> Observer:
    """Return the observer that ends the process at the n-th passing of a point, given as `point:n`."""
    point, _, number = crash.partition(":")
    passed = 0

    def observe(event: Event) -> None:
        nonlocal passed
        passed += isinstance(event, Progressed) if point == STEP else event == Stored(point)
        if passed == int(number):
            os._exit(86)

    return observe


def start(kind: str, directory: Path, phase: mmap.mmap, crash: str = "") -> int:
    """Runs or resumes a search in a process of its own, and returns its id."""
    phase[0] = 0

    def run() -> None:
        watch(phase)
        make(kind).run(directory, quiet=True, checkpoint_s=0, watch=[dying(crash)] if crash else [])

    return forked(directory, run)


def forked(directory: Path, run: Callable[[], None]) -> int:
    """Does something in a process of its own, whose output goes to a log beside a directory, and returns its id."""
    process = os.fork()
    if process:
        return process
    try:
        with open(directory.with_suffix(".log"), "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        run()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def recorded(directory: Path) -> dict[int, tuple]:
    """What the ledger holds of finished trials."""
    if not (directory / "ledger.sqlite").exists():
        return {}
    try:
        with Ledger(directory) as ledger:
            trials = [t for t in ledger.trials(curves=False) if t.status is not hp.Status.RUNNING]
            rounds = [r for r in map(ledger.round, range(9)) if r is not None and r.scores is not None]
    except ValueError as error:
        if "got schema None" in str(error):  # killed before the first transaction
            return {}
        raise
    trained = [(int(trial), r.epochs) for r in rounds for trial in r.trials]
    assert len(set(trained)) == len(trained), f"{directory}: a trial was counted twice"
    assert {trial for trial, _ in trained} == {t.trial_id for t in trials}, f"{directory}: trials without a round"
    return {t.trial_id: (t.config, t.epochs, t.score) for t in trials}


def check_kept(before: dict[int, tuple], after: dict[int, tuple], directory: Path) -> None:
    """Every trial that was recorded is there, and as it was unless it has been trained further."""
    for trial, (config, epochs, score) in before.items():
        assert trial in after, f"{directory}: trial {trial} was lost"
        now = after[trial]
        assert now[0] == config, f"{directory}: the config of trial {trial} changed"
        assert now[1] > epochs or repr(now[1:]) == repr((epochs, score)), f"{directory}: trial {trial} changed"


def finish(process: int, directory: Path, expected: int = 0) -> float:
    """Waits for a process to end by itself, and returns how long it took."""
    began = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code != expected:
        print(directory.with_suffix(".log").read_text()[-3000:])
        sys.exit(f"{directory}: expected exit code {expected}, got {code}")
    return time.perf_counter() - began


def digest(directory: Path) -> str:
    with Ledger(directory) as ledger:
        return ledger.digest()


def wait(process: int, phase: mmap.mmap, took: float) -> None:
    """Waits for a random time; every other time until the process does something chosen at random, too."""
    aim = random.randrange(1, len(PHASES)) if random.random() < 0.5 else None
    if aim is None or PHASES[aim] != "compile":  # which comes first, and not again
        time.sleep(random.uniform(0, took))
    while aim not in (None, phase[0]) and not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(1e-4)
    time.sleep(random.uniform(0, 2e-3))


def kill_one(kind: str, directory: Path, phase: mmap.mmap, took: float, expected: str, kills: int) -> Counter[str]:
    """Kills a search so many times and lets it finish."""
    died: Counter[str] = Counter()
    while sum(died.values()) < kills:
        before = recorded(directory)
        process = start(kind, directory, phase)
        wait(process, phase, took)
        os.kill(process, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL:
            died[PHASES[phase[0]]] += 1
        else:  # it was done already: begin again
            shutil.rmtree(directory)
            before = {}
        check_kept(before, recorded(directory), directory)
    before = recorded(directory)
    finish(start(kind, directory, phase), directory)
    check_kept(before, recorded(directory), directory)
    found = digest(directory)
    assert found == expected, f"{directory}: digest {found}, expected {expected}"
    shutil.rmtree(directory)
    return died


def crash_at_points(kind: str, folder: Path, phase: mmap.mmap, expected: str) -> int:
    """Dies at the first and second passing of every crash point, resumes and compares."""
    reached = 0
    for number in (1, 2):
        for point in POINTS:
            directory = folder / f"{kind}-{point.replace(' ', '-')}-{number}"
            process = start(kind, directory, phase, f"{point}:{number}")
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if code == 86:
                reached += 1
                finish(start(kind, directory, phase), directory)
            elif code != 0 or (number == 1 and point not in ("checkpoint forgotten", "checkpoint removed")):
                print(directory.with_suffix(".log").read_text()[-3000:])
                sys.exit(f"{kind}: expected to die at {point!r}, but the process ended with {code}")
            assert digest(directory) == expected, f"{directory}: another digest"
            shutil.rmtree(directory)
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--points", action="store_true")
    options = parser.parse_args()
    random.seed(options.seed)
    warnings.simplefilter("ignore", RuntimeWarning)  # JAX is imported before the fork, but its backend is not started
    folder = Path(tempfile.mkdtemp(prefix="kill_harness_"))
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    phase = mmap.mmap(-1, 1)
    total: Counter[str] = Counter()
    kills = 4 if options.smoke else options.kills
    for kind in STRATEGIES:
        reference = folder / f"{kind}-reference"
        finish(start(kind, reference, phase), reference)
        expected = digest(reference)
        again = folder / f"{kind}-again"  # everything is compiled now: how long does one take?
        took = finish(start(kind, again, phase), again)
        assert digest(again) == expected
        print(f"{kind}: {len(recorded(reference))} trials, {took:.1f} s, digest {expected[:16]}", flush=True)
        if options.points:
            print(f"  {crash_at_points(kind, folder, phase, expected)} crash points passed", flush=True)
            continue
        died: Counter[str] = Counter()
        searches = 0
        while sum(died.values()) < kills // len(STRATEGIES):
            left = kills // len(STRATEGIES) - sum(died.values())
            died += kill_one(
                kind, folder / f"{kind}-{searches}", phase, took, expected, min(left, random.randint(1, 8))
            )
            searches += 1
        total += died
        print(f"  {sum(died.values())} kills over {searches} searches: {dict(died)}; every digest equal", flush=True)
    if not options.points:
        print(f"{sum(total.values())} kills: {dict(total)}; no trial lost or counted twice, all digests equal")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
