"""How much a search trains, and the finals that fit it."""

from __future__ import annotations

from jaxhp.engine.layout import expected_slots, tiles_needed
from jaxhp.selection.verdict import Finals, default_finals, least_replicates
from jaxhp.trials import Rung


def trained(rung: Rung, before: Rung | None) -> int:
    """Return the epochs that a round trains its trials for, which go on with those of the round before if they can."""
    return rung.epochs - before.epochs if before is not None and rung.epochs > before.epochs else rung.epochs


def epochs_trained(rungs: tuple[Rung, ...], tile: int = 1) -> int:
    """Return the epochs that rungs train, times tiles of so many trials."""
    return sum(tiles_needed(trials, 1, tile) * epochs for trials, epochs in stages(rungs))


def stages(rungs: tuple[Rung, ...]) -> list[tuple[int, int]]:
    """Return (trials, epochs that each of them is trained there) of every rung."""
    return [(rung.trials, trained(rung, before)) for rung, before in zip(rungs, [None, *rungs[:-1]], strict=True)]


def slot_epochs(
    rungs: tuple[Rung, ...], members: int, finals: tuple[int, int] | None, epochs: int, tile: int, groups: int
) -> float:
    """Expect the epochs that all slots of one group's tiles are trained, if trials fall to each group alike.

    Args:
      members: of a trial.
      finals: trials and fresh replicates of the finals; None: none.
      epochs: of a full training.
      tile: of the group.
      groups: how many there are.
    """
    work = [(trials, members, trains) for trials, trains in stages(rungs)] + ([(*finals, epochs)] if finals else [])
    return sum(expected_slots(trials, of_each, tile, groups) / groups * trains for trials, of_each, trains in work)


def why_no_finals(finals: Finals | None, folds: int, *, default: bool) -> str:
    """Return why there are no finals, and what to pass to have them; "" where there are.

    Args:
      folds: 1 without folds.
      default: whether their size was to follow that of the search.
    """
    if finals is not None:
        return ""
    if not default:
        return "finals=None was asked for"
    least = least_replicates(folds)
    smallest = f"the smallest, 2 trials with {least} fresh replicates each, would take more than a fifth of the run"
    return f"{smallest}; pass finals=hp.Finals(2, {least}) to have them"


def finals_that_fit(rungs: tuple[Rung, ...], members: int, tile: int, epochs: int, folds: int) -> Finals | None:
    """Return default finals for a search, see `default_finals`.

    Args:
      members: of a trial.
      folds: 1 without folds.
    """
    return default_finals(
        epochs_trained(rungs) * members,
        epochs_trained(rungs, tile) * members,
        max(rung.trials for rung in rungs),
        tile,
        epochs,
        folds,
    )
