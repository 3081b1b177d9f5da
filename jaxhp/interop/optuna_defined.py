"""What a define-by-run function of Optuna asks for, and under which of its earlier choices: found out by calling it.

A function of a trial says nothing beforehand. It is called with one value after another of each categorical parameter
and each integer that has few, to see which of these it branches on; then once for every combination of those. What it
asks for in some of these calls alone gets a condition, if one list of values for each earlier parameter says when. A
few calls with random answers tell whether that is all; a function that branches on a float is refused by them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jaxhp.values import Error, same_value

CALLS, FEW, CHECKED = 4096, 32, 64  # calls at most; values of an integer that it may branch on; random calls
Define = Callable[[Any], object]
Answer = Callable[[str, BaseDistribution], Any]
Condition = Mapping[str, object]  # what `when=` takes


class Recording:
    """A trial that is given its answers and remembers what it was asked.

    Attributes:
      asked: name to distribution, in the order of asking.
      params: name to answer.
    """

    number = 0

    def __init__(self, answer: Answer):
        self._answer = answer
        self.asked: dict[str, BaseDistribution] = {}
        self.params: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Answer one of the choices."""
        return self._suggest(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        """Answer an integer of the range."""
        return self._suggest(name, IntDistribution(low, high, log=log, step=step))

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> Any:
        """Answer a float of the range."""
        return self._suggest(name, FloatDistribution(low, high, log=log, step=step))

    def set_user_attr(self, key: str, value: Any) -> None:
        """Do nothing: there is no study."""

    def _suggest(self, name: str, of: BaseDistribution) -> Any:
        if name in self.asked:
            _same(name, self.asked[name], of)
        else:
            self.asked[name], self.params[name] = of, self._answer(name, of)
        return self.params[name]


def defined(function: Define) -> dict[str, tuple[BaseDistribution, Condition | None]]:
    """Return the distribution of every parameter that a function asks for, and when it does, None for always.

    Raises:
      Error: it asks for nothing, for two ranges under one name, or under conditions that are no lists of choices and
        integers; or it has too many branches.
    """
    branching: list[str] = []
    while (more := _another(function, branching)) is not None:
        branching.append(more)
    calls = [call for end in (0, -1) for call in _calls(function, branching, end)]
    found: dict[str, BaseDistribution] = {}
    for name, of in itertools.chain.from_iterable(call.asked.items() for call in calls):
        _same(name, found.setdefault(name, of), of)
    if not found:
        raise Error("distributions: expected a function that calls its trial's suggest_ methods, got one that did not")
    when = {name: _condition(name, calls, branching) for name in found}
    rng = np.random.default_rng(0)
    for _ in range(CHECKED):
        call = _called(function, lambda _, of: _drawn(rng, of))
        _check(call, when)
        for name, of in call.asked.items():
            _same(name, found[name], of)
    return {name: (of, when[name] or None) for name, of in found.items()}


def _called(function: Define, answer: Answer) -> Recording:
    trial = Recording(answer)
    function(trial)
    return trial


def _few(of: BaseDistribution) -> Sequence[Any]:
    """Return the values that a function may branch on; none where they are many."""
    if isinstance(of, CategoricalDistribution):
        return of.choices
    values = range(of.low, of.high + 1, of.step) if isinstance(of, IntDistribution) else ()
    return values if len(values) <= FEW else ()


def _answers(chosen: Mapping[str, Any], end: int) -> Answer:
    """Return what answers with chosen values, and else with one of the ends: 0 is the first, -1 the last."""

    def answer(name: str, of: BaseDistribution) -> Any:
        if name in chosen:
            return chosen[name]
        if isinstance(of, CategoricalDistribution):
            return of.choices[end]
        assert isinstance(of, IntDistribution | FloatDistribution)
        return (of.low, of.high)[end]

    return answer


def _calls(function: Define, branching: Sequence[str], end: int) -> list[Recording]:
    """Call a function with all combinations of what it branches on.

    Raises:
      Error: they are too many.
    """
    found: list[Recording] = []
    left: list[dict[str, Any]] = [{}]
    while left:
        chosen = left.pop(0)
        call = _called(function, _answers(chosen, end))
        name = next((name for name in call.asked if name in branching and name not in chosen), None)
        if name is None:
            found.append(call)
        else:
            left += [chosen | {name: value} for value in _few(call.asked[name])]
        if len(found) + len(left) > CALLS:
            raise Error(f"distributions: expected at most {CALLS} combinations of what it branches on, got more")
    return found


def _another(function: Define, branching: Sequence[str]) -> str | None:
    """Return a parameter that decides what else is asked for, and is not known as such."""
    for end in (0, -1):
        for call in _calls(function, branching, end):
            for name in (name for name in call.asked if name not in branching):
                for value in _few(call.asked[name]):
                    other = _called(
                        function,
                        _answers({n: call.params[n] for n in branching if n in call.params} | {name: value}, end),
                    )
                    if set(other.asked) != set(call.asked):
                        return name
    return None


def _condition(name: str, calls: Sequence[Recording], branching: Sequence[str]) -> dict[str, list[Any]]:
    """Return under which values of the others a parameter is asked for, where they decide it one by one."""
    having = [call for call in calls if name in call.asked]
    when: dict[str, list[Any]] = {}
    if len(having) == len(calls):
        return when
    for owner in branching:
        if owner == name or not all(owner in call.params for call in having):
            continue
        values = _distinct([call.params[owner] for call in having])
        others = _distinct([call.params[owner] for call in calls if owner in call.params])
        if len(values) < len(others) and all(_before(owner, name, call) for call in having):
            when[owner] = values
    return when


def _before(owner: str, name: str, call: Recording) -> bool:
    names = list(call.asked)
    return names.index(owner) < names.index(name)


def _check(call: Recording, when: Mapping[str, Mapping[str, list[Any]]]) -> None:
    """Check that a call asked for what its conditions say.

    Raises:
      Error: it did not.
    """
    for name in call.asked:
        if name not in when:
            raise Error(f"distributions {name}: {_EXPECTED}, got a function that asks for it at {_shown(call)}")
    for name, needed in when.items():
        if all(o in call.params and any(same_value(call.params[o], v) for v in needed[o]) for o in needed) != (
            name in call.asked
        ):
            does = "asks for it" if name in call.asked else "does not ask for it"
            raise Error(f"distributions {name}: {_EXPECTED}, got a function that {does} at {_shown(call)}")


_EXPECTED = "expected conditions that are a list of values for each choice or integer asked for before"


def _shown(call: Recording) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in call.params.items())


def _drawn(rng: np.random.Generator, of: BaseDistribution) -> Any:
    if isinstance(of, CategoricalDistribution):
        return of.choices[rng.integers(len(of.choices))]
    if isinstance(of, IntDistribution):
        return of.low + of.step * int(rng.integers((of.high - of.low) // of.step + 1))
    assert isinstance(of, FloatDistribution)
    u = float(rng.random())
    return of.low ** (1 - u) * of.high**u if of.log else of.low + u * (of.high - of.low)


def _same(name: str, known: BaseDistribution, of: BaseDistribution) -> None:
    if known != of:
        raise Error(f"distributions {name}: expected one range under one name, got {known} and {of}")


def _distinct(values: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if not any(same_value(one, value) for one in found):
            found.append(value)
    return found
