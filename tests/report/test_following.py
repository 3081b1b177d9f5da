"""What to type next: only what applies to the search as it is."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxhp.report.following import following, written


def names(tested=True, place="runs/a", **facts) -> list[str]:
    known = {"stage": SimpleNamespace(finished=True), "ruin": None, "opened": 0} | facts
    result = SimpleNamespace(**known)
    commands = following(result, Path(place), tested=tested)  # type: ignore[arg-type]
    assert all(str(Path(place)) in text for text in shlex.split(" ".join(c for c, _ in commands)) if place in text)
    return [shlex.split(command)[1] for command, _ in commands]


@pytest.mark.parametrize("place", ["runs/a", "-x", "a b'c", "[red]"])
def test_only_what_applies(place):
    assert names(place=place) == ["report", "extend", "test", "verify", "-ic"]
    assert names(place=place, opened=1) == ["report", "extend", "verify", "-ic"]
    assert names(place=place, tested=False) == ["report", "extend", "verify", "-ic"]
    assert names(place=place, ruin=1) == ["report"]
    assert names(place=place, stage=SimpleNamespace(finished=False)) == ["resume"]


def test_they_stand_below_each_other():
    assert written([("jaxhp a", "one"), ("jaxhp bcd", "two")]) == (
        "next      jaxhp a    # one\n          jaxhp bcd  # two"
    )
