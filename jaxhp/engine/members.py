"""Trained members and where they stand: on the devices as a wave left them, or in host memory, or in files."""

from __future__ import annotations

import tempfile
from collections.abc import Container, Sequence
from typing import IO

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxhp.engine.layout import Layout
from jaxhp.engine.population import Population
from jaxhp.engine.runtime import members_at
from jaxhp.engine.scores import lengthened
from jaxhp.engine.shown import kept_leaves, variables_of
from jaxhp.engine.sizes import host_memory_limit
from jaxhp.engine.tile import State
from jaxhp.engine.work import Members
from jaxhp.values import Config, Error

Member = tuple[int, int]  # (trial, epochs trained)
_CURVE = State._fields.index("curve") - len(State._fields)  # its place among the leaves of a state, from the end


class Shelf:
    """Rows times replicates of one population, in memory, or in a temporary file where memory is too small.

    Args:
      population: whose members wait.
      rows, replicates: how many.
      leaves: the members themselves, [rows, replicates, ...] for each leaf of a `State`; None: none yet.
    """

    def __init__(self, population: Population, rows: int, replicates: int, leaves: list[np.ndarray] | None = None):
        self.population = population
        if leaves is not None:
            self.leaves = leaves
            return
        per_member = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[3:], s.dtype), population.abstract_state())
        wanted = rows * replicates * population.member_bytes
        self._files: list[IO[bytes]] = []
        in_memory = wanted < 0.3 * host_memory_limit()

        def place(shape: jax.ShapeDtypeStruct) -> np.ndarray:
            whole = (rows, replicates, *shape.shape)
            if in_memory:
                return np.empty(whole, shape.dtype)
            self._files.append(tempfile.TemporaryFile())  # noqa: SIM115, closed with the shelf
            return np.memmap(self._files[-1], shape.dtype, "w+", shape=whole)

        self.leaves: list[np.ndarray] = jax.tree.leaves(jax.tree.map(place, per_member))

    def put(self, rows: np.ndarray, layout: Layout, state: State) -> None:
        """Keep the members of `layout`, whose rows are `rows` of the shelf."""
        for kept, leaf in zip(self.leaves, jax.tree.leaves(state), strict=True):
            kept[rows] = members_at(leaf, layout.slots)

    def get(self, origin: np.ndarray, layout: Layout) -> State:
        """Return a state with the members of `layout` taken from rows `origin` of the shelf; -1 stays undefined."""
        there = np.flatnonzero(origin >= 0)

        def bring(shape: jax.ShapeDtypeStruct, kept: np.ndarray) -> jax.Array:
            flat = np.zeros((np.prod(shape.shape[:3]), *shape.shape[3:]), kept.dtype)
            flat[layout.slots[there]] = kept[origin[there]]
            return jax.device_put(flat.reshape(shape.shape), shape.sharding)

        shapes, structure = jax.tree.flatten(self.population.abstract_state())
        return jax.tree.unflatten(structure, [bring(*pair) for pair in zip(shapes, self.leaves, strict=True)])


