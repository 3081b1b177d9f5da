"""A worker of a mailbox: `python -m jaxhp.executors.serve FOLDER` on any machine that sees the folder."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jaxhp.executors.answers import answered
from jaxhp.executors.post import BEAT_S, IDLE_S, pause, read, replace, write
from jaxhp.store.files import located
from jaxhp.values import Json


def serve(folder: str | Path, idle: float = IDLE_S) -> None:
    """Be a worker: take calls from a folder until it is dismissed, or `idle` seconds long nobody called who lives."""
    root = located(folder, "folder")
    (root / "workers").mkdir(mode=0o700, parents=True, exist_ok=True)
    while _Served(root).serve(idle) and (root / "workers").exists():
        pass  # somebody took this for lost, such as after a halt: join again, under a new name


class _Served:
    """One stay of a worker in the folder, from its joining until it leaves or is taken for lost."""

    def __init__(self, root: Path):
        self._root = root
        self._place = root / "workers" / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._said: Json = {"beat": 0, "by": None, "done": 0, "left": False}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def serve(self, idle: float) -> bool:
        """Return whether it was taken for lost."""
        self._place.mkdir(mode=0o700)
        write(self._place / "told", {})
        self._say()
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            return self._calls(idle)
        finally:
            self._over.set()
            self._say(left=True)

    def _calls(self, idle: float) -> bool:
        waits = alive = time.monotonic()  # since when there is nothing to do; when somebody who calls was last alive
        post: Json = {}
        while self._place.exists():
            told = read(self._place / "told")
            if told.get("end"):
                return False
            if told.get("by") != self._said["by"] and told.get("by"):
                self._say(by=told["by"], done=0)
            number = self._said["done"] + 1
            if number <= told.get("calls", 0):
                self._call(f"{told['by']}-{number}")
                self._say(done=number)
                waits = alive = time.monotonic()
                continue
            now = time.monotonic()
            if (found := read(self._root / "post")) != post:
                post, alive = found, now
            if now - alive > idle:
                return False
            time.sleep(pause(now - waits))
        return True

    def _call(self, name: str) -> None:
        path = self._place / f"call-{name}"
        try:
            replace(self._place / f"answer-{name}", answered(path.read_bytes()))
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass  # taken for lost meanwhile

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S) and self._say(beat=self._said["beat"] + 1):
            pass

    def _say(self, **changes: Any) -> bool:
        """Say what has changed; return whether there is still a place to say it."""
        with self._lock:
            self._said |= changes
            try:
                write(self._place / "said", self._said)
            except FileNotFoundError:
                return False
        return True


def main() -> None:
    """Be a worker until the process is told to end: then it leaves at once, and says so."""
    parser = argparse.ArgumentParser(prog="python -m jaxhp.executors.serve", description="Take calls from a folder.")
    parser.add_argument("folder", help="one that the search's process sees too")
    parser.add_argument(
        "--idle", type=float, default=IDLE_S, help="seconds to wait for somebody who calls (%(default)s)"
    )
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    serve(asked.folder, asked.idle)


if __name__ == "__main__":
    main()
