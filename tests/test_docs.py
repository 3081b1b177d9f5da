"""The documentation works: its Python runs, commands parse, links lead somewhere, all public names are in it."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import search as small

import jaxhp as hp
from jaxhp.cli import _parser
from jaxhp.space.parameters import KINDS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {str(page.relative_to(DOCS)): page.read_text() for page in sorted(DOCS.rglob("*.md"))}
FENCE = re.compile(r"^(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
ELSEWHERE = (
    "clusters.md",
    "data.md",
    "index.md",
)  # what runs in tests of their own: executors/, data/, test_package.py


def blocks(page: str, kind: str) -> list[str]:
    """The blocks of a page that are run."""
    return [found["text"] for found in FENCE.finditer(PAGES[page]) if found["kind"] == kind and not found["why"]]


def given(page: str) -> dict[str, object]:
    """What a page's first block takes as there."""
    return {"search": small(strategy=hp.Random(4), epochs=2, finals=None)} if page == "watching.md" else {}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page not in ELSEWHERE])
def test_its_python_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = given(page)
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page} block {number}", "exec"), names)
        if isinstance(found := names.pop("result", None), hp.Result):
            assert np.isfinite(found.best.score)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.best.params))
            names["result"] = found


def test_every_block_says_what_it_is():
    for page, text in PAGES.items():
        assert text.count("\n```") == 2 * len(list(FENCE.finditer(text))), page
        assert {found["kind"] for found in FENCE.finditer(text)} <= {"python", "sh", "text", "yaml"}, page
    unrun = [found["why"] for text in PAGES.values() for found in FENCE.finditer(text) if found["why"]]
    assert len(unrun) <= 4


def test_its_commands_are_commands():
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines() if line]
    assert len(lines) > 8
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program in ("jaxhp", "pip"), line
        if program == "jaxhp":
            _parser().parse_args(arguments)


def test_it_lists_the_commands_that_there_are():
    listed = set(re.findall(r"^jaxhp (\w+)", PAGES["commands.md"], re.M))
    assert listed == set(_parser()._subparsers._group_actions[0].choices)


def test_files_that_it_names_exist():
    for page, text in PAGES.items():
        for named in re.findall(r"(?:experiments|tests)/[\w/]+\.(?:py|ipynb)", text):
            assert (DOCS.parent / named).exists(), (page, named)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_its_links_lead_somewhere():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)]+)\)", FENCE.sub("", text)):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            there = (DOCS / page).parent / path if path else DOCS / page
            assert there.is_file(), (page, target)
            assert not anchor or anchor in anchors(there), (page, target)


def documented() -> set[str]:
    """The names that the reference has; of a module without a list of members all that it names as public."""
    found = set()
    for page, text in PAGES.items():
        if page.startswith("reference/"):
            found |= set(re.findall(r"^::: jaxhp\.([\w.]+)$", text, re.M))
    return found


