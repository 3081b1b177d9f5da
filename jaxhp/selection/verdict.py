"""What finals are: how they are run, and what they found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxhp import words
from jaxhp.trials import ceil_div
from jaxhp.values import Error, Json, is_int

_SHARE = 0.25  # default finals cost at most so much of the search: a fifth of both together


@dataclass(frozen=True)
class Finals:
    """How finalists are compared.

    Attributes:
      top: how many of the best trials run again.
      replicates: fresh replicates of each, at most: half for the choice, half for the estimate. With folds they are
        rounded up to whole rounds of the folds, three at least. Who is within one standard error of the best is a
        candidate, and the one with the best neighbourhood is chosen: where a seed changes a metric by decades, that may
        be a far worse trial. Of two trials of a loop, one 100 times as bad, each seed a factor of 10 off, that one was
        chosen in 15% of finals with 4 replicates, 3% with 16, 0% with 16 where they were ranked by the logarithm.
      holdout: share in (0, 1), or number, of the validation examples that are kept from the search and used for the
        estimate alone. None: the estimate is taken on the validation examples that the search has used, and corrected
        for that. The correction is right on average where the luck of examples is about normal, and the same at every
        budget; a holdout needs no such assumption, but the search has fewer examples to choose by. It is cut off at
        random, but for:
      groups: the column of `valid` that says what belongs together (a patient, a site): a group is either held out or
        not. Whoever split the data by groups has to name them here too.
      order: the column of `valid` that says what comes when: the last examples are held out.
    """

    top: int = 8
    replicates: int = 16
    holdout: float | int | None = None
    groups: str | None = None
    order: str | None = None

    def __post_init__(self):
        from jaxhp.data.dealing import check_names  # slow to import, and who reads does without

        check_names(None, self.groups, self.order, "Finals ")
        if self.holdout is None and (self.groups or self.order):
            raise Error(f"Finals {'groups' if self.groups else 'order'}: expected holdout= beside it, got none")
        for name, least in (("top", 1), ("replicates", 4)):
            value = getattr(self, name)
            if not is_int(value, least):
                raise Error(f"Finals {name}: expected an integer of at least {least}, got {value!r}")
            object.__setattr__(self, name, int(value))
        part = self.holdout
        if part is not None and (isinstance(part, bool) or not (0 < part < 1 or is_int(part, 1))):
            raise Error(f"Finals holdout: expected a share in (0, 1) or a number of examples, got {part!r}")
        object.__setattr__(self, "holdout", part.item() if isinstance(part, np.generic) else part)

    def __repr__(self) -> str:
        """Write it as it was written before a holdout had groups or an order, by which directories know a search."""
        parts = {name: getattr(self, name) for name in ("top", "replicates", "holdout", "groups", "order")}
        shown = {n: v for n, v in parts.items() if v is not None or n == "holdout"}
        return f"Finals({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def blocks(self, folds: int) -> tuple[list[int], int]:
        """Replicates of each round of the choice, after which finalists may be given up, and those of the estimate."""
        seeds = max(ceil_div(self.replicates, folds), 3 if folds > 1 else 4)
        choosing = max(seeds // 2, 2)
        rounds = [choosing // 2, choosing - choosing // 2] if choosing >= 4 else [choosing]
        return [count * folds for count in rounds], (seeds - choosing) * folds

    def members(self, folds: int) -> int:
        """Replicates of a finalist that takes part to the end."""
        rounds, estimating = self.blocks(folds)
        return sum(rounds) + estimating


class Estimate(NamedTuple):
    """The chosen trial's metric on fresh replicates, which the choice has not seen, less `correction`."""

    mean: float
    low: float  # 95% interval over seeds and examples, or over seeds where there are no examples
    high: float
    n_tried: int  # trials of the search
    replicates: int  # fresh replicates that it is the mean of
    examples: int  # validation examples; 0 of a loop, which has none
    held_out: bool  # whether the search has not used these examples
    correction: float | None = 0.0  # taken off for the luck of examples that the search has used; None: nothing was
    bias: float = 0.0  # taken off too: how much too high the metric of so few examples is on average; 0 of a mean

    @property
    def over(self) -> str:
        """What its interval is over, in words."""
        return "seeds and examples" if self.examples else "seeds"

    @property
    def basis(self) -> str:
        """What it rests on, in words."""
        if not self.examples:
            return f"{self.replicates} fresh seeds, which are the only noise; {self.n_tried:,} trials tried"
        examples = f"{self.examples:,} {'held-out' if self.held_out else 'validation'} examples"
        style = words.interval_style(self.mean, self.low, self.high)
        if self.correction is None and not self.held_out:
            examples += ", whose luck is not taken off although the search has used them"
        for taken, why in (
            (self.correction or 0.0, "since the search has used them"),
            (self.bias, "for the metric's own bias with so few"),
        ):
            corrected = style.write(-taken, sign=True)
            if float(corrected) and abs(taken) > 1e-3 * (self.high - self.low):  # more than nothing, and can be seen
                examples += f", corrected by {corrected} {why}"
        return f"{self.replicates} fresh replicates, {examples}; {self.n_tried:,} trials tried"


