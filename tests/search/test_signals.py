"""Signals of a search, and of the workers that it forks."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from jaxhp.search.signals import Signals
with Signals() as signals:
    worker = os.fork()
    if worker == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)  # where it does not end it
    _, status = os.waitpid(worker, 0)
    print(os.waitstatus_to_exitcode(status), signals.received, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    while signals.received is None:
        pass
print(signals.received.name, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_signal_to_a_forked_worker_ends_the_worker_alone():
    """As `multiprocessing.Pool.terminate` sends them."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["-15 None", "SIGTERM True"]
    assert done.stderr.count("SIGTERM: stopping after this step") == 1
