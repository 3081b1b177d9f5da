"""What a person is told of the front of several objectives after every round: its size, and the best of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxhp import words
from jaxhp.engine.events import Event, RoundBegan, RoundFinished, SearchBegan
from jaxhp.objectives import Objectives
from jaxhp.trials import Trials, joined


class FrontLine:
    """Say a line after every round, where there are several objectives.

    Args:
      objectives: what trials are compared by.
      say: takes a line.
    """

    def __init__(self, objectives: Objectives, say: Callable[[str], None]):
        self._objectives, self._say = objectives, say
        self._front, self._label = Trials.of(()), ""

    def observe(self, event: Event) -> None:
        """Know an event, and say what it makes of the front."""
        if len(self._objectives.names) < 2:
            return
        match event:
            case SearchBegan():
                self._advance(event.trials)
            case RoundBegan():
                self._label = f"round {event.round + 1}/{event.rounds}"
            case RoundFinished():
                self._advance(event.trials)
                if len(self._front):
                    self._say(f"{self._label}  {self._line()}")
            case _:
                pass

    def _advance(self, trials: Trials) -> None:
        others = self._front[~np.isin(self._front.trial_id, trials.trial_id)]
        known = joined([others, trials])
        self._front = known[self._objectives.front(known)]

    def _line(self) -> str:
        best = []
        for name, mode in zip(self._objectives.names, self._objectives.modes, strict=True):
            values = self._objectives.values(self._front, name)
            best.append(f"{name} {words.number(float(values.max() if mode == 'max' else values.min()))}")
        return f"front of {len(self._front)} trial{'s' * (len(self._front) > 1)}; best {', '.join(best)}"
