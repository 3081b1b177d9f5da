"""Trains the rows of a proposal: split by static group and by waves that fit the memory, in steps of whole epochs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxhp.engine.devices import members_at
from jaxhp.engine.layout import Layout, arrange
from jaxhp.engine.members import Shelf
from jaxhp.engine.population import Population, State
from jaxhp.trials import Config

_STEP_SECONDS = 1.0  # a call of the step should last about so long, for the display and for signals


class Rows(NamedTuple):
    """What to train: P trials, each fresh or continuing members that are held."""

    configs: list[Config]
    trials: np.ndarray  # i32[P], trial ids
    parent: np.ndarray  # i32[P], the names of the held rows that these continue, -1 for fresh
    start: np.ndarray  # i32[P], epochs trained already, 0 for fresh
    names: np.ndarray  # i32[P], what these rows are called from now on


class Outcome(NamedTuple):
    """What was measured of P rows with R replicates. See `population.Ranked`."""

    score: np.ndarray  # f32[P]
    stderr: np.ndarray  # f32[P]
    replicate_scores: np.ndarray  # f32[P, R]
    curve: np.ndarray  # f32[P, E, 2, M]
    diverged_at: np.ndarray  # i32[P]
    valid: np.ndarray | None = None  # f32[P, R, n], per-example outcomes where they were asked for
    held_out: np.ndarray | None = None  # f32[P, R, h], likewise on the group's holdout, if it has one


class Held(NamedTuple):
    """Members of one group, off the devices."""

    names: np.ndarray  # i32[n], of their rows
    epoch: np.ndarray  # i32[n], epochs trained
    leaves: list[np.ndarray]  # [n, R, ...], the leaves of a `population.State`


class Snapshot(NamedTuple):
    """What a call of `Trainer.train` has done so far."""

    members: dict[str, Held]  # by group: those in training, and trained ones that are to be kept
    names: np.ndarray  # i32[m], rows that are trained and whose members are not kept
    outcome: Outcome | None  # of these; None for m = 0


class Progress(NamedTuple):
    """Told after every call of the step."""

    names: np.ndarray  # i32[n], the rows in training
    score: np.ndarray  # f32[n], so far
    epoch: int
    member_epochs: int  # trained by this call
    seconds: float
    last: bool  # whether all rows of the call are trained
    state_bytes: int  # size of a snapshot's members
    snapshot: Callable[[], Snapshot]


@dataclass
class Group:
    """A population and where its members stand."""

    population: Population
    rows_at_once: int
    static: Config
    holdout: Any = None  # validation examples that the search does not use
    key: str = ""  # the same in every process
    state: State | None = None
    layout: Layout | None = None
    place: dict[int, int] = field(default_factory=dict)  # name of a held row to row of `layout`, or of `shelf`
    shelf: Shelf | None = None
    stop: int = 0  # epochs that the held rows have been trained for

    @property
    def held_bytes(self) -> int:
        """The size of what `held` gives."""
        if not self.place:
            return 0
        width = self.shelf.leaves[0].shape[1] if self.layout is None else self.layout.slots.shape[1]  # type: ignore[union-attr]
        return len(self.place) * width * self.population.member_bytes

    def held(self) -> Held:
        """Copies of the members that are held."""
        rows = np.asarray([*self.place.values()], np.int32)
        if self.shelf is not None:
            leaves = [leaf[rows] for leaf in self.shelf.leaves]
        else:
            assert self.layout is not None
            leaves = _leaves(self.state, self.layout.slots[rows])
        return Held(np.asarray([*self.place], np.int32), np.full(len(rows), self.stop, np.int32), leaves)

    def hold(self, held: Held) -> None:
        """Holds these members too.

        Raises:
          ValueError: they are not members of this population.
        """
        leaves = held.leaves
        members = jax.tree.leaves(self.population.abstract_state())
        if len(leaves) != len(members):
            raise ValueError(f"members: expected {len(members)} arrays, got {len(leaves)}")
        for leaf, expected in zip(leaves, members, strict=True):
            if (leaf.shape[0], leaf.shape[2:], leaf.dtype) != (len(held.names), expected.shape[3:], expected.dtype):
                raise ValueError(
                    f"members: expected {expected.dtype}{expected.shape[3:]}, got {leaf.dtype}{leaf.shape}"
                )
        before = self.held() if self.place else None
        if before is not None:
            leaves = [np.concatenate(pair) for pair in zip(before.leaves, leaves, strict=True)]
        names = [*self.place, *held.names.tolist()]
        self.shelf, self.layout = Shelf(self.population, len(names), leaves[0].shape[1], leaves), None
        self.place = {name: row for row, name in enumerate(names)}

    def variables(self, name: int) -> Any:
        """What `task.init` made for a held row, as it is trained now; of its first replicate."""
        structure = jax.tree.structure(self.population.shapes.member.variables)
        if self.shelf is not None:
            leaves = [leaf[self.place[name], 0] for leaf in self.shelf.leaves[: structure.num_leaves]]
        else:
            assert self.layout is not None
            assert self.state is not None
            slot = self.layout.slots[self.place[name], :1]
            leaves = [members_at(leaf, slot)[0] for leaf in jax.tree.leaves(self.state.member.variables)]
        return jax.tree.unflatten(structure, leaves)

    def forget(self) -> None:
        """Holds nothing any more."""
        self.state = self.layout = self.shelf = None
        self.place = {}


class _Call(NamedTuple):
    """One call of `Trainer.train` under way."""

    rows: Rows
    replicates: Sequence[int]
    stop: int
    keep: bool
    outcomes: bool
    progress: Callable[[Progress], None]
    done: list[tuple[np.ndarray, Outcome]]  # what is trained: rows and what was measured of them
    groups: list[Group]  # those whose rows are all trained


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
        self.groups: dict[str, Group] = {}
        self.step_s = 0.0
        self.member_epochs = 0

    def group(self, config: Config) -> Group:
        """The group of a config, made if this is the first of it."""
        known = [(name, type(value).__name__, value) for name, value in self._static(config).items()]
        key = hashlib.sha256(repr(sorted(known)).encode()).hexdigest()[:16]
        if key not in self.groups:
            self.groups[key] = self._make(self._static(config))
            self.groups[key].key = key
        return self.groups[key]

    def holds(self, names: np.ndarray) -> bool:
        """Whether a call may continue all these rows."""
        return set(names.tolist()) <= set().union(*(group.place for group in self.groups.values()))

    def forget(self) -> None:
        """Holds no members any more."""
        for group in self.groups.values():
            group.forget()

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
          keep: whether a later call may continue all these rows; otherwise only those of the last wave are held.
          outcomes: whether to return per-example outcomes too.
        """
        by_group: dict[str, list[int]] = {}
        for row, config in enumerate(rows.configs):
            by_group.setdefault(self.group(config).key, []).append(row)
        call = _Call(rows, replicates, stop, keep, outcomes, progress, [], [])
        for key, chosen in by_group.items():
            self._train_group(self.groups[key], np.asarray(chosen), call)
            call.groups.append(self.groups[key])
        for key, group in self.groups.items():
            if key not in by_group:
                group.place = {}
        return merge(len(rows.configs), call.done)

    def _train_group(self, group: Group, chosen: np.ndarray, call: _Call) -> None:
        rows, replicates = call.rows, call.replicates
        waves = [chosen[wave] for wave in waves_of(rows.start[chosen], group, len(replicates))]
        if len(waves) > 1 and group.place and group.shelf is None and np.any(rows.start[chosen] > 0):
            held = group.held()
            group.place = {}
            group.hold(held)
        source, previous, place = group.shelf, group.layout, group.place
        shelf = Shelf(group.population, len(chosen), len(replicates)) if call.keep and len(waves) > 1 else None
        layout = None
        for wave in waves:
            layout = arrange(rows.start[wave], replicates, group.population.capacity.tile)
            begun = self._bring(group, rows, wave, layout, source, previous, place)
            group.state, outcome = self._advance(group, begun, chosen, wave, layout, shelf, call)
            del begun
            if call.outcomes:
                outcome = self._with_outcomes(group, group.state, outcome, rows, wave, layout)
            if shelf is not None:
                shelf.put(np.searchsorted(chosen, wave), layout, group.state)
            call.done.append((wave, outcome))
        group.shelf, group.stop = shelf, call.stop
        order = chosen if shelf is not None else waves[-1]
        group.layout = layout if shelf is None else None
        group.place = {int(rows.names[row]): position for position, row in enumerate(order)}

    def _with_outcomes(self, group, state, outcome: Outcome, rows, wave, layout: Layout) -> Outcome:
        configs = self._traced([rows.configs[row] for row in wave])
        valid = group.population.outcomes(state, configs, layout)
        held_out = None
        if group.holdout is not None:
            held_out = group.population.outcomes(state, configs, layout, group.holdout)
        return outcome._replace(valid=valid, held_out=held_out)

    def _bring(self, group: Group, rows: Rows, wave, layout: Layout, held, previous, place) -> State:
        """The state in which every member of `layout` stands where its row says."""
        before, group.state = group.state, None
        if not np.any(rows.start[wave] > 0):
            return before if before is not None else group.population.init()
        lost = [int(row) for row in wave if rows.start[row] > 0 and int(rows.parent[row]) not in place]
        if lost:
            raise RuntimeError(f"rows {lost}: expected their parents' weights to be held, but they are not")
        origin = np.asarray([place.get(int(rows.parent[row]), -1) if rows.start[row] > 0 else -1 for row in wave])
        if held is not None:
            del before  # makes room
            return held.get(origin, layout)
        assert previous is not None
        assert before is not None
        source = np.full(layout.row.size, -1, np.int32)
        source[layout.slots] = np.where(origin[:, None] >= 0, previous.slots[np.maximum(origin, 0)], -1)
        return group.population.take(before, source)

    def _advance(self, group, state, chosen, wave, layout, shelf, call: _Call) -> tuple[State, Outcome]:
        rows, stop, replicates = call.rows, call.stop, call.replicates
        configs = self._traced([rows.configs[row] for row in wave])
        epoch, length = int(rows.start[wave].min()), 1
        left = len(rows.configs) - len(wave) - sum(len(done) for done, _ in call.done)
        saved = len(wave) if not call.keep else len(rows.configs) - left

        def snapshot() -> Snapshot:
            members = {done.key: done.held() for done in call.groups} if call.keep else {}
            leaves, held = _leaves(state, layout.slots), wave
            if shelf is not None:
                trained = chosen[np.isin(chosen, np.concatenate([wave[:0], *(done for done, _ in call.done)]))]
                kept = (leaf[np.searchsorted(chosen, trained)] for leaf in shelf.leaves)
                leaves = [np.concatenate(pair) for pair in zip(kept, leaves, strict=True)]
                held = np.concatenate([trained, wave])
            reached = np.where(np.isin(held, wave), np.maximum(rows.start[held], epoch), stop).astype(np.int32)
            members[group.key] = Held(rows.names[held], reached, leaves)
            if call.keep or not call.done:
                return Snapshot(members, rows.names[:0], None)
            order = np.concatenate([done for done, _ in call.done])
            slots = np.split(np.arange(len(order)), np.cumsum([len(done) for done, _ in call.done])[:-1])
            parts = [(where, outcome) for where, (_, outcome) in zip(slots, call.done, strict=True)]
            return Snapshot(members, rows.names[order], merge(len(order), parts))

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
            length = max(1, min(int((upto - epoch) * _STEP_SECONDS / max(seconds, 1e-6)), 2 * (upto - epoch) * 8))
            epoch = upto
            last = epoch >= stop and not left
            bytes_ = saved * len(replicates) * group.population.member_bytes
            call.progress(Progress(rows.names[wave], score, epoch, done, seconds, last, bytes_, snapshot))
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


