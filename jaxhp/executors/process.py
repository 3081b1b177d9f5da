"""What a process of `Processes` runs: calls that come through a pipe, until that is closed."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from queue import SimpleQueue

from jaxhp.executors.frames import received, send


def main() -> None:
    """Answer calls; end when the process that asks does, also in the middle of one."""
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a task prints is no answer
    calls: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        while True:
            try:
                calls.put(received(sys.stdin.buffer))
            except (EOFError, OSError):
                os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        content = calls.get()
        try:
            fn, arguments = pickle.loads(content)
            answer = pickle.dumps((True, fn(*arguments)))
        except BaseException as error:  # what cannot be called, or answered, here
            answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        send(reply, answer)