class Held:
    """The members of one population that a job may continue.

    Attributes:
      place: each member's row of `layout`, or of `shelf` where there is one.
      state, layout: the devices' arrays, and where members stand in them.
      shelf: members in host memory; None while they stand on the devices.
    """

    def __init__(self, population: Population):
        self.population = population
        self.place: dict[Member, int] = {}
        self.state: State | None = None
        self.layout: Layout | None = None
        self.shelf: Shelf | None = None

    def forget(self) -> None:
        """Hold nothing any more."""
        self.state = self.layout = self.shelf = None
        self.place = {}

    @property
    def bytes(self) -> int:
        """The size of what `copies` gives."""
        if not self.place:
            return 0
        width = self.shelf.leaves[0].shape[1] if self.shelf is not None else self.layout.slots.shape[1]  # type: ignore[union-attr]
        return len(self.place) * width * self.population.member_bytes

    def copies(self, trials: Container[int] | None = None) -> Members:
        """Return copies of the members of some trials, or of all that are held."""
        chosen = {name: row for name, row in self.place.items() if trials is None or name[0] in trials}
        rows = np.asarray([*chosen.values()], np.int32)
        if self.shelf is not None:
            leaves = [leaf[rows] for leaf in self.shelf.leaves]
        else:
            assert self.layout is not None
            leaves = leaves_at(self.state, self.layout.slots[rows])
        names = np.asarray([*chosen], np.int32).reshape(-1, 2)
        return Members(names[:, 0], names[:, 1], leaves)

    def add(self, members: Members) -> None:
        """Hold these too, all in host memory. They may be of a search of fewer epochs, with shorter curves.

        Raises:
          Error: they are not members of this population.
        """
        leaves = [*members.leaves]
        expected = jax.tree.leaves(self.population.abstract_state())
        if len(leaves) != len(expected):
            raise Error(f"members: expected {len(expected)} arrays, got {len(leaves)}")
        leaves[_CURVE] = lengthened(leaves[_CURVE], expected[_CURVE].shape[3])
        for leaf, like in zip(leaves, expected, strict=True):
            if (leaf.shape[0], leaf.shape[2:], leaf.dtype) != (len(members.trial), like.shape[3:], like.dtype):
                raise Error(f"members: expected {like.dtype}{like.shape[3:]}, got {leaf.dtype}{leaf.shape}")
        names = members.names()
        if self.place:
            before = self.copies()
            leaves = [np.concatenate(pair) for pair in zip(before.leaves, leaves, strict=True)]
            names = before.names() + names
        self.shelf, self.layout = Shelf(self.population, len(names), leaves[0].shape[1], leaves), None
        self.place = {name: row for row, name in enumerate(names)}

    def to_host(self) -> None:
        """Bring the members that stand on the devices into host memory."""
        if self.place and self.shelf is None:
            members, self.place = self.copies(), {}
            self.add(members)

    def stand(self, names: Sequence[Member], state: State, layout: Layout | None, shelf: Shelf | None) -> None:
        """Hold what a job has trained, row by row in the order of `names`; on the shelf if there is one."""
        self.state, self.shelf, self.layout = state, shelf, layout if shelf is None else None
        self.place = {name: row for row, name in enumerate(names)}

    def begin(self, origin: Sequence[Member | None], layout: Layout, source: Held) -> State:
        """Return the state in which each row of `layout` stands where `origin` says; None is a fresh start.

        Args:
          source: a view of this as it was before the job; its state is this one's, which is donated.

        Raises:
          RuntimeError: a member is not held.
        """
        before, self.state = self.state, None
        if not any(origin):
            return before if before is not None else self.population.init()
        lost = [name for name in origin if name is not None and name not in source.place]
        if lost:
            raise RuntimeError(f"members {lost[:4]}: expected them to be held, but they are not")
        rows = np.asarray([-1 if name is None else source.place[name] for name in origin])
        if source.shelf is not None:
            del before  # makes room
            return source.shelf.get(rows, layout)
        assert source.layout is not None
        assert before is not None
        slots = np.full(layout.row.size, -1, np.int32)
        slots[layout.slots] = np.where(rows[:, None] >= 0, source.layout.slots[np.maximum(rows, 0)], -1)
        return self.population.take(before, slots)

    def view(self) -> Held:
        """Return where everything stands now, without the devices' arrays: to begin the waves of a job from."""
        seen = Held(self.population)
        seen.place, seen.layout, seen.shelf = self.place, self.layout, self.shelf
        return seen

    def variables(self, name: Member, config: Config) -> PyTree[np.ndarray]:
        """Return what `task.init` made for a member, as it is evaluated now; of its first replicate."""
        count = kept_leaves(self.population.spec)
        if self.shelf is not None:
            leaves = [leaf[self.place[name], 0] for leaf in self.shelf.leaves[:count]]
        else:
            assert self.layout is not None
            slot = self.layout.slots[self.place[name], :1]
            leaves = [members_at(leaf, slot)[0] for leaf in jax.tree.leaves(self.state)[:count]]
        return variables_of(self.population.spec, self.population.rules, leaves, name[1], config)


def leaves_at(state: PyTree[Array], slots: np.ndarray) -> list[np.ndarray]:
    """Return the members at flat slots i32[n, R], as [n, R, ...] for each leaf of a state."""
    return [members_at(leaf, slots) for leaf in jax.tree.leaves(state)]