def waves_of(start: np.ndarray, group: Group, replicates: int) -> list[np.ndarray]:
    """Splits rows, which stand at epochs `start` i32[P], into parts that fit at once: rows of an epoch share tiles."""
    tile = group.population.capacity.tile
    tiles = max(1, int(np.prod(group.population.shape)) // replicates)
    most = max(1, min(group.rows_at_once, group.population.rows_for(replicates)))
    waves: list[list[np.ndarray]] = []
    rows = most
    for epoch in np.unique(start):
        there = np.flatnonzero(start == epoch)
        for piece in np.split(there, range(min(tile, most), len(there), min(tile, most))):
            if not waves or len(waves[-1]) == tiles or rows + len(piece) > most:
                waves.append([])
                rows = 0
            waves[-1].append(piece)
            rows += len(piece)
    return [np.concatenate(wave) for wave in waves]


def merge(count: int, parts: Sequence[tuple[np.ndarray, Outcome]]) -> Outcome:
    """One outcome of `count` rows from those of parts, each with the places of its rows."""

    def join(*leaves: Any) -> np.ndarray:
        whole = np.empty((count, *leaves[0].shape[1:]), leaves[0].dtype)
        for (where, _), leaf in zip(parts, leaves, strict=True):
            whole[where] = leaf
        return whole

    return jax.tree.map(join, *(outcome for _, outcome in parts))


def _leaves(state: Any, slots: np.ndarray) -> list[np.ndarray]:
    """The members at flat slots i32[n, R], as [n, R, ...]."""
    return [members_at(leaf, slots) for leaf in jax.tree.leaves(state)]
