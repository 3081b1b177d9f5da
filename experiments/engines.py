"""Small searches on real engines, each with the digest of one process, also while workers die, halt and join.

    python experiments/engines.py                             every engine but MPI, every search
    python experiments/engines.py dask ray --searches pbt gp  of these
    python experiments/engines.py dask ray slurm --disturb    a worker is killed or halted, and another joins
    python experiments/engines.py dask slurm --relay          begun on the first, gone on with on the second
    python experiments/engines.py dask --overhead             one worker against one process, at units of ten seconds
    python experiments/engines.py dask --kills 60             random kills for a minute, for each search
    mpiexec -n 3 python experiments/engines.py mpi            MPI, whose ranks mpiexec starts

Engines start on this machine: three Ray nodes, a Dask cluster of four processes, submitit's local executor with two
jobs. It prints each digest, and ends with code 1 where one differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"jaxhp-engines-{os.getuid()}"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])

import small_loop  # noqa: E402
from safety_net import SEARCHES as SMALL  # noqa: E402
from safety_net import small  # noqa: E402

import jaxhp as hp  # noqa: E402
from jaxhp.executors.pool import as_pool  # noqa: E402


def book() -> hp.Search:
    """The search of `book.py`, smaller."""
    task = hp.tasks.mlp(hp.data.mnist_sample(500), hidden=(100,) * 6)
    space = hp.Space(lr=hp.LogUniform(1e-6, 1e-2), weight_decay=hp.LogUniform(1e-8, 1e-4))
    return hp.Search(task, space, hp.Narrowing(population=(16, 8)), epochs=5, seed=0)


SEARCHES: dict[str, Callable[[], hp.Search]] = {
    "book": book,
    **{name: SMALL[name] for name in ("halving", "pbt", "gp", "folds", "replicates", "groups", "stream")},
    "loop": lambda: small(hp.Halving(9, eta=3), small_loop.LOOP),
}


class Started(NamedTuple):
    """An engine that runs."""

    pool: Any
    kill: Callable[[], object] = lambda: None
    join: Callable[[], object] = lambda: None
    numbers: Callable[[], list[int]] = list  # of the processes that work
    replace: Callable[[], object] = lambda: None  # one that was killed


@contextmanager
def processes(workers: int = 3) -> Iterator[Started]:
    pool = hp.executors.Processes(workers)
    yield Started(pool, lambda: end(pool), numbers=lambda: [each._process.pid for each in pool._slots if each])
    pool.close()


@contextmanager
def plain(workers: int = 2) -> Iterator[Started]:
    """What has `submit` and nothing else."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield Started(pool)


@contextmanager
def dask(workers: int = 4) -> Iterator[Started]:
    from distributed import Client, LocalCluster

    cluster: Any = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        pool = hp.executors.Dask(client)
        yield Started(
            pool,
            lambda: end(pool),
            lambda: cluster.scale(workers + 1),
            lambda: [nanny.pid for nanny in cluster.workers.values() if nanny.pid],
            lambda: cluster.scale(workers),  # where a nanny has given up, as on a busy machine
        )
        pool.close()


@contextmanager
def ray(workers: int = 3) -> Iterator[Started]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(workers - 1)]
    pool = hp.executors.Ray(cluster.address)
    try:
        yield Started(
            pool,
            lambda: cluster.remove_node(nodes.pop(), allow_graceful=False),
            lambda: nodes.append(cluster.add_node(num_cpus=1)),
            lambda: actors(os.getpid()),
        )
    finally:
        pool.close()
        cluster.shutdown()


@contextmanager
def slurm(workers: int = 2) -> Iterator[Started]:
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        pool = hp.executors.Slurm(folder, nodes=workers, cluster="local", timeout_min=60, patience=5)
        late: list[Any] = []

        def join() -> None:
            calls = next(Path(folder).glob("calls-*"))
            late.append(subprocess.Popen([sys.executable, "-m", "jaxhp.executors.serve", str(calls)]))

        yield Started(
            pool,
            lambda: end(pool, signal.SIGSTOP),
            join,
            lambda: [int(name.split("-")[-2]) for name in pool.workers()],
            join,
        )
        pool.close()
        for process in late:
            process.wait()


@contextmanager
def mpi() -> Iterator[Started]:
    pool = hp.executors.MPI()
    yield Started(pool)
    pool.close()


_ALL: tuple[Any, ...] = (processes, plain, dask, ray, slurm, mpi)
ENGINES = {each.__name__: each for each in _ALL}


def actors(ancestor: int) -> list[int]:
    """Return the processes of the actors of the clusters that a process has started."""
    import psutil

    found = []
    for process in psutil.Process(ancestor).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::_Actor"):
                found.append(process.pid)
    return found


def end(pool: Any, by: signal.Signals = signal.SIGKILL) -> None:
    """End, or halt, a worker; one that is halted goes on after ten seconds."""
    number = pool.submit(os.getpid, worker=pool.workers()[-1]).result()
    os.kill(number, by)
    if by == signal.SIGSTOP:
        os.spawnvp(os.P_NOWAIT, "sh", ["sh", "-c", f"sleep 10; kill -CONT {number}"])


def disturbed(started: Started, after: int) -> Callable[[Any], None]:
    """Return an observer that has a worker die at the `after`-th event of a search, and another join at twice that."""
    what = {after: started.kill, 2 * after: started.join}
    told = iter(range(1, 10**9))

    def observe(event: Any) -> None:
        what.get(next(told), lambda: None)()

    return observe


