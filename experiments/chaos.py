"""Kills, stops and replaces the processes of searches on several workers, and compares every end with a quiet one.

    python experiments/chaos.py --kills 50      # about ten minutes of two cores
    python experiments/chaos.py --smoke         # 4 kills of one strategy, a minute

The searches of `kill_harness.py`, with longer trainings, run on three worker processes, the third of which joins late.
At random moments a worker or the process that coordinates is killed with SIGKILL, or a worker stops (SIGSTOP) and goes
on some seconds later (SIGCONT), as one that is slow. A worker that was killed has a successor. After the coordinator
was killed its workers must end by themselves, all that the ledger held must be there, unchanged and once, and the
search goes on with workers again or, three times of ten, in one process. Every digest must be that of one process.

Result on 2 cores that others used too (a load of 20), `--pause 3`, seeds 4 and 5 (15 and 10 minutes) of versions that
struck the coordinator more often: 100 kills over 9 searches of four strategies, 31 of workers, 69 of coordinators (42
resumed with workers, 27 in one process), 6 workers stopped; no trial lost or doubled, every digest that of one process.
Before that a run found that a worker that died while it was asked what it is ended the search; another one is asked
now. Five that die there one after another still end it.
"""

import argparse
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
harness = importlib.import_module("kill_harness")

import jaxhp as hp  # noqa: E402, beside what it is used with
from jaxhp.executors.processes import Processes  # noqa: E402

BATCH, PATIENCE_S, GROWN_S = 4, 600, 15
KINDS = ("worker", "coordinator", "stop")
CHANCES = (0.65, 0.15, 0.2)


class Late:
    """A pool of three processes, of which the last one joins after a while."""

    def __init__(self, after_s: float):
        self._first, self._last, self._from = Processes(2), Processes(1), time.monotonic() + after_s

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`."""
        late = [f"late {name}" for name in self._last.workers()] if time.monotonic() > self._from else []
        return [*self._first.workers(), *late]

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`."""
        if worker is not None and worker.startswith("late "):
            return self._last.submit(fn, *args, worker=worker.removeprefix("late "))
        return self._first.submit(fn, *args, worker=worker)

    def close(self) -> None:
        """See `Pool.close`."""
        self._first.close()
        self._last.close()


def make(kind: str, epochs: int) -> hp.Search:
    """Return a search of `kill_harness.py` whose trainings take long enough to be disturbed."""
    few = harness.make(kind)
    task = few.task
    assert isinstance(task, hp.Task)
    return hp.Search(
        replace(task, batch_size=BATCH),
        few.space,
        few.strategy,
        epochs=epochs,
        seed=0,
        tile=4,
        finals=hp.Finals(top=2, replicates=4),
    )


def start(kind: str, epochs: int, directory: Path, workers: bool) -> int:
    """Run or resume a search in a process of its own; return its id."""

    def run() -> None:
        make(kind, epochs).run(directory, quiet=True, executor=Late(random.uniform(2, 15)) if workers else None)

    return harness.forked(directory, run)


def workers_of(coordinator: int) -> list[int]:
    """Return the processes that a coordinator has started, which are its workers."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"jaxhp.executors" in (entry / "cmdline").read_bytes():
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                found += [int(entry.name)] * (int(parent) == coordinator)
        except OSError:  # it has ended
            continue
    return sorted(found)


def is_over(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def sent(process: int, number: int) -> bool:
    """Send a signal to a process that may be gone; tell whether it was there."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True


class Disturbed:
    """A search that is disturbed until it ends.

    Args:
      kind, epochs: its strategy, and how long it trains.
      directory: its run directory.
      pause: seconds between two blows at most.
      left: how many kills there may be.
    """

    def __init__(self, kind: str, epochs: int, directory: Path, pause: float, left: int):
        self._of, self._directory, self._pause, self._left = (kind, epochs), directory, pause, left
        self._stopped: dict[int, float] = {}  # until when
        self._seen: dict[int, float] = {}  # since when
        self.done: Counter[str] = Counter()

    @property
    def kills(self) -> int:
        return self.done["worker"] + self.done["coordinator"]

    def run(self) -> None:
        """Go on until the search has ended by itself."""
        process = start(*self._of, self._directory, True)
        while not is_over(process):
            time.sleep(random.uniform(0.05, self._pause))
            for worker in [worker for worker, until in self._stopped.items() if until < time.monotonic()]:
                del self._stopped[worker]
                sent(worker, signal.SIGCONT)
            if self.kills < self._left and not is_over(process):
                workers = workers_of(process)
                blow = random.choices(KINDS, CHANCES)[0]
                if blow == "coordinator" or not (workers or random.random() < 0.8):  # one process is struck too
                    process = self._without_coordinator(process)
                else:
                    self._strike(workers, blow)
        for worker in self._stopped:
            sent(worker, signal.SIGCONT)
        harness.finish(process, self._directory)

    def _strike(self, workers: list[int], blow: str) -> None:
        """Strike a worker, the sooner the longer it lives: one that is killed before it has begun does nothing lost."""
        now = time.monotonic()
        self._seen = {worker: self._seen.get(worker, now) for worker in workers}
        able = [w for w in workers if w not in self._stopped and now - self._seen[w] >= random.uniform(0, GROWN_S)]
        if not able:
            return
        worker = random.choice(able)
        if blow == "worker":
            self.done[blow] += sent(worker, signal.SIGKILL)
        elif sent(worker, signal.SIGSTOP):
            self.done[blow] += 1
            self._stopped[worker] = time.monotonic() + random.uniform(1, 12)

    def _without_coordinator(self, process: int) -> int:
        before, workers = harness.recorded(self._directory), workers_of(process)
        os.kill(process, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL:
            self.done["coordinator"] += 1
        for worker in self._stopped:
            sent(worker, signal.SIGCONT)
        self._stopped.clear()
        until = time.monotonic() + PATIENCE_S
        while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
            assert time.monotonic() < until, f"workers {workers} live on without their coordinator"
            time.sleep(0.05)
        harness.check_kept(before, harness.recorded(self._directory), self._directory)
        workers_again = random.random() < 0.7
        self.done["resumed with workers" if workers_again else "resumed in one process"] += 1
        return start(*self._of, self._directory, workers_again)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between two blows at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    random.seed(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="chaos_"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")  # of workers too
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    kinds = ["halving"] if options.smoke else [*harness.STRATEGIES]
    kills, epochs = (4, 12) if options.smoke else (options.kills, 25)
    total: Counter[str] = Counter()
    expected = {}
    for number in range(10**6):
        kind = kinds[number % len(kinds)]
        if kind not in expected:
            reference = folder / f"{kind}-reference"
            began = time.perf_counter()
            harness.finish(start(kind, epochs, reference, False), reference)
            expected[kind] = harness.digest(reference)
            took = time.perf_counter() - began
            print(f"{kind}: {took:.1f} s in one process, digest {expected[kind][:16]}", flush=True)
        directory = folder / f"{kind}-{number}"
        left = kills - total["worker"] - total["coordinator"]
        search = Disturbed(kind, epochs, directory, options.pause, min(left, random.randint(10, 30)))
        search.run()
        found = harness.digest(directory)
        assert found == expected[kind], f"{directory}: digest {found}, expected {expected[kind]}"
        total += search.done
        print(f"  {kind} {number}: {dict(search.done)}; the digest is equal", flush=True)
        if total["worker"] + total["coordinator"] >= kills:
            break
    print(f"{total['worker'] + total['coordinator']} kills: {dict(total)}; no trial lost or doubled, all digests equal")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
