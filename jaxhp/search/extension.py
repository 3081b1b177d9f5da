"""More of the same: what a search that is made larger may keep of the smaller one in its directory.

An extended search is the search with the larger request, run on the same directory: its rounds are asked for again and
those that are recorded count. So what is decided here is only whether the record can be a part of the larger search.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxhp.report.telling import plural
from jaxhp.search.manifest import recorded, rewrite, without_groups
from jaxhp.store.digest import ABOUT
from jaxhp.store.enlarging import LIMIT, enlarge
from jaxhp.store.ledger import Ledger
from jaxhp.store.ours import SUMMARY
from jaxhp.tasks.clock import asked as asked_for
from jaxhp.trials import Rung
from jaxhp.values import Error, Json, check_int

_FUNCTIONS = ("init", "loss", "evaluate", "optimizer", "averaged", "epoch")  # of a task


class Extent(NamedTuple):
    """How much a search asks for."""

    rounds: int | None  # as its strategy counts them; None where it has no such setting
    epochs: int

    def covers(self, other: Extent) -> bool:
        """Tell whether another search asks for no more."""
        return (other.rounds or 0) <= (self.rounds or 0) and other.epochs <= self.epochs

    def __str__(self) -> str:
        counted = "" if self.rounds is None else f"{plural(self.rounds, 'round')} of "
        return f"{counted}{plural(self.epochs, 'epoch')}"


def extents(manifest: Json) -> list[Extent]:
    """Return how much the search of a directory has asked for, from its beginning on; [] where it never was extended.

    Raises:
      Error: the entry of the manifest is damaged.
    """
    record = manifest.get("extended") or []
    try:
        found = [Extent(None if rounds is None else int(rounds), int(epochs)) for rounds, epochs in record]
    except (TypeError, ValueError) as error:
        raise Error(f"manifest.json: expected rounds and epochs under extended, got {record!r:.80}") from error
    return found


def recorded_in(directory: str | Path) -> Json:
    """Return the manifest of a run directory.

    Raises:
      FileNotFoundError: it is none.
      Error: it holds no search yet, or a damaged one.
    """
    with Ledger(directory) as ledger:
        found = recorded(ledger)
    if found is None:
        raise Error(f"dir: expected a run directory, got {directory}, in which no search has begun")
    return found


def rounds_of(strategy: Any) -> int | None:
    """Return the number of rounds that a strategy is set to; None where it has no such setting."""
    return strategy.rounds if "rounds" in _settings(strategy) else None


def with_rounds(strategy: Any, rounds: int) -> dict[str, Any]:
    """Return the settings that make a strategy one of so many rounds.

    Raises:
      Error: it has no setting for them.
    """
    if rounds_of(strategy) is None:
        raise Error(f"rounds: expected a strategy with a setting rounds, got {type(strategy).__name__}, which has none")
    sizes = getattr(strategy, "population", None)
    if isinstance(sizes, tuple):
        return {"population": (sizes + sizes[-1:] * rounds)[:rounds]}
    return {"rounds": rounds}


def _settings(strategy: Any) -> Sequence[str]:
    known = getattr(strategy, "__dataclass_fields__", {})
    return [name for name, field in known.items() if field.init]


def wanted(extent: Extent, rounds: int | None, epochs: int | None) -> Extent:
    """Return how much is asked for by more rounds, or by a larger number of epochs.

    Raises:
      Error: neither is given, or one is no such number.
    """
    if rounds is None and epochs is None:
        raise Error("extend: expected rounds=, how many more, or epochs=, the new budget, got neither")
    if rounds is not None:
        extent = extent._replace(rounds=(extent.rounds or 0) + check_int("rounds", rounds, 0))
    if epochs is None:
        return extent
    if check_int("epochs", epochs, 1) < extent.epochs:
        raise Error(f"epochs: expected at least the {extent.epochs} that the search has, got {epochs}")
    return extent._replace(epochs=int(epochs))


def read_rounds(text: str) -> tuple[int, bool]:
    """Return the number of rounds that stands on a command line, and whether it is how many more.

    Raises:
      Error: it is none.

    >>> read_rounds("+2"), read_rounds("6")
    ((2, True), (6, False))
    """
    digits = text.removeprefix("+")
    if not digits.isdecimal() or not int(digits):
        raise Error(f"--rounds: expected a number such as +2, more, or 6, in all, got {text!r}")
    return int(digits), text != digits


def in_all(
    directory: Path, strategy: Any, extent: Extent, rounds: tuple[int, bool] | None, epochs: int | None
) -> Extent:
    """Return how much is asked for of a directory on a command line.

    Args:
      strategy, extent: of the search that it was begun with.
      rounds: how many, and whether that is how many more than it has.
      epochs: the new budget.

    Raises:
      Error: `epochs` are fewer; or more rounds are asked for than a search has that is not finished.
    """
    extent = [extent, *extents(recorded_in(directory))][-1]
    if epochs is not None:
        extent = wanted(extent, None, epochs)
    if rounds is None:
        return extent
    count, more = rounds
    if not more:
        return extent._replace(rounds=count)
    with Ledger(directory) as ledger:
        if ledger.meta("finished") is None:
            total = (extent.rounds or 0) + count
            raise Error(f"--rounds: expected a number in all, such as {total}, for an unfinished search, got +{count}")
        limit = limit_of(ledger)
    done = extent.rounds or 0
    while limit is not None and done and _asks(strategy, done, extent.epochs) > limit:
        done -= 1
    return extent._replace(rounds=done + count)


def _asks(strategy: Any, rounds: int, epochs: int) -> int:
    """Count what a strategy asks for in so many rounds."""
    return len(replace(strategy, **with_rounds(strategy, rounds)).schedule(epochs))


class Request(NamedTuple):
    """What a search asks for, as far as another one may go on with it."""

    extent: Extent
    rungs: Sequence[Rung]
    tasks: Sequence[object]  # of its static groups


def grow(ledger: Ledger, before: Json, held: Request, larger: Request, manifest: Json) -> str:
    """Make the directory of a search that of a larger one.

    Args:
      before: its manifest.
      held: what it asks for now.
      larger: what it is to ask for.
      manifest: of the larger search.

    Returns:
      what was done, for a person.

    Raises:
      Error: what is recorded is no part of the larger search.
    """
    if larger.extent.epochs != held.extent.epochs:
        _check_clock(held, larger)
    epochs = _check_rungs(ledger, held, larger)
    kept = {name: before[name] for name in ABOUT if name in before}
    history = [*(extents(before) or [held.extent]), larger.extent]
    text = json.dumps(without_groups(manifest) | kept | {"extended": [[*extent] for extent in history]})
    enlarge(ledger, json.loads(text), text, epochs, larger.extent.epochs)
    rewrite(ledger, json.loads(text))
    if ledger.directory is not None:
        (ledger.directory / SUMMARY).unlink(missing_ok=True)
    return f"extended: {larger.extent} instead of {held.extent}"


def _check_clock(held: Request, larger: Request) -> None:
    for task in held.tasks:
        for name in _FUNCTIONS:
            function = getattr(task, name, None)
            if function is not None and "steps" in asked_for(function):
                raise Error(
                    f"epochs: expected {held.extent.epochs} for a task whose {name} asks for steps, which tells it of "
                    f"all epochs from the first on, got {larger.extent.epochs}; run that in another directory"
                )


def _check_rungs(ledger: Ledger, held: Request, larger: Request) -> list[int]:
    """Return how long each round that has begun is trained in the larger search.

    A round may be trained on where its trials begin in it, and no other round goes on with them.
    """
    rounds = ledger.rounds()
    epochs = []
    for asked, after in zip(rounds, [*rounds[1:], None], strict=True):
        before, now = held.rungs[asked.number], [*larger.rungs, None][min(asked.number, len(larger.rungs))]
        alone = np.all(asked.parent < 0) and (after is None or np.all(after.parent < 0))
        longer = now is not None and alone and now.trials == before.trials and now.epochs > before.epochs
        if now is None or not (now == before or longer):
            asks = "no such round" if now is None else f"{plural(now.trials, 'trial')} to epoch {now.epochs}"
            raise Error(
                f"extend: expected {larger.extent} to begin with the rounds that the directory holds, got {asks} for "
                f"round {asked.number + 1}, which trained {plural(before.trials, 'trial')} to epoch {before.epochs}; "
                "run that in another directory"
            )
        epochs.append(now.epochs)
    return epochs


def otherwise(strategy: object, extent: Extent) -> str:
    """Say that an extended search is not the one asked for at once."""
    name = type(strategy).__name__
    return (
        f"extended: a search of {extent} asked for at once is another one, in which {name} asks for other points than "
        "were recorded, which count"
    )


def limit_of(ledger: Ledger) -> int | None:
    """Return after how many rounds (of the schedule) a search was ended early; None where it was not."""
    text = ledger.meta(LIMIT)
    return None if text is None else ledger.decode("the number of rounds", int, text)
