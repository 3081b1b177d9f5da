"""Systems without `fcntl` and `resource`, as Windows is: everything is imported, planned, run, resumed and read.

What cannot be tried here: Windows' own lock (`msvcrt`), signals and paths, and macOS itself.
"""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxhp.engine import runtime

WITHOUT = """
import json, os, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
for name in ("register_at_fork", "pread", "pwrite", "O_NOFOLLOW", "sched_getaffinity", "fork"):
    delattr(os, name)
sys.path.insert(0, sys.argv[1])
from jaxhp.cli import main
from recorded import made
"""
READ = """
made(__import__("pathlib").Path(sys.argv[2]))
import jaxhp.search.run
assert jaxhp.search.run.host_peak_bytes() is None
"""
RUN = """
import jaxhp as hp
from small_search import search
small = search("random", epochs=1, strategy=hp.Random(population=2, rounds=1))
assert small.plan().member_epochs == 2
result = small.run(sys.argv[2], quiet=True)
assert small.run(sys.argv[2], quiet=True).digest == result.digest
assert json.load(open(os.path.join(sys.argv[2], "summary.json")))["measured"]["peak_bytes"] is None
"""


@pytest.mark.parametrize("what", [READ, pytest.param(RUN, marks=pytest.mark.slow)], ids=["read", "run"])
def test_without_fcntl_and_resource(what, tmp_path):
    """A directory that is written by hand, and by a search."""
    script = f"{WITHOUT}{what}\nassert main(['show', sys.argv[2]]) == 0"
    command = [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "chosen    trial" in done.stdout


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_bytes(system, unit, monkeypatch):
    """`getrusage` counts bytes on macOS, KiB on Linux."""
    told = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=3))
    monkeypatch.setattr(runtime, "resource", told)
    monkeypatch.setattr(runtime.sys, "platform", system)
    assert runtime.host_peak_bytes() == 3 * unit


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="not Linux")
def test_peak_memory_is_that_of_this_process():
    words = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    ).split()
    peak = runtime.host_peak_bytes()
    assert peak is not None
    assert words[2] == "kB"
    assert abs(peak / (int(words[1]) * 1024) - 1) < 0.05
