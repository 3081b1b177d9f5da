"""The static groups of a search: what each trains, and in tiles of which size.

A few groups are all made before anything else. Of many, those are that have every value of every static choice between
them; the others are made, and checked, when a trial of theirs is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from jaxhp.data.fingerprints import fingerprint
from jaxhp.data.folds import Folding, Folds, folding
from jaxhp.data.splitting import split
from jaxhp.engine.spec import Spec, abstract_config, key_of_group
from jaxhp.objectives import Objectives
from jaxhp.selection.verdict import Finals
from jaxhp.space import Space
from jaxhp.store.digest import GROUPS
from jaxhp.strategies.base import Tell
from jaxhp.tasks.check import check
from jaxhp.tasks.halves import with_half
from jaxhp.tasks.keys import stored
from jaxhp.tasks.loop import Loop
from jaxhp.tasks.precision import check_products, in_dtype
from jaxhp.tasks.recorded import Recorded, is_missing
from jaxhp.tasks.task import AnyTask, compared_by, curve_examples
from jaxhp.tasks.traces import traced_anew
from jaxhp.trials import Proposal, Trials
from jaxhp.values import Config, Error, Json, Value

T = TypeVar("T")
TaskOrFactory = AnyTask | Callable[[Config], AnyTask]
_FEW = 16  # groups, which are all made at once


class Lazy(Mapping[str, T]):
    """What is made when it is first asked for.

    Args:
      keys: of all that there is, in order.
      make: makes what one key stands for.
    """

    def __init__(self, keys: Sequence[str], make: Callable[[str], T]):
        self._keys, self._make, self._made = dict.fromkeys(keys), make, dict[str, T]()

    def __getitem__(self, key: str) -> T:
        if key not in self._made:
            if key not in self._keys:
                raise KeyError(key)
            self._made[key] = self._make(key)
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True)
class Groups:
    """The groups of a space.

    Attributes:
      space: whose configs they are.
      specs: by `Spec.key`, in the order of `Space.groups`; each is made when it is first asked for.
      foldings: of each group's data, by `Spec.key`; none without folds.
      shown: the keys of those that the plan and the manifest are of: all of a few, see `_covering`.
      names: of the others: what they have in common, "width=16, depth=2", to their keys.
      prints: fingerprints of the data that was described since the manifest was made last, by what holds it.
    """

    space: Space
    specs: Mapping[str, Spec]
    foldings: Mapping[str, Folding]
    shown: tuple[str, ...]
    names: Mapping[str, str]
    prints: dict[tuple[object, ...], str] = field(default_factory=dict, repr=False)

    def spec(self, config: Config) -> Spec:
        """Return the group of a config."""
        return self.specs[key_of_group(self.space.static(config))]

    @property
    def first(self) -> Spec:
        """The first group; metric and mode are those of all."""
        return next(iter(self.specs.values()))

    @property
    def folding(self) -> Folding | None:
        """The folds of the first group's data; their number is that of all. None without folds."""
        return self.foldings.get(self.first.key)

    @property
    def folds(self) -> int:
        """How many folds there are, 1 without folds."""
        return self.folding.k if self.folding is not None else 1

    @property
    def examples(self) -> bool:
        """Whether trials are measured on examples: those of a loop are not, and seeds are their only noise."""
        return not isinstance(self.first.task, Loop)

    @property
    def objectives(self) -> Objectives | None:
        """What trials are compared by; None: one objective without constraints."""
        objectives = compared_by(self.first.task)
        return None if objectives.plain else objectives

    def tells(self, strategy: Any) -> Tell | None:
        """Return what tells a strategy the trials of a round, None where it wants their scores alone."""
        objectives = self.objectives
        if callable(getattr(strategy, "tell_trials", None)):
            return strategy.tell_trials
        if objectives is None:
            return None

        def tell(state: PyTree, proposal: Proposal, trials: Trials) -> PyTree:
            told = objectives.scores(trials), objectives.violation(trials)
            return strategy.tell_objectives(state, proposal, *map(jnp.asarray, told))

        return tell

    def fitted(self, strategy: Any) -> Any:
        """Return a strategy as it serves this space and its objectives: itself, or what its method `fitted` returns.

        Raises:
          Error: it does not serve them.
        """
        objectives = compared_by(self.first.task)
        if callable(getattr(strategy, "fitted", None)):
            return strategy.fitted(self.space, objectives)
        if not objectives.plain and not callable(getattr(strategy, "tell_objectives", None)):
            what = "several objectives" if len(objectives.names) > 1 else "constraints"
            raise Error(
                f"strategy: expected one that serves {what} (Pareto; or Random, Sobol and Grid, which look at no "
                f"score), got {strategy!r}"
            )
        return strategy

    def identity(self) -> Json:
        """Return what the manifest says of tasks and data as they are now: of all groups shown, or of each one."""
        self.prints.clear()
        return self._identity(self.shown)

    def described(self, name: str, tile: int) -> Json:
        """Return what is recorded of a group that the manifest does not show, once a trial of it is asked for.

        Args:
          name: of `names`.
          tile: of the group.
        """
        return {**self._identity([self.names[name]]), "tile": tile}

    def _identity(self, keys: Sequence[str]) -> Json:
        specs = [self.specs[key] for key in keys]
        of_tasks = {
            "task": _one_or_all([traced_anew(s.task, s.shapes, s.abstract).program for s in specs]),
            "metrics": _one_or_all([list(s.shapes.metrics) for s in specs]),
        }
        if not self.examples:
            return of_tasks
        return of_tasks | {
            "folding": _one_or_all([self.foldings[key].identity for key in keys]) if self.foldings else None,
            "data": _one_or_all([self._fingerprint(s.task) for s in specs]),
            "batch_size": _one_or_all([s.task.batch_size for s in specs]),
            "train_examples": _one_or_all([self._curve_examples(key) for key in keys]),
            **({} if self.objectives is None else {"objectives": self.objectives.to_json()}),
        }

    def _fingerprint(self, task: AnyTask) -> str:
        """Return that of the training and validation data of a task, which many groups may have in common."""
        leaves, structure = jax.tree.flatten((task.train, task.valid))
        of = structure, *map(id, leaves)
        if of not in self.prints:
            self.prints[of] = fingerprint((task.train, task.valid))
        return self.prints[of]

    def _curve_examples(self, key: str) -> int:
        """Return how many examples the training curves of a group are measured on, in the largest of its folds."""
        task, folds = self.specs[key].task, self.foldings.get(key)
        if folds is None:
            return curve_examples(task, task.n_train, task.n_valid)
        sizes = [max(len(of(fold)) for fold in range(folds.k)) for of in (folds.train, folds.valid)]
        return curve_examples(task, *sizes)


