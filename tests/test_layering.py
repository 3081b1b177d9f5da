"""The house: floors, circles, sizes and who may map over members, all read off the source. Run it to see the figures.

python tests/test_layering.py
"""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "jaxhp"
# A package imports only from packages above its own line here, or from itself.
FLOORS = (
    {"values", "compiling", "keys", "words", "schedules"},
    {"trials", "packages"},
    {"data", "nn", "objectives"},
    {"space", "tasks", "store", "strategies"},
    {"engine", "selection"},
    {"report", "executors"},
    {"search", "interop"},
    {"cli", "optuna", "jaxhp", "__main__"},
)


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "jaxhp"


MODULES = {name_of(file): file for file in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text()) for name, file in MODULES.items()}


def imported(name: str) -> set[str]:
    """The modules of this package that a file takes names from, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxhp":
            base = (node.module or "").removeprefix("jaxhp").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                found.add(full if full in MODULES else base or "jaxhp")
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("jaxhp.") for a in node.names if a.name.split(".")[0] == "jaxhp"}
    return found - {name}


IMPORTS = {name: imported(name) for name in MODULES}
# a package's __init__ is its face: its own files may be imported by way of it
GRAPH = {name: {i for i in found if not name.startswith(f"{i}.")} for name, found in IMPORTS.items()}


def package(name: str) -> str:
    return name.split(".")[0]


def floor(name: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if package(name) in floor)


@cache
def depth(name: str) -> int:
    """Files on the longest chain of imports from a file down."""
    return 1 + max((depth(below) for below in GRAPH[name]), default=0)


def closure(name: str) -> set[str]:
    """All that a file imports, itself included."""
    found, left = set(), {name}
    while left:
        found |= left
        left = set().union(*(GRAPH[module] for module in left)) - found
    return found


def lines(name: str) -> int:
    return len(MODULES[name].read_text().splitlines())


def test_no_import_runs_in_a_circle():
    tuple(TopologicalSorter(GRAPH).static_order())  # raises on a circle


def test_no_import_leads_back_up():
    up = [
        f"{name} imports {other}"
        for name, found in IMPORTS.items()
        for other in found
        if package(other) != package(name) and floor(other) >= floor(name) and name not in ("__main__", "jaxhp")
    ]
    assert not up


def test_only_one_file_maps_over_members():
    maps = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            called = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
            if called in ("vmap", "pmap", "shard_map") and package(name) != "strategies":
                maps.setdefault(name, set()).add(called)
    assert maps == {"engine.tile": {"vmap"}}


def test_the_house_is_small_to_enter():
    loop = closure("search.loop")
    assert len(loop) <= 25
    assert sum(map(lines, loop)) <= 3500
    assert max(map(depth, MODULES)) <= 12
    assert len(FLOORS) <= 8
    assert len({package(name) for name, file in MODULES.items() if file.parent != ROOT}) <= 12


def test_files_functions_and_objects_stay_small():
    assert not {name: lines(name) for name in MODULES if lines(name) > 420}
    assert not {where: n for where, n in functions().items() if n > 60 and where.startswith(("engine", "search"))}
    assert not {where: n for where, n in attributes().items() if n > 10}


def test_no_two_public_classes_share_a_name():
    homes: dict[str, list[str]] = {}
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name)
    assert not {name: where for name, where in homes.items() if len(where) > 1}


def functions() -> dict[str, int]:
    """Lines of every function without its docstring, by module and name."""
    found = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                doc = node.body[0] if ast.get_docstring(node) else None
                told = (doc.end_lineno or 0) - doc.lineno + 1 if doc else 0
                found[f"{name}.{node.name}"] = (node.end_lineno or 0) - node.lineno + 1 - told
    return found


def attributes() -> dict[str, int]:
    """How many attributes each class assigns in its constructor."""
    found = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                made = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
                stores = (n for f in made for n in ast.walk(f) if isinstance(n, ast.Attribute))
                own = {n.attr for n in stores if isinstance(n.ctx, ast.Store) and ast.unparse(n.value) == "self"}
                found[f"{name}.{node.name}"] = len(own)
    return found


if __name__ == "__main__":
    loop = closure("search.loop")
    packages = {package(name) for name, file in MODULES.items() if file.parent != ROOT}
    print(f"{len(MODULES)} modules in {len(packages)} packages, {sum(map(lines, MODULES)):,} lines")
    print(f"{len(FLOORS)} floors of packages; {max(map(depth, MODULES))} files on the longest chain of imports")
    print(f"the loop imports {len(loop)} modules, {sum(map(lines, loop)):,} lines")
    print(f"the longest file has {max(map(lines, MODULES))} lines")
    for what, sizes in {"longest functions": functions(), "largest constructors": attributes()}.items():
        print(f"{what}: " + ", ".join(f"{where} {n}" for where, n in sorted(sizes.items(), key=lambda i: -i[1])[:6]))