@cache
def alone(name: str) -> str:
    """Return the digest of one process."""
    return SEARCHES[name]().run(quiet=True).digest


def same(engine: str, name: str, result: hp.Result, seconds: float, more: str = "") -> bool:
    """Print what came of a search, and return whether its digest is that of one process."""
    fine = result.digest == alone(name)
    text = "same" if fine else f"OTHER than {alone(name)[:12]}"
    print(f"{engine:14} {name:12} {result.digest[:12]} {text}  {seconds:.1f} s{more}", flush=True)
    return fine


def compare(engine: str, names: list[str], disturb: bool) -> bool:
    """Run searches on an engine; return whether all have the digest of one process."""
    with ENGINES[engine]() as started:
        fine = []
        for name in names:
            began = time.perf_counter()
            watch = [disturbed(started, 3)] if disturb else []
            with tempfile.TemporaryDirectory() as folder:
                result = SEARCHES[name]().run(folder, quiet=True, executor=started.pool, watch=watch)
            workers = f", {len(as_pool(started.pool).workers())} workers"
            fine.append(same(engine, name, result, time.perf_counter() - began, workers))
    return all(fine)


def relay(engines: list[str], name: str) -> bool:
    """Stop a search on each engine but the last; return whether it ends with the digest of one process."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for engine in engines[:-1]:
            told = iter(range(1, 10**9))

            def stop(event: Any, told: Iterator[int] = told) -> None:
                if next(told) == 8:
                    raise hp.Stopped("to go on elsewhere")

            with ENGINES[engine]() as started, contextlib.suppress(hp.Stopped):
                SEARCHES[name]().run(folder, quiet=True, executor=started.pool, watch=[stop])
        with ENGINES[engines[-1]]() as started:
            result = SEARCHES[name]().run(folder, quiet=True, executor=started.pool)
    return same(" then ".join(engines), name, result, time.perf_counter() - began)


def overhead(engines: list[str]) -> None:
    """Print what engines with one worker each cost beyond one process, in wall and in CPU seconds.

    Both train a short and a long search, in turn: the difference has neither start nor compilation in it.
    """

    def search(epochs: int) -> hp.Search:
        task = hp.tasks.mlp(hp.data.mnist_sample(500), hidden=(100,) * 6)
        space = hp.Space(lr=hp.LogUniform(1e-6, 1e-2), weight_decay=hp.LogUniform(1e-8, 1e-4))
        return hp.Search(task, space, hp.Random(32), epochs=epochs, finals=None)

    def spent(pool: Any, epochs: int) -> np.ndarray:
        def now() -> np.ndarray:
            there = 0.0 if pool is None else pool.submit(time.process_time).result()
            return np.array([time.perf_counter(), time.process_time() + there, time.process_time()])

        began = now()
        search(epochs).run(quiet=True, executor=pool)
        return now() - began

    def difference(pool: Any) -> np.ndarray:
        return -spent(pool, 5) + spent(pool, 105)

    for engine in engines:
        with ENGINES[engine](1) as started:
            turns = np.array([(difference(None), difference(started.pool)) for _ in range(3)])
        here, there = turns.min(0)  # the least disturbed by whatever else runs
        for what, one, other in zip(("wall", "CPU"), here, there, strict=False):
            text = f"{one:.1f} in one process, {other:.1f} on a worker, {other / one - 1:+.1%}"
            print(f"{engine:10} {what:4} seconds: {text}", flush=True)
        print(f"{engine:10} CPU  seconds of those who coordinate: {there[2]:.2f}", flush=True)


def killed(engine: str, name: str, seconds: float, pause: float) -> bool:
    """Run a search again and again while random workers are killed; return whether all have the same digest."""
    until, kills, fine, rng = time.monotonic() + seconds, 0, [], random.Random(0)
    with ENGINES[engine]() as started:
        over = threading.Event()

        def kill() -> None:
            nonlocal kills
            while not over.wait(rng.uniform(0.5, 1.5) * pause):
                if numbers := started.numbers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(rng.choice(numbers), signal.SIGKILL)
                        kills += 1
                        started.replace()

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            while time.monotonic() < until:
                began = time.perf_counter()
                with tempfile.TemporaryDirectory() as folder:
                    result = SEARCHES[name]().run(folder, quiet=True, executor=started.pool)
                fine.append(same(engine, name, result, time.perf_counter() - began, f", {kills} kills so far"))
        finally:
            over.set()
            thread.join()
    print(f"{engine:14} {name:12} {sum(fine)} of {len(fine)} runs the same, {kills} kills", flush=True)
    return all(fine)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=[*SEARCHES])
    parser.add_argument("--disturb", action="store_true")
    parser.add_argument("--relay", action="store_true")
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--kills", type=float, metavar="SECONDS", help="of random kills, for each engine and search")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between kills, about")
    parser.add_argument("--smoke", action="store_true", help="one search in two processes")
    asked = parser.parse_args()
    if asked.smoke:
        asked.engines, asked.searches = ["processes"], ["pbt"]
    engines = asked.engines or [name for name in ENGINES if name != "mpi"]
    if asked.overhead:
        overhead(engines)
        return 0
    if asked.kills:
        pairs = [(engine, name) for engine in engines for name in asked.searches]
        return not all([killed(*pair, asked.kills, asked.pause) for pair in pairs])
    if asked.relay:
        return not all([relay(engines, name) for name in asked.searches])
    return not all([compare(engine, asked.searches, asked.disturb) for engine in engines])


if __name__ == "__main__":
    sys.exit(main())
