"""SIGTERM and Ctrl-C: the first asks a search to stop after the step in progress, the second stops it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import weakref
from typing import Any

from jaxhp.words import plain

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A search stopped because a signal or an observer asked for it. All it did is recorded; the text says what next.

    Attributes:
      result: the `Result` of its finished rounds where it has no directory that has them; None where none is finished.
    """

    result: Any = None

    def _render_traceback_(self) -> list[str]:
        """Show one line in a notebook: nothing went wrong."""
        return [f"Stopped: {plain(self)}"]


class Signals:
    """Listens while its block runs. In a thread other than the main one, signals do what they did before.

    The signal's number arrives through a pipe at a thread of its own, since the main one may be inside a compiled
    step for long. A second signal ends the process there, with 128 + its number: the ledger bears it; where a person's
    variables live in the process, in a notebook or at a prompt, it raises KeyboardInterrupt instead. A forked child
    does with signals what the process did before: its own SIGTERM ends it, and is not told to the search.
    """

    def __init__(self, *, listen: bool = True):
        self._listen = listen and threading.current_thread() is threading.main_thread()
        self.received: signal.Signals | None = None
        self._asked = 0

    def __enter__(self) -> Signals:
        if self._listen:
            self._read, self._write = os.pipe()
            if hasattr(os, "set_blocking"):  # Windows has had it since Python 3.12
                os.set_blocking(self._write, False)
            self._handlers: dict[signal.Signals, Any] = {
                number: signal.signal(number, self._handle) for number in _SIGNALS
            }
            self._fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
            _listening.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listen:
            self._restore()
            os.write(self._write, b"\0")
            self._thread.join()
            self._close()

    def leave_to_parent(self) -> None:
        """Listen no more, in a forked child, which has no thread that does."""
        if self._listen:
            self._restore()
            self._close()
            self._listen = False

    def _restore(self) -> None:
        signal.set_wakeup_fd(self._fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _close(self) -> None:
        _listening.discard(self)
        os.close(self._read)
        os.close(self._write)

    def _handle(self, *_: object) -> None:
        """Python needs a handler before it passes a signal's number on; it is called between steps."""
        self._asked += 1
        if self._asked > 1 and at_a_prompt():
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while (number := os.read(self._read, 1)[0]) != 0:
            if number not in _SIGNALS:
                continue
            if self.received is not None and at_a_prompt():
                continue
            if self.received is not None:
                if sys.stderr.isatty():
                    sys.stderr.write("\x1b[?25h")  # a live display hides the cursor
                os._exit(128 + number)
            self.received = signal.Signals(number)
            print(f"{self.received.name}: stopping after this step; once more to stop at once", file=sys.stderr)


_listening: weakref.WeakSet[Signals] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for signals in list(_listening):
        signals.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def at_a_prompt() -> bool:
    """Tell whether a person's variables live in this process: in a notebook, or at Python's prompt."""
    return hasattr(sys, "ps1")