class Finalist(NamedTuple):
    """What the finals found of one trial.

    Attributes:
      trial_id: which one.
      replicates: fresh replicates it was run with; those of the estimate only if it was a candidate.
      mean: its metric on those of the choice; NaN if one of them diverged.
      difference: paired, from the best of them; negative is worse in either mode.
      stderr: of `difference`, over seeds and examples; 0 for the best itself.
      neighbourhood: mean score of the nearest trials of the search; the candidate with the best one is chosen. A trial
        that inherited weights counts as near to those of its last config, although others were a part of its training.
      candidate: whether it is within one `stderr` of the best.
      p_best: the probability that it is the best finalist, by bootstrap over seeds and examples.
    """

    trial_id: int
    replicates: int
    mean: float
    difference: float
    stderr: float
    neighbourhood: float
    candidate: bool
    p_best: float


class Measured(NamedTuple):
    """What the finals measured of one trial where there are several objectives or constraints.

    Attributes:
      trial_id: which one.
      replicates: fresh replicates that it was run with, none of which chose anything by these metrics.
      estimates: by metric; NaN where it diverged on one of them.
    """

    trial_id: int
    replicates: int
    estimates: Mapping[str, Estimate]

    def to_json(self) -> Json:
        return self._asdict() | {"estimates": {name: e._asdict() for name, e in self.estimates.items()}}

    @classmethod
    def from_json(cls, record: Json) -> Measured:
        estimates = {name: Estimate(**entry) for name, entry in record["estimates"].items()}
        return cls(record["trial_id"], record["replicates"], estimates)


class Verdict(NamedTuple):
    """The outcome of the finals; `estimate` is None where every candidate diverged on a fresh replicate."""

    trial_id: int
    estimate: Estimate | None
    finalists: tuple[Finalist, ...]
    measured: tuple[Measured, ...] = ()  # none with one objective and no constraints

    def to_json(self) -> Json:
        record = {
            "trial_id": self.trial_id,
            "estimate": self.estimate and self.estimate._asdict(),
            "finalists": [finalist._asdict() for finalist in self.finalists],
        }
        return record | ({"measured": [one.to_json() for one in self.measured]} if self.measured else {})

    @classmethod
    def from_json(cls, record: Json) -> Verdict:
        estimate = record["estimate"] and Estimate(**record["estimate"])
        finalists = tuple(Finalist(**entry) for entry in record["finalists"])
        return cls(record["trial_id"], estimate, finalists, tuple(map(Measured.from_json, record.get("measured", ()))))


def least_replicates(folds: int) -> int:
    """Return the fresh replicates of a finalist that finals need at least."""
    return 3 * folds if folds > 1 else 4


def default_finals(
    member_epochs: int, tile_epochs: int, trials: int, tile: int, epochs: int, folds: int
) -> Finals | None:
    """Finals that take at most a fifth of the whole run, or None where that is less than the smallest there are.

    Cost is counted in tiles, since a tile that is half empty takes as long as a full one. Where that buys nothing,
    because the search itself fills few tiles, members are counted instead.

    Args:
      member_epochs, tile_epochs: what the search takes: members times epochs, and tiles times epochs.
      trials: of its largest round.
      tile: members of a tile.
      epochs: the full budget of a trial.
      folds: 1 without folds.
    """
    least = least_replicates(folds)
    for top in (16, 8, 4):
        replicates = int(_SHARE * tile_epochs / (ceil_div(top, tile) * epochs))
        if replicates >= least and top <= trials and (top <= 8 or tile >= top):
            return Finals(top, min(max(16, least), replicates // folds * folds))
    top = min(8, trials, int(_SHARE * member_epochs / epochs) // least)
    return Finals(top, least) if top >= 2 else None
