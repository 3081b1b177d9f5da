"""What is left of a search without a directory that was stopped: its finished rounds."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from jaxhp.search.signals import Stopped, at_a_prompt
from jaxhp.store.ledger import Ledger
from jaxhp.words import plain


def with_finished(cause: BaseException, ledger: Ledger, rounds: int, read: Callable[[], object]) -> BaseException:
    """Say that a search was stopped, and return what to raise: without a directory `Stopped` with what it has found.

    Args:
      cause: `Stopped`, or KeyboardInterrupt, which is what a signal does where nobody listens to it.
      ledger: of the search.
      rounds: that it asks for.
      read: makes the result of what is recorded.
    """
    if ledger.directory is not None:
        if isinstance(cause, Stopped) and not at_a_prompt():  # which shows it
            print(plain(cause), file=sys.stderr)
        return cause
    done = ledger.reached()[1]
    if isinstance(cause, KeyboardInterrupt):
        ledger.event("stopped", signal=signal.SIGINT.name)
    how = "import sys; result = sys.last_value.result" if at_a_prompt() else "except hp.Stopped as e: result = e.result"
    kept = f"{done} of {rounds} rounds are finished and kept: {how}"
    lost = "no round was finished, so nothing is left; run(dir) saves on the way"
    stopped = cause if isinstance(cause, Stopped) else Stopped(f"stopped; {kept if done else lost}")
    stopped.result = read() if done else None
    return stopped
