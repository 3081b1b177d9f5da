"""What CONTRIBUTING.md says of the tree is so: the walk's functions and the recipes' files exist, and recipes work."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from small_search import search

import jaxhp as hp
from jaxhp.strategies.history import stream

ROOT = Path(hp.__file__).parent
TEXT = (ROOT.parent / "CONTRIBUTING.md").read_text()


def defined(file: Path) -> set[str]:
    """Functions and methods of a file, as `name` or `Class.name`."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_the_walk_of_a_learning_rate_is_as_it_is_written():
    walk = re.findall(r"^\d+\. `([\w/]+\.py):([\w.]+)`", TEXT, re.M)
    assert 5 < len(walk) <= 12
    for file, function in walk:
        assert function in defined(ROOT / file), (file, function)


def test_every_file_that_is_named_exists():
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", TEXT)
    assert len(named) > 15
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT.parent / name).exists()]
    assert not missing


def test_every_recipe_says_what_to_touch_and_which_test_to_extend():
    table = TEXT[TEXT.index("## Where to make a change") : TEXT.index("## Words")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"][2:]
    assert len(rows) > 10
    for recipe, *parts in rows:
        assert len(parts) == 2, recipe
        assert re.search(r"`tests/\S+`", parts[1]), recipe


@dataclass(frozen=True)
class Corners(hp.Sampler):
    """A strategy of one's own by the recipe: points near a corner that the key picks."""

    def points(self, history, size):
        corner = jax.random.bernoulli(stream(history.key, 0), shape=(1, history.dim))
        return abs(corner - 0.1 * jax.random.uniform(stream(history.key, 1 + history.round), (size, history.dim)))


def test_a_strategy_of_ones_own_keeps_the_contract_and_searches():
    hp.testing.check_strategy(Corners(8, 2), dims=(2,))
    result = search(strategy=Corners(9, 2)).run(quiet=True)
    at = np.log10(result.trials.config["lr"])  # the range is 1e-3 to 10
    assert len(at) == 18
    assert np.all((at < -3 + 0.4 + 1e-6) | (at > 1 - 0.4 - 1e-6))
