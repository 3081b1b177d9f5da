"""Workers that are jobs of Slurm, started by submitit; they take calls from a folder (`mailbox.py`)."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from jaxhp.executors.mailbox import Mailbox
from jaxhp.executors.options import options
from jaxhp.executors.post import BEAT_S, PATIENCE_S
from jaxhp.executors.serve import serve
from jaxhp.packages import needed
from jaxhp.store.files import located
from jaxhp.values import Error, check_int

_SHARED = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "name")  # by submitit, on any cluster
_LOOK_S = 10.0  # how often Slurm is asked for jobs, while no worker lives
_GRACE_S = 3.0  # that workers have to end by themselves
_TIMEOUTS = 1000  # how often a job that reached its limit of time, or had to make room, is queued again


class Slurm:
    """Jobs of Slurm, one a worker, with all devices that the job is given.

    They are an array where there are several. A job that has to make room, or reaches its limit of time, says so,
    is queued again and joins anew. What they print is under `folder/logs`.

    Args:
      folder: one that this machine and the nodes see, for logs and calls. Whoever can write into it can run code as
        you.
      nodes: how many jobs.
      cluster: None: Slurm, where there is one, or else processes on this machine; "local": these, as a trial.
      patience: a worker that has not been heard of for so many seconds is lost.
      options: of a job, as `sbatch` names them, such as `partition="gpu", gres="gpu:1", account=..., time=240`, or as
        submitit does: `timeout_min`, `mem_gb`, `cpus_per_task`, `gpus_per_node`, `name`.

    Raises:
      Error: submitit is missing, or refuses an option.
    """

    def __init__(
        self,
        folder: str | Path,
        nodes: int = 1,
        *,
        cluster: str | None = None,
        patience: float = PATIENCE_S,
        **options: Any,
    ):
        submitit = needed("submitit", "executor:", "submitit", "slurm")
        check_int("nodes", nodes, 1)
        root = located(folder, "folder")
        calls = root / f"calls-{secrets.token_hex(4)}"
        named = {name if name in _SHARED else f"slurm_{name}": value for name, value in options.items()}
        try:
            executor = submitit.AutoExecutor(root / "logs", cluster=cluster, slurm_max_num_timeout=_TIMEOUTS)
            executor.update_parameters(**{"name": "jaxhp", "timeout_min": 24 * 60, **named})
        except (AssertionError, NameError, RuntimeError, ValueError) as error:
            raise Error(f"executor: {' '.join(str(error).split())}") from error
        self._root, self._calls = root, calls
        self._mail = Mailbox(calls, patience=patience)
        try:
            with executor.batch():
                self._jobs = [executor.submit(_Worker(calls)) for _ in range(nodes)]
        except Exception as error:  # whatever `sbatch` has against it
            self._mail.close()
            shutil.rmtree(calls, ignore_errors=True)
            raise Error(f"executor: expected jobs that Slurm takes: {' '.join(str(error).split())}") from error
        self._looked = time.monotonic()

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`.

        Raises:
          Error: all jobs have ended.
        """
        living = self._mail.workers()
        now = time.monotonic()
        if not living and now - self._looked > _LOOK_S:
            self._looked = now
            if all(job.done() for job in self._jobs):
                raise Error(f"executor: all {len(self._jobs)} jobs have ended: see {self._jobs[0].paths.stderr}")
        return living

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`; waits until there is a worker, which may take as long as a queue is."""
        while worker is None and not self.workers():
            time.sleep(BEAT_S)
        return self._mail.submit(fn, *args, worker=worker)

    def close(self) -> None:
        """End all jobs."""
        self._mail.dismiss()
        until = time.monotonic() + _GRACE_S
        while not all(job.done() for job in self._jobs) and time.monotonic() < until:
            time.sleep(0.1)
        for job in self._jobs:
            if not job.done():
                job.cancel()
        shutil.rmtree(self._calls, ignore_errors=True)


class _Worker:
    """What a job runs; submitit asks it what to queue again when the job has to make room."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __call__(self) -> None:
        serve(self._folder)

    def checkpoint(self) -> Any:
        """Return what goes on in this job's place."""
        return needed("submitit", "executor:", "submitit", "slurm").helpers.DelayedSubmission(self)


def parsed(text: str) -> Slurm:
    """Return the workers that a text asks for, such as `nodes=8,gres=gpu:1,partition=gpu`."""
    numbers = {"nodes": int, "timeout_min": int, "mem_gb": float, "cpus_per_task": int, "gpus_per_node": int}
    found = options(text, numbers)
    return Slurm(found.pop("folder", "jaxhp-slurm"), **found)


def adapted(executor: Any) -> Slurm:
    """Submitit's own executors run each call as a job of its own, which would lose what a worker keeps."""
    raise Error(f"executor: expected hp.executors.Slurm(folder, ...), got submitit's {type(executor).__name__}")
