"""Workers of a Ray cluster: actors, one a device."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from jaxhp.executors.options import options
from jaxhp.executors.pool import WorkerLost
from jaxhp.packages import needed
from jaxhp.values import Error, check_int

_LOOK_S = 1.0  # how often the nodes of the cluster are counted


class Ray:
    """An actor for each GPU of a Ray cluster, or for each of its nodes where none has a GPU.

    Ray sets `CUDA_VISIBLE_DEVICES` for each. Nodes that join get actors, and lost actors are made anew where there is
    room. On the nodes jaxhp and the packages of the task must be installed, or named in `runtime_env`.

    Args:
      address: of the cluster, as `ray.init` takes it, such as "auto" or "ray://head:10001". None: that of
        `RAY_ADDRESS`, or else a new one on this machine. What this process has joined before goes first.
      workers: how many actors to ask for, which is what a cluster grows by that scales itself; None: as many as there
        is room for.
      gpus: GPUs of an actor; None: 1 where the cluster has any, else 0.
      cpus: CPUs of an actor; None: where it has GPUs, 1; else those of the smallest node.
      runtime_env: of the actors, as Ray takes it: `{"pip": ["jaxhp"], "working_dir": ".", "env_vars": {...}}`.

    Raises:
      Error: Ray is missing, cannot be reached, or a number does not fit.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        gpus: int | None = None,
        cpus: int | None = None,
        runtime_env: dict[str, Any] | None = None,
    ):
        self._ray = needed("ray", "executor:", "ray", "ray")
        self._began = not self._ray.is_initialized()
        if self._began:
            try:
                self._ray.init(
                    address=address, log_to_driver=False, include_dashboard=False, logging_level=logging.WARNING
                )
            except (ConnectionError, ValueError) as error:
                raise Error(f"executor: expected a Ray cluster at {address!r}: {error}") from error
        self._actors = _Actors(self._ray, workers, gpus, cpus, runtime_env)
        self._filling = threading.Lock()  # held while Ray is asked for something
        self._lock = threading.Lock()  # never: Ray's own threads take it too
        self._living: dict[str, Any] = {}
        self._lost: list[Any] = []
        self._calls: dict[Future[Any], str] = {}
        if not self.workers() and not self._actors.coming:
            self.close()
            raise Error("executor: expected a Ray cluster with a node that has the GPUs and CPUs of an actor")

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`; those that are lacking are asked for on the way."""
        with self._filling:
            while self._lost:
                self._ray.kill(self._lost.pop())
            self._actors.fill(len(self._living))
            arrived = self._actors.arrived()
            with self._lock:
                self._living |= arrived
                return list(self._living)

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self.workers()
        with self._filling, self._lock:
            busy = list(self._calls.values())
            # one that does not live yet answers when it does
            anyone = self._living or {name: actor for name, (actor, _) in self._actors.coming.items()}
            name = worker or min(anyone, key=busy.count, default="no actor")
            actor = (anyone if worker is None else self._living).get(name)
            if actor is not None:
                self._calls[future] = name
        if actor is None:
            future.set_exception(WorkerLost(f"{name}: gone"))
            return future
        try:
            answer = actor.call.remote(fn, *args).future()
        except Exception as error:  # what cannot be pickled; the cluster is gone
            self._fail(future, error)
            return future
        answer.add_done_callback(lambda done: self._answered(done, future))
        return future

    def close(self) -> None:
        """See `Pool.close`."""
        with self._filling, self._lock:
            actors = [*self._living.values(), *self._actors.close()]
            self._living, left = {}, list(self._calls)
        for future in left:
            self._fail(future, WorkerLost("closed"))
        if self._ray.is_initialized():
            for actor in actors:
                self._ray.kill(actor)
            if self._began:
                self._ray.shutdown()

    def _answered(self, done: Future[Any], future: Future[Any]) -> None:
        """Hand an answer on, as what the function returned or raised."""
        errors = self._ray.exceptions
        error = done.exception()
        if error is None:
            with self._lock:
                name = self._calls.pop(future, None)
            if name is not None:
                future.set_result(done.result())
        elif isinstance(error, errors.RayTaskError):
            cause = getattr(error, "cause", None)
            self._fail(future, cause if isinstance(cause, Exception) else error)
        elif isinstance(error, errors.RayError):  # the actor died or cannot be reached, its answer was lost with a node
            self._fail(future, WorkerLost(_line(error)))
        else:
            self._fail(future, error)

    def _fail(self, future: Future[Any], error: BaseException) -> None:
        with self._lock:
            name = self._calls.pop(future, None)
            if name in self._living and isinstance(error, WorkerLost):
                self._lost.append(self._living.pop(name))  # ended later: this may be a thread of Ray's own
        if name is not None:
            future.set_exception(error)


class _Actors:
    """Asks a cluster for as many actors as there is room for.

    Args:
      ray: the module.
      workers, gpus, cpus, runtime_env: as for `Ray`.
    """

    def __init__(
        self, ray: Any, workers: int | None, gpus: int | None, cpus: int | None, runtime_env: dict[str, Any] | None
    ):
        self._ray = ray
        self._asked = None if workers is None else check_int("workers", workers, 1)
        room = self._nodes()
        gpus = int(any(node.get("GPU") for node in room)) if gpus is None else check_int("gpus", gpus, 0)
        least = 1 if gpus else min([int(node["CPU"]) for node in room if node.get("CPU", 0) >= 1], default=1)
        self._each = {"GPU": gpus, "CPU": least if cpus is None else check_int("cpus", cpus, 1)}
        made = ray.remote(num_gpus=gpus, num_cpus=self._each["CPU"], max_restarts=0)(_Actor)
        self._kind = made.options(runtime_env=runtime_env)
        self._made = 0
        self._looked = -_LOOK_S
        self.coming: dict[str, tuple[Any, Any]] = {}  # actors that do not live yet, and what tells that they do

    def fill(self, living: int) -> None:
        """Ask for those that are lacking, and let go of those that there is no room for any more."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        wanted = self._asked
        if wanted is None:
            needs = [(kind, count) for kind, count in self._each.items() if count]
            wanted = sum(min(int(node.get(kind, 0) // count) for kind, count in needs) for node in self._nodes())
        for _ in range(wanted - living - len(self.coming)):
            actor = self._kind.remote()
            self.coming[f"ray actor {self._made}"] = actor, actor.ready.remote()
            self._made += 1
        for name in list(self.coming)[: max(0, living + len(self.coming) - wanted)]:
            self._ray.kill(self.coming.pop(name)[0])

    def arrived(self) -> dict[str, Any]:
        """Return those that live now, by name.

        Raises:
          Error: their `runtime_env` cannot be set up.
        """
        found = {}
        for name, (actor, ready) in list(self.coming.items()):
            if self._ray.wait([ready], timeout=0)[0]:
                del self.coming[name]
                try:
                    self._ray.get(ready)
                except self._ray.exceptions.RuntimeEnvSetupError as error:
                    raise Error(f"executor: expected a runtime_env that can be set up: {_line(error)}") from error
                except self._ray.exceptions.RayError:
                    continue  # it died before it lived; another one is asked for in time
                found[name] = actor
        return found

    def close(self) -> list[Any]:
        """Ask for no more; return those that do not live yet."""
        coming, self.coming = self.coming, {}
        self._looked = float("inf")
        return [actor for actor, _ in coming.values()]

    def _nodes(self) -> list[dict[str, float]]:
        """Return what each living node has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


class _Actor:
    def ready(self) -> None:
        """Answered once it lives."""

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return fn(*args)


def parsed(text: str) -> Ray:
    """Return the workers that a text names: nothing, an address, or arguments such as `workers=8,gpus=1`."""
    if "=" in text:
        return Ray(**options(text, {"workers": int, "gpus": int, "cpus": int}))
    return Ray(f"ray:{text}" if text.startswith("//") else text or None)


def adapted(executor: Any) -> Ray:
    """Return the workers of the cluster that this process has joined, in the place of one of Ray's own pools."""
    raise Error(f"executor: expected hp.executors.Ray(), got {type(executor).__module__}.{type(executor).__name__}")