def groups_of(
    task: TaskOrFactory,
    space: Space,
    *,
    finals: Finals | None,
    folds: int | Folds | np.ndarray | None,
    seed: int,
    epoch: str = "last",
) -> Groups:
    """Make and check the task of each static group, of many groups when it is first asked for.

    Args:
      folds: see `jaxhp.data.folds.checked_folds`.
      epoch: see `Search`; where the best counts, tasks measure half of the examples apart, see `halves`.

    Raises:
      Error: the task does not fit the space, or a group's data the folds or the holdout; or the groups do not fit
        together.
    """
    configs = {key_of_group(space.static(config)): config for config in space.groups()}

    def made(key: str) -> tuple[Spec, Folding | None]:
        static = space.static(configs[key])
        try:
            spec, dealt = _spec(task, space, configs[key], static, finals, folds, seed, epoch)
        except Exception as error:
            if static:
                error.add_note(f"for the configs with {static}")
            raise
        if key != next(iter(configs)):
            _check_together(both[next(iter(configs))][0].task, spec.task)
        return spec, dealt

    both = Lazy(list(configs), made)
    shown = _covering({key: space.static(config) for key, config in configs.items()})
    names = {_name(space.static(config)): key for key, config in configs.items() if key not in shown}
    for key in shown:
        both[key]
    return Groups(
        space,
        Lazy(list(configs), lambda key: both[key][0]),
        Lazy([] if folds is None else list(configs), partial(_dealt, both)),
        shown,
        names,
    )


def _dealt(both: Mapping[str, tuple[Spec, Folding | None]], key: str) -> Folding:
    dealt = both[key][1]
    assert dealt is not None
    return dealt


def _check_together(first: AnyTask, other: AnyTask) -> None:
    """Check that trials of two groups can be compared."""
    if isinstance(first, Loop) != isinstance(other, Loop):
        raise Error("task: expected a Task for every config, or a Loop for every config, got some of both")
    objectives, others = compared_by(first), compared_by(other)
    if objectives != others:
        raise Error(
            f"task: expected the same metric, mode and constraints for every static choice, got "
            f"{objectives.to_json()} and {others.to_json()}"
        )


def _covering(statics: Mapping[str, Config]) -> tuple[str, ...]:
    """Return the keys of all of a few groups, and of many so many that every value of a static choice is there.

    Of these the first and the last, and then each time the one with the most values that none has yet: about as many as
    the longest choice has values, with the values of each choice about equally often.
    """
    if len(statics) <= _FEW:
        return tuple(statics)
    values = {key: {(name, repr(value)) for name, value in static.items()} for key, static in statics.items()}
    first, *_, last = statics
    chosen, unseen = {first, last}, set[tuple[str, str]]().union(*values.values()) - values[first] - values[last]
    while unseen:
        most = max(statics, key=lambda key: len(values[key] & unseen))
        chosen.add(most)
        unseen -= values[most]
    return tuple(key for key in statics if key in chosen)


def _name(static: Config) -> str:
    """Return what the configs of a group have in common, for people."""
    return ", ".join(f"{name}={value!r}" for name, value in static.items())


def _one_or_all(values: list[T]) -> T | list[T]:
    return values[0] if values and all(value == values[0] for value in values) else values


