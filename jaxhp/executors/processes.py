"""Workers that are processes of this machine: each with its share of the cores, or a GPU of its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from jaxhp.engine.runtime import cpu_cores
from jaxhp.executors.answers import settle
from jaxhp.executors.frames import received, send
from jaxhp.executors.pool import WorkerLost
from jaxhp.values import Error, check_int

_TRIES = 5  # processes, one in the place of another, that end before they answer
_PAUSE_S = 0.25  # before another one is started then, and twice as long the next time
_WORDS_S = 1.0  # that the last words of one that has ended are waited for
_GPUS = Path("/proc/driver/nvidia/gpus")


class Processes:
    """A pool of processes, for `search.run(dir, executor=hp.executors.Processes(4))`.

    One that dies is started anew; where all end by themselves before they answer, time after time, that is an error.
    They end with `close()`, or when nobody holds the pool any more. A script needs no `if __name__ == "__main__"`,
    since no process runs it again.

    Args:
      count: how many.
      platform: what they train on, such as "cpu", "cuda"; None: what JAX finds there. Where it finds GPUs, each has one
        of those that this process sees, in turn.

    Raises:
      Error: `count` is no positive integer.
    """

    joins = False  # see `Pool`

    def __init__(self, count: int, *, platform: str | None = None):
        self._count, self._platform = check_int("processes", count, 1), platform
        self._slots: list[_Process | None] = [None] * self._count
        self._started = [0] * self._count
        self._in_vain = [0] * self._count  # how often one after another has ended by itself before it answered
        self._from = [0.0] * self._count  # when the next one may be started
        weakref.finalize(self, _let_go, self._slots)

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`; starts those that are not there.

        Raises:
          Error: none begins.
        """
        for slot in range(self._count):
            self._at(slot)
        if all(count >= _TRIES for count in self._in_vain):
            process = self._slots[0]
            said = process.said if process is not None else ""
            raise Error(f"executor: {_TRIES} processes ended, one after another, before they did anything: {said}")
        return [process.name for process in self._slots if process is not None and process.alive]

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`; for any worker it waits until one is there, and raises what `workers` does."""
        while True:
            self.workers()
            alive = [process for process in self._slots if process is not None and process.alive]
            if fit := [process for process in alive if worker in (None, process.name)]:
                return min(fit, key=lambda process: process.waiting).call(fn, args)
            if worker is not None:
                future: Future[Any] = Future()
                future.set_exception(WorkerLost(f"{worker} has ended"))
                return future
            time.sleep(_PAUSE_S / 4)

    def close(self) -> None:
        """See `Pool.close`: ends the processes, whatever they do."""
        for slot, process in enumerate(self._slots):
            if process is not None:
                process.end()
                self._slots[slot] = None

    def _at(self, slot: int) -> None:
        process = self._slots[slot]
        if process is not None and process.alive:
            return
        if process is not None and not process.counted:
            process.counted = True
            self._in_vain[slot] = self._in_vain[slot] + 1 if process.in_vain else 0
            self._from[slot] = time.monotonic() + (_PAUSE_S * 2 ** self._in_vain[slot] if self._in_vain[slot] else 0)
        if time.monotonic() < self._from[slot] or self._in_vain[slot] >= _TRIES:
            return
        self._started[slot] += 1
        again = f".{self._started[slot]}" if self._started[slot] > 1 else ""
        self._slots[slot] = _Process(f"process {slot + 1}{again}", self._environment(slot))

    def _environment(self, slot: int) -> dict[str, str]:
        """Return the variables of a process: what it may use of the machine."""
        found = dict(os.environ)
        if self._platform is not None:
            found["JAX_PLATFORMS"] = self._platform
        if "JAX_NUM_CPU_DEVICES" not in os.environ:
            found["JAX_NUM_CPU_DEVICES"] = str(max(cpu_cores() // self._count, 1))
        gpus = visible_gpus()
        if gpus:
            found["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
        return found


def _let_go(slots: Sequence[_Process | None]) -> None:
    for process in slots:
        if process is not None:
            process.kill()


def visible_gpus() -> list[str]:
    """Return the names of the GPUs of NVIDIA's that this process may use; asks no library."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(_GPUS.iterdir())] if _GPUS.is_dir() else []


def parsed(text: str) -> Processes:
    """Return the processes that `processes:4` means.

    Raises:
      Error: it is no number.
    """
    if not text.isdecimal():
        raise Error(f"executor: expected a number of processes, such as processes:4, got {text!r}")
    return Processes(int(text))


class _Process:
    """One process, which does one call after another.

    Args:
      name: of the worker.
      environment: its variables.
    """

    def __init__(self, name: str, environment: dict[str, str]):
        self.name, self._ended, self._answered, self.counted = name, False, False, False
        self._said = b""  # last, beside answers
        self._calls: SimpleQueue[tuple[Future[Any], bytes] | None] = SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from jaxhp.executors.process import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            start_new_session=True,  # a terminal's Ctrl-C is for the search alone
        )
        self._thread = threading.Thread(target=self._serve, name=f"jaxhp-{name}", daemon=True)
        self._thread.start()
        self._hearing = threading.Thread(target=self._hear, name=f"jaxhp-{name}-says", daemon=True)
        self._hearing.start()

    @property
    def in_vain(self) -> bool:
        """Whether it has ended by itself, as where something cannot be imported, and answered nothing."""
        return not self._answered and (self._process.poll() or 0) > 0

    @property
    def said(self) -> str:
        """The last line that it wrote beside its answers."""
        self._hearing.join(_WORDS_S)
        lines = self._said.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._ended and self._process.poll() is None

    @property
    def waiting(self) -> int:
        """How many calls wait here."""
        return self._calls.qsize()

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        """Have a function called there."""
        future: Future[Any] = Future()
        self._calls.put((future, pickle.dumps((fn, args))))
        if self._ended:
            self._drain()
        return future

    def end(self) -> None:
        """End it, whatever it does."""
        self.kill()
        self._thread.join()

    def kill(self) -> None:
        """Have it end, and do not wait for that."""
        self._process.kill()
        self._calls.put(None)

    def _serve(self) -> None:
        request, reply = self._process.stdin, self._process.stdout
        assert request is not None
        assert reply is not None
        while (call := self._calls.get()) is not None:
            future, content = call
            try:
                answer = _exchanged(request, reply, content)
            except (OSError, EOFError) as error:
                self._ended = True
                how = _how(self._process)
                why = self.said if self.in_vain else error
                future.set_exception(WorkerLost(f"{self.name} {how}: {why}".rstrip(": ")))
                break
            self._answered = True
            settle(future, answer)
        self._ended = True
        self._process.kill()
        self._process.wait()
        for pipe in (request, reply):
            try:
                pipe.close()
            except OSError:  # what was still to be written
                continue
        self._drain()

    def _hear(self) -> None:
        """Show what it writes, and know its end."""
        assert self._process.stderr is not None
        with self._process.stderr as heard:
            while told := os.read(heard.fileno(), 2**16):
                self._said = (self._said + told)[-4096:]
                with suppress(OSError):  # whoever read that is gone
                    os.write(2, told)

    def _drain(self) -> None:
        with suppress(Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None:
                    call[0].set_exception(WorkerLost(f"{self.name} has ended"))


def _exchanged(request: IO[bytes], reply: IO[bytes], content: bytes) -> bytes:
    send(request, content)
    return received(reply)


def _how(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
