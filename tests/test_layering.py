"""Imports run downward only, and only the population maps over members: both read off the source."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import jaxhp

ROOT = Path(jaxhp.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FLOOR = ("types", "space", "ranking")  # imports nothing above itself
ABOVE = ("task", "plan", "population", "store", "training", "report", "searching", "select", "loop", "result", "cli")


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "jaxhp"


MODULES = {name_of(file): file for file in FILES}


def imported(file: Path) -> set[str]:
    """The modules of this package that a file takes names from, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxhp":
            base = node.module.removeprefix("jaxhp").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                found.add(full if full in MODULES else base or "jaxhp")
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("jaxhp.") for a in node.names if a.name.split(".")[0] == "jaxhp"}
    return found - {name_of(file)}


IMPORTS = {name: imported(file) for name, file in MODULES.items()}


def test_no_import_leads_back_up():
    # a package's __init__ is its face: its own files may be imported by way of it
    graph = {name: {i for i in found if not name.startswith(f"{i}.")} for name, found in IMPORTS.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises on a circle


def test_the_ground_floor_stands_on_nothing():
    for name in FLOOR:
        assert IMPORTS[name] <= {"types"}, name


@pytest.mark.parametrize("package", ["strategies", "report", "data"])
def test_packages_never_see_training(package):
    allowed = {"strategies": set(), "report": {"report", "store", "select", "result"}, "data": set()}[package]
    forbidden = set(ABOVE) - allowed
    for name, found in IMPORTS.items():
        if name.split(".")[0] == package:
            assert not {i.split(".")[0] for i in found} & forbidden, name


def test_only_the_population_maps_over_members():
    maps = {}
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
            if called in ("vmap", "pmap", "shard_map") and not name.startswith(("strategies", "testing")):
                maps.setdefault(name, set()).add(called)
    assert maps == {"population": {"vmap"}}


def test_files_stay_small():
    long = {name: n for name, file in MODULES.items() if (n := len(file.read_text().splitlines())) > 420}
    assert not long
