"""The package's face: every public name is there in any order of access, and reading goes without JAX."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import jaxhp as hp


def python(script: str, *arguments: object) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_importing_it_changes_nothing():
    python(
        "import os, sys; before = dict(os.environ); import jaxhp; "
        "assert dict(os.environ) == before and 'jax' not in sys.modules"
    )


def test_only_public_names_are_listed():
    assert set(dir(hp)) == {*hp.__all__, "__version__"}
    assert {"Search", "strategies", "Strategy", "Sampler", "testing", "setup", "Trials"} <= set(dir(hp))
    assert hp.__version__
    assert (Path(hp.__file__).parent / "py.typed").exists()


def test_it_offers_what_it_declares():
    declared: set[str] = set()
    for node in ast.walk(ast.parse(Path(hp.__file__).read_text())):  # what type checkers and editors go by
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            declared |= {alias.name for line in node.body if isinstance(line, ast.ImportFrom) for alias in line.names}
    assert declared == set(hp.__all__)
    assert set(hp.__all__) <= set(dir(hp))
    assert all(getattr(hp, name) is not None for name in hp.__all__)
    with pytest.raises(AttributeError, match="module 'jaxhp' has no attribute 'Serach'"):
        _ = hp.Serach


@pytest.mark.parametrize("name", hp.__all__)
def test_no_submodule_hides_a_name(name):
    """Importing a submodule binds its name in the package."""
    modules = ("data", "executors", "nn", "optuna", "schedules", "search", "strategies", "tasks")
    assert (find_spec(f"jaxhp.{name}") is not None) == (name in modules)


@pytest.mark.slow
def test_names_are_the_same_in_any_order_of_access():
    orders = (
        "names = list(hp.__all__)",
        "names = list(hp.__all__)[::-1]",
        "import jaxhp.search.search, jaxhp.search.score, jaxhp.data.splitting, jaxhp.cli; names = list(hp.__all__)",
        "exec('from jaxhp import *'); names = list(hp.__all__)",
    )
    told = "; print(*sorted(f'{n}:{type(getattr(hp, n)).__name__}:{getattr(hp, n).__name__}' for n in names))"
    found = {python(f"import jaxhp as hp; {order}{told}") for order in orders}
    assert len(found) == 1
    assert "search:_Search:jaxhp.search" in found.pop().split()


@pytest.mark.parametrize(
    "module", ["jaxhp", "jaxhp.store", "jaxhp.report.result", "jaxhp.cli", "jaxhp.report.curves", "jaxhp.optuna"]
)
def test_what_reads_does_without_jax(module):
    assert python(f"import sys, {module}; print('jax' in sys.modules)") == "False\n"