def public(module: ModuleType) -> list[str]:
    """The names that a module says are public, or defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        n for n, value in vars(module).items() if n[0] != "_" and getattr(value, "__module__", "") == module.__name__
    ]


def test_every_public_name_is_in_the_reference():
    found = documented()
    for name in hp.__all__:
        value = getattr(hp, name)
        if not isinstance(value, ModuleType):
            assert name in found, name
        elif name not in found and name != "search":
            missing = {one for one in public(value) if f"{name}.{one}" not in found}
            assert not missing - set(hp.__all__), name
    assert "{#jaxhp.search}" in PAGES["reference/search.md"]  # a function and a package of one name


def test_every_name_of_the_reference_exists_and_says_what_it_is():
    for path in documented():
        parts = path.split(".")
        value = hp
        for part in parts:
            value = getattr(value, part) if hasattr(value, part) else import_module(f"{value.__name__}.{part}")
        assert value.__doc__, path


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", (DOCS.parent / "mkdocs.yml").read_text()))
    assert listed == set(PAGES)


def test_its_pages_fetch_nothing():
    config = (DOCS.parent / "mkdocs.yml").read_text()
    assert "font: false" in config
    assert "assets/iframe-worker.js" in config
    assert not re.findall(r"https?://", config)
    assert not [page for page, text in PAGES.items() if re.search(r"!\[[^\]]*\]\(http|<(?:script|img|iframe)", text)]


def test_its_loop_over_one_network_trains_and_says_where_a_nan_comes_from():
    """The loss of one weight w is w * x: its gradient is x = 1, so eight steps of SGD lead from 1 to 1 - 8 lr."""
    (loop,) = (found["text"] for found in FENCE.finditer(PAGES["models.md"]) if found["why"])
    names = {
        "jax": jax,
        "optax": optax,
        "train": {"x": np.ones(400, np.float32)},
        "init": lambda key, config: jnp.ones(()),
        "loss": lambda w, batch, key, config: jnp.mean(w * batch["x"]),
        "optimizer": lambda config: optax.sgd(config["lr"]),
    }
    exec(loop, names)
    assert float(names["params"]) == pytest.approx(1 - 8 * 0.1, rel=1e-5)
    names["loss"] = lambda w, batch, key, config: jnp.log(-w * batch["x"]).sum()
    with pytest.raises(FloatingPointError, match="nan"):
        exec(loop, names)


def test_its_table_of_spaces_has_what_there_is():
    text = FENCE.sub("", PAGES["spaces.md"]).split("## ")[0]
    shown = re.findall(r"`(hp\.\w+\(.*?\))`", text)
    others = "width=hp.Choice([8, 12]), heads=hp.Choice([1, 2, 3]), "
    made = [eval(one.replace("..., where", others + "where").replace(", ...", ""), {"hp": hp}) for one in shown]
    assert {type(one).__name__ for one in made if not isinstance(one, hp.Space)} == {
        name for name in KINDS if hasattr(hp, name)
    }
    (where,) = (one for one in made if isinstance(one, hp.Space) and one.where)
    assert [where.allows({"width": 8, "heads": heads}) for heads in (1, 2, 3)] == [True, True, False]
    for when in (eval(one) for one in re.findall(r"when=({.*?})", text)):
        space = hp.Space(optimizer=hp.Choice(["sgd", "adam"]), beta=hp.Uniform(0, 1, when=when))
        assert ["beta" in space.config([0.5, u]) for u in (0.0, 1.0)] == [False, True]


def test_its_schedule_is_as_long_as_its_run():
    first = blocks("models.md", "python")[0]
    (steps,) = re.findall(r"cosine_decay_schedule\(1\.0, (\d+)\)", first)
    rows, share, batch, epochs = (
        float(re.findall(pattern, first)[0])
        for pattern in (r"size=\((\d+),", r"valid=([\d.]+)", r"batch_size=(\d+)", r"epochs=(\d+)")
    )
    assert int(steps) == rows * (1 - share) / batch * epochs


def test_what_the_same_bits_depend_on_is_said_in_the_same_words():
    kind = "one kind of device (a CPU's instruction set is part of its kind)"
    said = f"Same seed, same bits on one jaxlib, {kind} and one tile"
    assert said in " ".join(PAGES["reproducibility.md"].replace("**", "").split())


def test_its_table_of_strategies_is_the_benchmarks():
    """Every cell stands in the docstring of the benchmark that measured it."""
    table = (DOCS.parent / "experiments/benchmarks/strategies.py").read_text().split('"""')[1]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in PAGES["strategies.md"].splitlines()]
    measured = [row for row in rows if len(row) == 6 and re.match(r"\.\d{3}", row[1])]
    assert len(measured) == 8
    for name, *cells in measured:
        (line,) = re.findall(rf"^    {re.escape(name)} +(\..*)$", table, re.M)
        assert line.split() == " ".join(cells).replace("**", "").split()
