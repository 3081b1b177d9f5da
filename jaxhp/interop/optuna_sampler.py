"""A strategy as a sampler of Optuna, for define-by-run scripts that train one trial after another.

The strategy samples the parameters that all finished trials had, with the same ranges: what Optuna calls the relative
search space. It is asked for its population at once; trials take these points in turn, and when none is left it is told
how all finished trials went and asked again. What else a trial asks for, as the parameters of a first trial and those
under conditions, is drawn uniformly. One trial at a time, a study is the same for the same seed; what is drawn for a
trial depends on its number, so that several processes with one seed do not draw the same.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from jaxhp.interop.optuna_spaces import config_of, outward, parameter, space
from jaxhp.space import Space
from jaxhp.strategies.base import Strategy
from jaxhp.strategies.sampler import Sampler, fresh
from jaxhp.trials import Proposal
from jaxhp.values import Error, check_int

_EPOCHS = 1000  # of a full training, to see whether a strategy has rungs below it
_TOLD = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class _Asked(NamedTuple):
    """Where a strategy stands in a study."""

    space: Space
    ranges: dict[str, BaseDistribution]
    state: Any
    left: list[np.ndarray]  # points that no trial has yet
    told: frozenset[int]  # numbers of trials


class StrategySampler(optuna.samplers.BaseSampler):
    """Sample with a strategy of jaxhp: `optuna.create_study(sampler=hp.optuna.Sampler(hp.Auto(population=8)))`.

    A small population learns from every few trials. A pruned trial counts with its last value, a failed one as
    diverged. Give the strategy rounds for as many trials as the study will have: its programs, which take seconds to
    compile, then serve all of them.

    Args:
      strategy: whose trials all start fresh and train to their end, such as `TPE`, `GP`, `Sobol` or `Auto` (which
        has no rungs here); for a study of several objectives `Pareto`.
      seed: of all that is drawn.

    Raises:
      Error: it is none of these.
    """

    def __init__(self, strategy: Strategy, seed: int = 0):
        for name in ("schedule", "init", "ask", "tell"):
            if isinstance(strategy, type) or not callable(getattr(strategy, name, None)):
                raise Error(f"strategy: expected a strategy such as hp.Auto(population=8), got {strategy!r:.80}")
        epochs = 1 if isinstance(strategy, Sampler) else _EPOCHS  # samplers have no rungs where they are told of one
        if any(rung.epochs < epochs for rung in strategy.schedule(epochs)):
            raise Error(f"strategy: expected one whose trials train to their end, as Optuna's do, got {strategy!r:.80}")
        self._strategy: Any = strategy
        self._seed = check_int("seed", seed, 0)
        self._common = optuna.search_space.IntersectionSearchSpace(include_pruned=True)
        self._asked: _Asked | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what all finished trials had, but for what has one value only."""
        with self._lock:
            common = self._common.calculate(study)
        return {name: of for name, of in common.items() if not of.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point of the strategy."""
        if not search_space:
            return {}
        with self._lock:
            asked = self._asked
            if asked is None or asked.ranges != search_space:
                asked = self._begun(trial.number, search_space)
            if not asked.left:
                asked = self._again(study, asked)
            point, *left = asked.left
            self._asked = asked._replace(left=left)
        return {name: outward(value) for name, value in asked.space.config(point).items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a value uniformly, over the range or, where it has a log scale, its logarithm."""
        rng = np.random.default_rng([self._seed, trial.number, *param_name.encode(errors="surrogatepass")])
        return outward(parameter(param_name, param_distribution).value(float(rng.random())))

    def reseed_rng(self) -> None:
        """Do nothing: what is drawn depends on a trial's number, also in another process."""

    def _begun(self, number: int, ranges: dict[str, BaseDistribution]) -> _Asked:
        import jax

        from jaxhp.compiling import on_host

        of = space(ranges)
        with on_host():
            key = jax.random.fold_in(jax.random.key(self._seed), number)
            return _Asked(of, dict(ranges), self._strategy.init(key, of.dim, 1), [], frozenset())

    def _again(self, study: optuna.Study, asked: _Asked) -> _Asked:
        """Tell the strategy of the trials that finished meanwhile, and ask it for more points."""
        from jaxhp.compiling import on_host

        found = [t for t in study.get_trials(deepcopy=False, states=_TOLD) if t.number not in asked.told]
        found = [t for t in found if all(t.distributions.get(name) == of for name, of in asked.ranges.items())]
        with on_host():
            state = self._told(asked, found, [direction.name == "MAXIMIZE" for direction in study.directions])
            proposal, state = self._strategy.ask(state)
        if (np.asarray(proposal.parent) >= 0).any():
            raise Error(f"strategy: expected one whose trials start fresh, as Optuna's do, got {self._strategy!r:.80}")
        told = asked.told | {trial.number for trial in found}
        return asked._replace(state=state, left=list(np.asarray(proposal.unit)), told=told)

    def _told(self, asked: _Asked, found: Sequence[FrozenTrial], larger: Sequence[bool]) -> Any:
        import jax.numpy as jnp

        if not found:
            return asked.state
        names = asked.ranges
        unit = np.stack([asked.space.unit(config_of(asked.space, {n: t.params[n] for n in names})) for t in found])
        values = np.asarray([_values(trial, len(larger)) for trial in found], np.float32)
        scores = jnp.asarray(np.where(np.isfinite(values), values, np.nan) * np.where(larger, 1, -1), jnp.float32)
        proposal = Proposal(unit, fresh(len(unit)), 1)
        if len(larger) == 1:
            return self._strategy.tell(asked.state, proposal, scores[:, 0])
        if not callable(getattr(self._strategy, "tell_objectives", None)):
            raise Error(f"strategy: expected hp.Pareto() for a study of several objectives, got {self._strategy!r:.80}")
        return self._strategy.tell_objectives(asked.state, proposal, scores, jnp.zeros(len(unit)))


def _values(trial: FrozenTrial, count: int) -> list[float]:
    """Return the values of a trial, NaN where it has none."""
    values = trial.values or ([trial.intermediate_values[trial.last_step]] if trial.last_step is not None else [])
    failed = trial.state is TrialState.FAIL or len(values) != count
    return [math.nan] * count if failed else [float(value) for value in values]
