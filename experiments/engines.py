"""Many small searches on real engines, each with the digest of one process, also while workers die, halt and join.

    python experiments/engines.py                              every engine, every search
    python experiments/engines.py dask ray --searches pbt gp   of these
    python experiments/engines.py dask ray slurm --disturb     while workers are killed or halted, and others join
    python experiments/engines.py processes dask --overhead    seconds against one process, at units of ten seconds
    mpiexec -n 3 python experiments/engines.py mpi             MPI, whose ranks mpiexec starts

Engines start on this machine: three Ray nodes, a Dask cluster of four processes, submitit's local executor with two
jobs. It prints each digest and ends with code 1 where one differs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

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


class Started:
    """An engine that runs: its workers, and how to disturb it."""

    def __init__(self, pool: Any, kill: Callable[[], None], join: Callable[[], None]):
        self.pool, self.kill, self.join = pool, kill, join


@contextmanager
def processes() -> Iterator[Started]:
    pool = hp.executors.Processes(3)
    yield Started(pool, lambda: end(pool), lambda: None)
    pool.close()


@contextmanager
def plain() -> Iterator[Started]:
    """What has `submit` and nothing else."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield Started(pool, lambda: None, lambda: None)


@contextmanager
def dask() -> Iterator[Started]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        pool = hp.executors.Dask(client)
        yield Started(pool, lambda: end(pool), lambda: cluster.scale(5))
        pool.close()


@contextmanager
def ray() -> Iterator[Started]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    pool = hp.executors.Ray(cluster.address)
    try:
        yield Started(
            pool,
            lambda: cluster.remove_node(nodes.pop(), allow_graceful=False),
            lambda: nodes.append(cluster.add_node(num_cpus=1)),
        )
    finally:
        pool.close()
        cluster.shutdown()


@contextmanager
def slurm() -> Iterator[Started]:
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        pool = hp.executors.Slurm(folder, nodes=2, cluster="local", timeout_min=60, patience=5)
        late: list[Any] = []

        def join() -> None:
            calls = next(Path(folder).glob("calls-*"))
            late.append(subprocess.Popen([sys.executable, "-m", "jaxhp.executors.serve", str(calls)]))

        yield Started(pool, lambda: end(pool, signal.SIGSTOP), join)
        pool.close()
        for process in late:
            process.wait()


@contextmanager
def mpi() -> Iterator[Started]:
    pool = hp.executors.MPI()
    yield Started(pool, lambda: None, lambda: None)
    pool.close()


ENGINES = {each.__name__: each for each in (processes, plain, dask, ray, slurm, mpi)}


def end(pool: Any, by: signal.Signals = signal.SIGKILL) -> None:
    """End, or halt, a worker; one that is halted goes on after ten seconds."""
    number = pool.submit(os.getpid, worker=pool.workers()[-1]).result()
    os.kill(number, by)
    if by == signal.SIGSTOP:
        os.spawnvp(os.P_NOWAIT, "sh", ["sh", "-c", f"sleep 10; kill -CONT {number}"])


def disturbance(started: Started, after: int) -> Callable[[Any], None]:
    """Return an observer that disturbs an engine twice: at the `after`-th event of a search, and at twice that."""
    told = 0

    def observe(event: Any) -> None:
        nonlocal told
        told += 1
        if told == after:
            started.kill()
        if told == 2 * after:
            started.join()

    return observe


def seconds() -> float:
    """Seconds of CPU time of this process and of those of its children that have ended."""
    return sum(os.times()[:4])


@cache
def alone(name: str) -> str:
    """Return the digest of one process."""
    return SEARCHES[name]().run(quiet=True).digest


def compare(engine: str, names: list[str], disturb: bool) -> int:
    """Run searches on an engine; return how many have another digest than in one process."""
    with ENGINES[engine]() as started:
        wrong = 0
        for name in names:
            began = time.perf_counter()
            events: list[Any] = []
            watch = [events.append, *([disturbance(started, 3)] if disturb else [])]
            with tempfile.TemporaryDirectory() as folder:
                found = SEARCHES[name]().run(folder, quiet=True, executor=started.pool, watch=watch).digest
            same = found == alone(name)
            wrong += not same
            took = time.perf_counter() - began
            text = f"{engine:10} {name:12} {found[:12]} {'same' if same else 'OTHER than ' + alone(name)[:12]}"
            print(f"{text}  {len(events)} events, {took:.1f} s, {len(hp.executors.pool.as_pool(started.pool).workers())} workers", flush=True)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=[*SEARCHES])
    parser.add_argument("--disturb", action="store_true")
    asked = parser.parse_args()
    engines = asked.engines or [name for name in ENGINES if name != "mpi"]
    sys.exit(bool(sum(compare(engine, asked.searches, asked.disturb) for engine in engines)))
