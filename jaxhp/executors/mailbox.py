"""Workers that take calls from a shared folder: of Slurm, PBS, LSF or cloud nodes that have nothing else in common.

`python -m jaxhp.executors.serve FOLDER` (`serve.py`) on any machine that sees the folder is a worker:

    FOLDER/post              who calls, and a number that grows while it lives
    FOLDER/workers/NAME/     said: what the worker says, and a number that grows while it lives
                             told: how many calls it was given
                             call-N, answer-N

Calls and answers are pickles: whoever can write into the folder can run code on the workers.
"""

from __future__ import annotations

import contextlib
import pickle
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from jaxhp.executors.answers import settle
from jaxhp.executors.pool import WorkerLost
from jaxhp.executors.post import BEAT_S, PATIENCE_S, listed, pause, read, replace, write
from jaxhp.store.files import located
from jaxhp.values import Error


class Mailbox:
    """The workers that serve a folder (`python -m jaxhp.executors.serve FOLDER`), also those that join later.

    Args:
      folder: one that all machines see. Whoever can write into it can run code on them.
      patience: a worker whose beat has not been seen for so many seconds is lost. One that was only halted joins again,
        under a new name.

    Raises:
      Error: `folder` is no path.
      OSError: it cannot be written.
    """

    def __init__(self, folder: str | Path, *, patience: float = PATIENCE_S):
        self._folder = located(folder, "folder")
        self._patience = patience
        self._by = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._waiting: list[tuple[bytes, Future[Any]]] = []  # calls for any worker, while there is none
        self._over: str | None = None  # why nobody is called any more
        self._woken = threading.Event()
        (self._folder / "workers").mkdir(mode=0o700, parents=True, exist_ok=True)
        write(self._folder / "post", {"by": self._by, "beat": 0})
        self._thread = threading.Thread(target=self._watch, name="jaxhp mailbox", daemon=True)
        self._thread.start()

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`.

        Raises:
          Error: another process has taken over the folder.
        """
        if self._over not in (None, "closed"):
            raise Error(f"executor: {self._over}")
        with self._lock:
            return [name for name, seen in self._seen.items() if seen.lives]

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            call = pickle.dumps((fn, args), protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            future.set_exception(error)
            return future
        with self._lock:
            living = [name for name, seen in self._seen.items() if seen.lives]
            if worker is None:
                worker = min(living, key=lambda name: len(self._seen[name].calls), default=None)
                if worker is None and self._over is None:
                    self._waiting.append((call, future))
                    return future
            given = worker in living and self._over is None and self._give(worker, call, future)
        if not given:
            future.set_exception(WorkerLost(f"{worker}: {self._over or 'gone'}"))
        self._woken.set()
        return future

    def close(self) -> None:
        """Call nobody any more. Workers wait for somebody else who does."""
        self._end("closed")

    def dismiss(self) -> None:
        """Call nobody any more, and let the workers end."""
        self._end("closed")
        for place in listed(self._folder / "workers"):
            with contextlib.suppress(OSError):
                write(place / "told", {"end": True})

    def _end(self, why: str) -> None:
        with self._lock:
            self._over = self._over or why
            lost = [future for _, future in self._waiting]
            lost += [future for seen in self._seen.values() for future, _ in seen.calls.values()]
            for seen in self._seen.values():
                seen.calls = {}
            self._waiting, self._seen = [], {}
        self._woken.set()
        for future in lost:
            future.set_exception(WorkerLost(why))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _place(self, name: str) -> Path:
        return self._folder / "workers" / name

    def _give(self, name: str, call: bytes, future: Future[Any]) -> bool:
        """Give a worker a call; return whether it is still there. The lock is held."""
        seen = self._seen[name]
        seen.given += 1
        seen.calls[seen.given] = future, time.monotonic()
        try:
            replace(self._place(name) / f"call-{self._by}-{seen.given}", call)
            write(self._place(name) / "told", {"by": self._by, "calls": seen.given})
        except FileNotFoundError:
            del seen.calls[seen.given]
            return False
        return True

    def _watch(self) -> None:
        """Beat, look at every worker in its time, and hand on what it has answered."""
        beat, beaten, listed = 0, 0.0, 0.0
        while self._over is None:
            self._woken.clear()
            now = time.monotonic()
            try:
                if now - beaten >= BEAT_S:
                    if read(self._folder / "post").get("by", self._by) != self._by:
                        return self._end(f"another process has taken over the workers of {self._folder}")
                    beat, beaten = beat + 1, now
                    write(self._folder / "post", {"by": self._by, "beat": beat})
                if now - listed >= BEAT_S:
                    listed = now
                    self._find(now)
                for seen in [one for one in self._known() if one.next <= now]:
                    for future, answer in self._look(seen, now):
                        if answer is None:
                            future.set_exception(WorkerLost(f"{seen.name}: gone"))
                        else:
                            settle(future, answer)
            except OSError as error:
                return self._end(f"{self._folder}: {error.strerror}")
            soonest = min((seen.next for seen in self._known()), default=now + BEAT_S)
            self._woken.wait(max(0.0, min(soonest, beaten + BEAT_S) - time.monotonic()))
        return None

    def _known(self) -> list[_Seen]:
        with self._lock:
            return list(self._seen.values())

    def _find(self, now: float) -> None:
        for place in listed(self._folder / "workers"):
            with self._lock:
                if place.name not in self._seen and self._over is None:
                    self._seen[place.name] = _Seen(place.name, since=now, next=now)

    def _look(self, seen: _Seen, now: float) -> list[tuple[Future[Any], bytes | None]]:
        """Return what a worker has answered, None for the calls that were lost with it."""
        said = read(self._place(seen.name) / "said")
        with self._lock:
            if said and said["beat"] != seen.beat:
                seen.lives = seen.lives or seen.beat is not None  # a number that stands still may be of long ago
                seen.beat, seen.since = said["beat"], now
            done = [n for n in seen.calls if said.get("by") == self._by and n <= said.get("done", 0)]
            gone = said.get("left") or now - seen.since > self._patience
            waits = min((given for _, given in seen.calls.values()), default=None)
            seen.next = now + (BEAT_S / 4 if waits is None else pause(now - waits))
            while seen.lives and self._waiting and not gone and self._give(seen.name, *self._waiting[0]):
                del self._waiting[0]
            answered = [(seen.calls.pop(number)[0], self._answer(seen.name, number)) for number in done]
            if gone:
                self._seen.pop(seen.name, None)
                answered += [(future, None) for future, _ in seen.calls.values()]
                seen.calls = {}
        if gone:
            shutil.rmtree(self._place(seen.name), ignore_errors=True)  # which tells one that was only halted
        return answered

    def _answer(self, name: str, number: int) -> bytes | None:
        path = self._place(name) / f"answer-{self._by}-{number}"
        try:
            answer = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return None
        return answer


class _Seen:
    """What is known of a worker."""

    def __init__(self, name: str, since: float, next: float):
        self.name = name
        self.lives = False  # its beat was seen to grow
        self.beat: int | None = None
        self.since, self.next = since, next  # when its beat grew last; when to look again
        self.given = 0  # calls
        self.calls: dict[int, tuple[Future[Any], float]] = {}  # that it has not answered, and since when it has them


def parsed(text: str) -> Mailbox:
    """Return the workers of the folder that a text names."""
    if not text:
        raise Error("executor: expected mailbox:FOLDER, got no folder")
    return Mailbox(text)
