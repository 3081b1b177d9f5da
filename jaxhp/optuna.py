"""Optuna both ways: a study that trains with jaxhp, and jaxhp's strategies as samplers of a study.

Optuna is imported when one of these names is first used. For what was searched already there is `jaxhp export`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxhp.values import Error

if TYPE_CHECKING:
    import optuna

    from jaxhp.engine.events import Observer
    from jaxhp.interop.optuna_sampler import StrategySampler as Sampler
    from jaxhp.interop.optuna_spaces import distributions, space, suggest
    from jaxhp.interop.optuna_strategy import Study
    from jaxhp.report.result import Result
    from jaxhp.search.groups import TaskOrFactory
    from jaxhp.space import Space

__all__ = ["Sampler", "Study", "distributions", "optimize", "space", "suggest"]
_HOMES = {
    "Sampler": ("optuna_sampler", "StrategySampler"),
    "Study": ("optuna_strategy", "Study"),
    "distributions": ("optuna_spaces", "distributions"),
    "space": ("optuna_spaces", "space"),
    "suggest": ("optuna_spaces", "suggest"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxhp.optuna' has no attribute {name!r}")
    home, of = _HOMES[name]
    try:
        module = import_module(f"jaxhp.interop.{home}")
    except ImportError as error:
        raise Error(
            f"optuna: expected the package optuna ({error}): pip install 'optuna>=5.0', or 'jaxhp[interop]'"
        ) from error
    value = globals()[name] = getattr(module, of)
    return value


def __dir__() -> list[str]:
    return __all__


def optimize(
    study: optuna.Study,
    task: TaskOrFactory,
    space: Space | Mapping[str, optuna.distributions.BaseDistribution] | Callable[[Any], object] | None = None,
    *,
    batch: int = 64,
    rounds: int = 4,
    rungs: Sequence[int] | None = None,
    dir: str | Path | None = None,
    quiet: bool = False,
    watch: Sequence[Observer] = (),
    **options: Any,
) -> Result:
    """Train batches of trials that an Optuna study asks for, and tell it how they went.

    It is `hp.Search(task, space, hp.optuna.Study(study, batch, rounds, rungs), **options).run(dir)`. The study's
    sampler proposes and its pruner gives up, see `jaxhp.optuna.Study`; the study has every trial in the end, and what
    was in it before counts. Called again, the study goes on with new trials; called again with the `dir` of a search
    that was cut off, with the rest of that search.

    Args:
      study: in memory or in a database.
      task: what to train.
      space: a `Space`, Optuna's distributions by name, or the part of an objective that calls `trial.suggest_...`; see
        `jaxhp.optuna.space`. None: what all trials of the study have so far.
      batch, rounds: trials asked for at once, and how often.
      rungs: the epochs at which trials that the pruner gave up end; None: halves of the full training.
      dir, quiet, watch: as in `Search.run`. A directory that was moved is another search to the study.
      options: of `Search`, such as `epochs`, `seed` and `finals`.

    Raises:
      Error: Optuna is not installed, or the arguments do not fit together.
    """
    space_of = __getattr__("space")
    from jaxhp.interop.optuna_strategy import Study, give_up, search_in, space_in
    from jaxhp.search.search import Search

    strategy = Study(study, batch, rounds, rungs, search=search_in(study, dir))
    search = Search(task, space_in(study) if space is None else space_of(space), strategy, **options)
    try:
        return search.run(dir, quiet=quiet, watch=watch)
    except BaseException:
        if dir is None:
            give_up(strategy)
        raise
