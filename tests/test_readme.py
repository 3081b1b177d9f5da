"""What the README shows works: its Python runs, its commands exist, its links lead somewhere."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxhp as hp
from jaxhp.cli import _parser
from jaxhp.search.machine import Machine
from jaxhp.search.search import Search
from jaxhp.space.parameters import KINDS

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_its_python_runs(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(BLOCKS[number], f"README block {number + 1}", "exec"), names)
    assert np.isfinite(names["result"].best.score)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["result"].best.params))


def test_its_loop_over_one_network_trains_and_says_where_a_nan_comes_from():
    """The loss of one weight w is w * x: its gradient is x = 1, so eight steps of SGD lead from 1 to 1 - 8 lr."""
    (loop,) = re.findall(r"^```py\n(.*?)^```$", TEXT, re.M | re.S)
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
    section = TEXT[TEXT.index("## Spaces") : TEXT.index("## Bring your own model")]
    shown = re.findall(r"`(hp\.\w+\(.*?\))`", section)
    others = "width=hp.Choice([8, 12]), heads=hp.Choice([1, 2, 3]), "
    made = [eval(one.replace("..., where", others + "where").replace(", ...", ""), {"hp": hp}) for one in shown]
    assert {type(one).__name__ for one in made if not isinstance(one, hp.Space)} == {
        name for name in KINDS if hasattr(hp, name)
    }
    (where,) = (one for one in made if isinstance(one, hp.Space) and one.where)
    assert [where.allows({"width": 8, "heads": heads}) for heads in (1, 2, 3)] == [True, True, False]
    for when in (eval(one) for one in re.findall(r"when=({.*?})", section)):
        space = hp.Space(optimizer=hp.Choice(["sgd", "adam"]), beta=hp.Uniform(0, 1, when=when))
        assert ["beta" in space.config([0.5, u]) for u in (0.0, 1.0)] == [False, True]


def test_its_schedule_is_as_long_as_its_run():
    (steps,) = re.findall(r"cosine_decay_schedule\(1\.0, (\d+)\)", BLOCKS[1])
    rows, share, batch, epochs = (
        float(re.findall(pattern, BLOCKS[1])[0])
        for pattern in (r"size=\((\d+),", r"valid=([\d.]+)", r"batch_size=(\d+)", r"epochs=(\d+)")
    )
    assert int(steps) == rows * (1 - share) / batch * epochs


def test_what_the_same_bits_depend_on_is_said_in_the_same_words_everywhere():
    kind = "one kind of device (a CPU's instruction set is part of its kind)"
    said = f"Same seed, same bits on one jaxlib, {kind} and one tile"
    for text in (TEXT.replace("**", ""), Search.__doc__, Machine.__doc__):
        assert said in " ".join(text.split())


def test_its_two_commands_come_first():
    commands = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S)
    assert [c.strip().split()[:2] for c in commands] == [["pip", "install"]] * 2


def test_it_lists_the_commands_that_there_are():
    listed = set(re.findall(r"^jaxhp (\w+)", TEXT, re.M))
    assert listed == set(_parser()._subparsers._group_actions[0].choices)


def test_its_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (README.parent / target).exists(), target