def spec_of(
    task: AnyTask,
    static: Mapping[str, Value],
    traced: Mapping[str, DTypeLike],
    holdout: PyTree = None,
    reads: set[str] | None = None,
) -> Spec:
    """Checks that the functions of a task fit together and take the configs of a group.

    Args:
      task: what a member is.
      static: the part of a config that is compiled in.
      traced: names and dtypes of the part that is data.
      holdout: validation examples that the search does not use, a pytree like `task.valid`.
      reads: names that were read of the config already, by whoever made the task.

    Returns:
      the group.

    Raises:
      Error: as `check`.
    """
    lowered, config = in_dtype(task), abstract_config(static, traced)
    found = check(lowered, config, reads)
    check_products(lowered, found, config, task.dtype)
    task, shapes = stored(lowered, found)
    dtypes = {name: np.dtype(dtype) for name, dtype in traced.items()}
    return Spec(task, shapes, dict(static), dtypes, holdout, found.member.variables)


def made_for(task: TaskOrFactory, static: Config) -> tuple[AnyTask, set[str]]:
    """Return the task of a static config, and the names that were read of it.

    Raises:
      Error: it is no task, or who makes it reads a name that is not among the static ones.
    """
    reads: set[str] = set()
    try:
        made = task if isinstance(task, AnyTask) else task(Recorded(static, reads))
    except KeyError as error:
        if not is_missing(error, static, reads):
            raise
        raise Error(
            f"space: expected a static parameter {error.args[0]!r} (hp.Choice), which the function that makes the task "
            f"reads, got only {', '.join(static) or 'others'}"
        ) from None
    if not isinstance(made, AnyTask):
        raise Error(f"task: expected a Task or a Loop, or a function that returns one, got {type(made).__name__}")
    return made, reads


def _spec(
    task: TaskOrFactory,
    space: Space,
    config: Config,
    static: Config,
    finals: Finals | None,
    folds: int | Folds | np.ndarray | None,
    seed: int,
    epoch: str,
) -> tuple[Spec, Folding | None]:
    made, reads = made_for(task, static)
    reads |= set(space.fixed)  # which may be there for whoever made the task
    kept: PyTree = None
    if isinstance(made, Loop):
        given = {"Finals holdout": finals and finals.holdout, "folds": folds}
        for name, value in given.items():
            if value is not None:
                raise Error(f"{name}: expected none with a Loop, which has no examples to deal out, got {value!r:.60}")
    elif epoch == "best":
        made = with_half(made)
    if finals is not None and finals.holdout is not None:
        if isinstance(folds, np.ndarray) or (isinstance(folds, Folds) and (folds.groups or folds.order)):
            raise Error(
                f"Finals holdout: expected none beside folds by groups, by an order or of one's own numbers, which a "
                f"random part of the validation data would cut across, got {finals.holdout!r}"
            )
        made, kept = _without(made, finals, finals.holdout, seed)
    dealt = _folding(made, folds, seed) if folds is not None else None
    traced = {name: column.dtype for name, column in space.traced([config]).items()}
    absent = {name: p.value(0.5) for name, p in space.parameters.items() if name in traced and p.when}
    return spec_of(made, static, traced, kept, reads)._replace(absent=absent), dealt


def _folding(task: AnyTask, folds: int | Folds | np.ndarray, seed: int) -> Folding:
    """Return the folds of a task's data."""
    if task.stream is not None:
        raise Error("folds: expected a task whose training data is held as arrays, got one with a Stream")
    return folding(task.train, task.valid, folds, seed=seed, label=task.label, batch_size=task.batch_size)


def _without(task: AnyTask, finals: Finals, holdout: float | int, seed: int) -> tuple[AnyTask, PyTree]:
    """Return the task without a part of its validation data, and that part."""
    try:
        valid, held_out = split(task.valid, holdout, seed, groups=finals.groups, order=finals.order)
    except ValueError as error:
        raise Error(f"Finals holdout: {error}") from error
    return replace(task, valid=valid), held_out


def tiles_of(manifest: Json, groups: Groups) -> dict[str, int]:
    """Return groups' tiles by `Spec.key`, as far as a manifest has valid ones."""
    tiles = manifest.get("tile")
    tiles = [tiles] * len(groups.shown) if isinstance(tiles, int) else tiles
    if not isinstance(tiles, list) or len(tiles) != len(groups.shown):
        return {}
    known: dict[str, Any] = dict(zip(groups.shown, tiles, strict=True))
    known |= {groups.names[name]: facts.get("tile") for name, facts in _asked_for(manifest, groups).items()}
    return known if all(type(tile) is int and 1 <= tile <= 2**16 for tile in known.values()) else {}


def _asked_for(manifest: Json, groups: Groups) -> dict[str, Json]:
    """Return what a manifest has of groups that it does not show by itself."""
    found = manifest.get(GROUPS)
    found = found if isinstance(found, dict) else {}
    return {name: facts for name, facts in found.items() if name in groups.names and isinstance(facts, dict)}
