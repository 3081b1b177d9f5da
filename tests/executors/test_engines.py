"""Searches on real engines, of processes that die, halt and join, have the digest of one process.

Each test is a process of `experiments/engines.py`, so that engines leave nothing behind in this one. The whole matrix
is that script without arguments.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "experiments/engines.py")
needs = {name: pytest.mark.skipif(find_spec(name) is None, reason=name) for name in ("ray", "distributed", "submitit")}
mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def compared(*arguments, by=(sys.executable,)):
    """Run the script; return the searches that had the digest of one process."""
    ran = subprocess.run([*by, SCRIPT, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "OTHER" not in ran.stdout
    return re.findall(r"^.+ (\w+) +[0-9a-f]{12} same", ran.stdout, re.M)


@pytest.mark.slow
@needs["distributed"]
def test_dask_with_a_worker_killed_and_one_that_joins_late():
    names = ["halving", "gp", "stream"]
    assert compared("dask", "--searches", *names, "--disturb") == names


@pytest.mark.slow
@needs["ray"]
def test_ray_with_a_node_killed_and_one_that_joins_late():
    names = ["pbt", "loop"]
    assert compared("ray", "--searches", *names, "--disturb") == names


@pytest.mark.slow
@needs["submitit"]
def test_jobs_of_submitit_with_a_worker_halted_and_one_started_by_hand():
    names = ["folds", "pbt"]
    assert compared("slurm", "--searches", *names, "--disturb") == names


@pytest.mark.slow
@needs["distributed"]
@needs["submitit"]
def test_a_search_that_is_stopped_on_dask_goes_on_with_slurm():
    assert compared("dask", "slurm", "--searches", "pbt", "--relay") == ["pbt"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mpi4py") is None or mpiexec is None, reason="mpi4py and an MPI")
def test_three_ranks_of_mpi():
    names = ["groups", "replicates"]
    assert compared("mpi", "--searches", *names, by=(mpiexec, "-n", "3", sys.executable)) == names
