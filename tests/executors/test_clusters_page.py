"""The page about clusters: its Python fits what there is, its commands parse, its YAML is read, its files exist."""

import inspect
import re
import shlex
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest

import jaxhp as hp
from jaxhp.cli import _parser
from jaxhp.executors import pool

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/clusters.md").read_text()
ENGINES = ("Processes", "Slurm", "Ray", "MPI")


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.M | re.S)


class Anyone:
    """Stands for an engine: takes what the engine's own constructor takes."""

    def __init__(self, real):
        self.real = real

    def __call__(self, *args, **options):
        inspect.signature(self.real).bind(*args, **options)
        return self

    def close(self):
        self.real = None


class Asked:
    """Stands for a search."""

    def __init__(self):
        self.executors = []

    def run(self, dir, *, executor):
        self.executors.append(executor)
        return "result"


def test_its_python_fits_what_there_is(monkeypatch):
    engines = {name: Anyone(getattr(hp.executors, name)) for name in ENGINES}
    for name, engine in engines.items():
        monkeypatch.setattr(f"jaxhp.executors.{name}", engine, raising=False)
    search = Asked()
    names = {"hp": hp, "search": search, "client": "client", "MPIPoolExecutor": lambda: nullcontext("futures")}
    for number, block in enumerate(blocks("python"), 1):
        exec(compile(block, f"clusters.md block {number}", "exec"), names)
    assert search.executors == [engines["Processes"], engines["Slurm"], "client", engines["MPI"], "futures"]


def test_its_commands_are_commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"jaxhp run .*", "".join(blocks("text") + blocks("yaml")))
    engines = []
    for line in (line for line in lines if line.startswith("jaxhp")):
        engines.append(_parser().parse_args(shlex.split(line)[1:]).executor.partition(":")[0])
    assert {*engines} == {"processes", "slurm", "mailbox", "ray", "dask", "mpi"}
    assert not {*engines} - {one.partition(":")[0] for one in pool._NAMES}
    assert "python -m jaxhp.executors.serve" in TEXT
    assert find_spec("jaxhp.executors.serve")


def test_its_yaml_is_read():
    yaml = pytest.importorskip("yaml")
    job, task = (yaml.safe_load(block) for block in blocks("yaml"))
    groups = job["spec"]["rayClusterSpec"]
    assert groups["workerGroupSpecs"][0]["replicas"] == 8
    assert groups["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}  # Ray takes strings
    assert "jaxhp.executors.serve" in task["run"]


def test_its_extras_exist():
    extras = set(re.findall(r"jaxhp\[(\w+)\]", TEXT))
    defined = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))
    assert extras == {"executors", "slurm", "ray", "dask", "mpi"}
    assert extras <= defined
