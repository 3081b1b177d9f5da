"""Trains the rows of a proposal: split by static group and by waves that fit the memory, in steps of whole epochs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxhp.layout import Layout, arrange
from jaxhp.population import Population, State
from jaxhp.shelf import Shelf
from jaxhp.types import Config

_STEP_SECONDS = 1.0  # a call of the step should last about so long, for the display and for signals


class Rows(NamedTuple):
    """What to train: P trials, each fresh or continuing a row of the call before."""

    configs: list[Config]
    trials: np.ndarray  # i32[P], trial ids
    parent: np.ndarray  # i32[P], rows of the previous call, -1 for fresh
    start: np.ndarray  # i32[P], epochs trained already, 0 for fresh


class Outcome(NamedTuple):
    """What was measured of P rows with R replicates. See `population.Ranked`."""

    score: np.ndarray  # f32[P]
    stderr: np.ndarray  # f32[P]
    replicate_scores: np.ndarray  # f32[P, R]
    curve: np.ndarray  # f32[P, E, 2, M]
    diverged_at: np.ndarray  # i32[P]
    valid: np.ndarray | None = None  # f32[P, R, n], per-example outcomes where they were asked for
    held_out: np.ndarray | None = None  # f32[P, R, h], likewise on the group's holdout, if it has one


class Progress(NamedTuple):
    """Told after every call of the step."""

    rows: np.ndarray  # i32[n], the rows in training
    score: np.ndarray  # f32[n], so far
    epoch: int
    member_epochs: int  # trained by this call
    seconds: float


@dataclass
class Group:
    """A population and where its members stand."""

    population: Population
    rows_at_once: int
    static: Config
    holdout: Any = None  # validation examples that the search does not use
    state: State | None = None
    layout: Layout | None = None
    place: dict[int, int] = field(default_factory=dict)  # row of the last call to row of `layout`, or of `shelf`
    shelf: Shelf | None = None


class Trainer:
    """Holds one group for each static choice met so far, and the members of the last call.

    Args:
      group_of: makes the group of a config's static part; called once for each.
      static: takes the static part out of a config.
      traced: turns configs of one group into arrays of data.
    """

    def __init__(
        self,
        group_of: Callable[[Config], Group],
        static: Callable[[Config], Config],
        traced: Callable[[Sequence[Config]], dict[str, np.ndarray]],
    ):
        self._make, self._static, self._traced = group_of, static, traced
        self.groups: dict[tuple, Group] = {}
        self.step_s = 0.0
        self.member_epochs = 0

    def group(self, config: Config) -> Group:
        static = self._static(config)
        key = tuple((name, type(value).__name__, value) for name, value in static.items())
        if key not in self.groups:
            self.groups[key] = self._make(static)
        return self.groups[key]

    def train(
        self,
        rows: Rows,
        replicates: Sequence[int],
        stop: int,
        *,
        keep: bool = False,
        outcomes: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Outcome:
        """Trains every row up to epoch `stop`.

        Args:
          replicates: ids of the replicates of each row.
          keep: whether a later call may continue these rows.
          outcomes: whether to return per-example outcomes too.
        """
        by_group: dict[int, tuple[Group, list[int]]] = {}
        for row, config in enumerate(rows.configs):
            group = self.group(config)
            by_group.setdefault(id(group), (group, []))[1].append(row)
        parts = [
            (
                np.asarray(chosen),
                self._train_group(group, rows, np.asarray(chosen), replicates, stop, keep, outcomes, progress),
            )
            for group, chosen in by_group.values()
        ]
        for group in self.groups.values():
            if id(group) not in by_group:
                group.place = {}
        return _merge(len(rows.configs), parts)

    def _train_group(self, group, rows, chosen, replicates, stop, keep, outcomes, progress) -> Outcome:
        at_once = max(1, min(group.rows_at_once, group.population.rows_for(len(replicates))))
        waves = [chosen[i : i + at_once] for i in range(0, len(chosen), at_once)]
        held, previous, place = group.shelf, group.layout, group.place
        shelf = None
        if keep and len(waves) > 1:
            shelf = Shelf(group.population, len(chosen), len(replicates))
        if held is None and len(waves) > 1 and place and np.any(rows.start[chosen] > 0):
            held = self._shelve(group, len(replicates))
        parts, layout = [], None
        for wave in waves:
            layout = arrange(rows.start[wave], replicates, group.population.capacity.tile)
            state = self._bring(group, rows, wave, layout, held, previous, place)
            group.state = None
            state, outcome = self._advance(group, state, rows, wave, layout, replicates, stop, progress)
            if outcomes:
                outcome = self._with_outcomes(group, state, outcome, rows, wave, layout)
            if shelf is not None:
                shelf.put(np.searchsorted(chosen, wave), layout, state)
            group.state = state
            parts.append((np.searchsorted(chosen, wave), outcome))
        group.shelf, group.layout = shelf, layout if len(waves) == 1 else None
        group.place = {int(row): position for position, row in enumerate(chosen)} if keep else {}
        return _merge(len(chosen), parts)

    def _with_outcomes(self, group, state, outcome: Outcome, rows, wave, layout: Layout) -> Outcome:
        configs = self._traced([rows.configs[row] for row in wave])
        valid = group.population.outcomes(state, configs, layout)
        held_out = None
        if group.holdout is not None:
            held_out = group.population.outcomes(state, configs, layout, group.holdout)
        return outcome._replace(valid=valid, held_out=held_out)

    def _shelve(self, group: Group, replicates: int) -> Shelf:
        """The members of the last call, off the devices."""
        assert group.layout is not None
        assert group.state is not None
        shelf = Shelf(group.population, len(group.layout.slots), replicates)
        shelf.put(np.arange(len(group.layout.slots)), group.layout, group.state)
        return shelf

    def _bring(self, group: Group, rows: Rows, wave, layout: Layout, held, previous, place) -> State:
        """The state in which every member of `layout` stands where its row says."""
        state = group.state if group.state is not None else group.population.init()
        if not np.any(rows.start[wave] > 0):
            return state
        lost = [int(row) for row in wave if rows.start[row] > 0 and int(rows.parent[row]) not in place]
        if lost:
            raise RuntimeError(f"rows {lost}: expected their parents' weights to be held, but they are not")
        origin = np.asarray([place.get(int(rows.parent[row]), -1) if rows.start[row] > 0 else -1 for row in wave])
        if held is not None:
            return held.get(origin, layout, state)
        assert previous is not None
        source = np.full(layout.row.size, -1, np.int32)
        source[layout.slots] = np.where(origin[:, None] >= 0, previous.slots[np.maximum(origin, 0)], -1)
        return group.population.take(state, source)

    def _advance(self, group, state, rows, wave, layout, replicates, stop, progress) -> tuple[State, Outcome]:
        configs = self._traced([rows.configs[row] for row in wave])
        epoch, length = int(rows.start[wave].min()), 1
        while True:
            upto = min(epoch + length, stop)
            began = time.perf_counter()
            state, ranked = group.population.step(
                state, configs, rows.trials[wave], layout, np.clip(layout.start, epoch, upto), upto
            )
            score = np.asarray(ranked.score)[: len(wave)]
            seconds = time.perf_counter() - began
            done = int((upto - np.clip(rows.start[wave], epoch, upto)).sum()) * len(replicates)
            self.step_s += seconds
            self.member_epochs += done
            progress(Progress(wave, score, upto, done, seconds))
            length = max(1, min(int((upto - epoch) * _STEP_SECONDS / max(seconds, 1e-6)), 2 * (upto - epoch) * 8))
            epoch = upto
            if epoch >= stop:
                break
        ranked = jax.device_get(ranked)
        p, r = len(wave), len(replicates)
        return state, Outcome(
            ranked.score[:p],
            ranked.stderr[:p],
            ranked.replicate_scores[:p, :r],
            ranked.curve[:p],
            ranked.diverged_at[:p],
        )


def _merge(count: int, parts: list[tuple[np.ndarray, Outcome]]) -> Outcome:
    def join(*leaves: Any) -> np.ndarray:
        whole = np.empty((count, *leaves[0].shape[1:]), leaves[0].dtype)
        for (where, _), leaf in zip(parts, leaves, strict=True):
            whole[where] = leaf
        return whole

    return jax.tree.map(join, *(outcome for _, outcome in parts))
