"""Of many static groups those are made that have every value of every static choice, and others when asked for."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from small_search import task

import jaxhp as hp
from jaxhp.engine.events import Compiling
from jaxhp.search import groups
from jaxhp.search.extension import recorded_in
from jaxhp.search.manifest import claim, rewrite
from jaxhp.store import files
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Trials

WIDTHS, SCALES = [1, 2, 3, 4, 5, 6], [0.1, 0.2, 0.3, 0.4]
SPACE = hp.Space(lr=hp.LogUniform(1e-3, 0.1), width=hp.Choice(WIDTHS), scale=hp.Choice(SCALES))
RARE = {"lr": 0.01, "width": 3, "scale": 0.2}  # neither's first value, so that no covering has it


def makes(made: Counter, other=None):
    """A factory that counts, and makes another task of the group of RARE."""

    def make(static):
        width, scale = static["width"], static["scale"]
        made[width, scale] += 1
        rare = (width, scale) == (RARE["width"], RARE["scale"])
        if rare and other is ValueError:
            raise ValueError("no such network")
        factor = other if rare and other is not None else scale
        return task(init=lambda key, config: {"w": factor * jax.random.normal(key, (4, width))})

    return make


def no_task_of_six(static) -> Any:
    return task() if static["scale"] and static["width"] < 6 else None


def search(made=None, other=None, **options):
    options = {"epochs": 2, "finals": None} | options
    return hp.Search(makes(Counter() if made is None else made, other), SPACE, hp.Random(2), **options)


def test_those_are_made_that_have_every_value():
    made = Counter()
    found = search(made)
    plan, manifest = found.plan(), found.manifest()
    assert Counter(width for width, _ in made) == dict.fromkeys(WIDTHS, 1)  # so their mean is that of all groups
    assert made[WIDTHS[-1], SCALES[-1]] == 1  # the largest
    assert {scale for _, scale in made} == set(SCALES)
    assert len(manifest["tile"]) == len(plan.groups) == len(made)
    assert f"for {len(WIDTHS) * len(SCALES)} groups" in str(plan)
    assert plan.slot_epochs == pytest.approx(24 * sum(_slots(plan)) / len(made))
    assert found.groups.spec(RARE).static == {"width": 3, "scale": 0.2}
    assert set(made.values()) == {1}


def _slots(plan):
    """Two trials, each of one group of 24 with the same chance: the expected tiles of a group, times its members."""
    some = 1 - (23 / 24) ** 2
    both = (1 / 24) ** 2
    return [2 * group.tile * (some + both * (group.tile == 1)) for group in plan.groups]


def test_a_few_are_all_made():
    made = Counter()
    space = hp.Space(lr=hp.LogUniform(1e-3, 0.1), width=hp.Choice(WIDTHS[:4]), scale=hp.Choice(SCALES))
    hp.Search(makes(made), space, hp.Random(2), epochs=2, finals=None)
    assert len(made) == 16


def test_a_group_that_cannot_be_made_is_named_before_anything_trains():
    rare = search(other=ValueError)  # which nobody has asked for
    with pytest.raises(ValueError, match="no such network") as raised:
        rare.changed(include=[RARE])
    assert raised.value.__notes__ == ["for the configs with {'scale': 0.2, 'width': 3}"]
    with pytest.raises(ValueError, match="task: expected a Task or a Loop") as raised:
        hp.Search(no_task_of_six, SPACE, hp.Random(2))
    assert "'width': 6" in raised.value.__notes__[0]


def test_another_task_of_a_group_that_the_manifest_does_not_show_is_refused(tmp_path):
    first = search()
    with Ledger(tmp_path, write=True) as ledger:
        first.course(first.machine(), extended=False).knows(ledger, [RARE])
        ids, score = np.zeros(1, np.int32), np.ones(1, np.float32)
        drafts = Trials.of([hp.Trial(0, RARE, score=1.0, replicate_scores=(1.0,))])
        ledger.begin(Round(0, 2, np.zeros((1, 3), np.float32), ids - 1, ids), drafts)
        ledger.finish(0, drafts, score, 1.0)
    files.write_json(tmp_path / "manifest.json", first.manifest())
    assert search().load(tmp_path).trials[0].config == RARE
    assert search(other=0.2).manifest() == first.manifest()
    assert len(first.tasks(first.machine())) == len(WIDTHS)
    assert first.groups.spec(RARE).task in first.tasks(first.machine_of(recorded_in(tmp_path)))
    assert search(other=0.2).load(tmp_path).trials[0].score == 1.0
    with pytest.raises(ValueError, match=r"its groups\.scale=0\.2, width=3\.task is another one"):
        search(other=0.7).load(tmp_path)
    begun = recorded_in(tmp_path)
    begun["groups"]["scale=0.2, width=3"]["tile"] = 7
    assert first.machine_of(begun).tiles[first.groups.spec(RARE).key] == 7


def test_the_file_of_a_manifest_has_no_groups_and_damage_to_the_record_of_them_is_named(tmp_path):
    first = search()
    with Ledger(tmp_path, write=True) as ledger:
        claim(ledger, first.manifest(), accept_environment=False)
        first.course(first.machine(), extended=False).knows(ledger, [RARE])
    begun = recorded_in(tmp_path)
    assert [*begun["groups"]] == ["scale=0.2, width=3"]
    with Ledger(tmp_path, write=True) as ledger:
        claim(ledger, first.manifest(first.machine_of(begun)), accept_environment=False)
        rewrite(ledger, begun | {"seed": 1})
    assert files.read_json(tmp_path / "manifest.json") == json.loads(json.dumps(first.manifest() | {"seed": 1}))
    with Ledger(tmp_path, write=True) as ledger:
        ledger.set_meta("groups", '{"scale=0.2, width=3": 7}')
    with pytest.raises(hp.Error, match="groups is damaged"):
        recorded_in(tmp_path)


def test_data_is_hashed_once_for_all_groups_that_are_asked_for(monkeypatch):
    whole, hashed = task(), []
    monkeypatch.setattr(groups, "fingerprint", lambda parts: hashed.append(parts) or "of all")

    def make(static):
        init = lambda key, config: {"w": static["scale"] * jax.random.normal(key, (4, static["width"]))}  # noqa: E731
        return replace(whole, init=init)

    first = hp.Search(make, SPACE, hp.Random(2), epochs=2, finals=None)
    knows = first.course(first.machine(), extended=False).knows
    with Ledger(None, write=True) as ledger:
        for configs in ([RARE], [RARE | {"width": 4}, RARE], [RARE]):
            knows(ledger, configs)
        assert {**json.loads(ledger.meta("groups") or "")}.keys() == {"scale=0.2, width=3", "scale=0.2, width=4"}
    assert len(hashed) == 1
    first.manifest()
    assert len(hashed) == 2  # once more for all groups: data may be another by then


@pytest.mark.slow
def test_a_search_over_many_makes_and_compiles_those_that_it_trains(tmp_path):
    made, told = Counter(), []
    first = search(made, include=[RARE])
    result = first.run(tmp_path, quiet=True, watch=[told.append])
    asked = {(t.config["width"], t.config["scale"]) for t in result.trials}
    assert sum(isinstance(event, Compiling) for event in told) == len(asked) == 2
    assert len(made) <= 9 + len(asked)
    assert first.run(tmp_path, quiet=True).digest == result.digest
    assert not hp.verify(first, tmp_path).differences
