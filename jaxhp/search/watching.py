"""Observers of a user, whose failure is a warning and harms no search, and who can change nothing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from jaxhp.engine.events import Event, Observer, Warned
from jaxhp.search.signals import Stopped
from jaxhp.trials import Trial, Trials
from jaxhp.values import Error
from jaxhp.words import plain


def checked(watch: Sequence[Observer]) -> list[Observer]:
    """Return observers as a list.

    Raises:
      Error: they are none.
    """
    expected = "watch: expected a list of functions of one event, such as [hp.watch.CSV(path)], got"
    if callable(watch):
        raise Error(f"{expected} {_named(watch)} itself")
    if not isinstance(watch, Sequence) or isinstance(watch, str | bytes):
        raise Error(f"{expected} {watch!r:.80}")
    for observer in watch:
        if isinstance(observer, type):
            raise Error(f"{expected} the class {observer.__name__} itself in it: {observer.__name__}(...)")
        if not callable(observer):
            raise Error(f"{expected} {observer!r:.80} in it")
    return list(watch)


def guarded(watch: Sequence[Observer]) -> tuple[list[Observer], list[str]]:
    """Return observers that raise nothing but `Stopped`, and what there is to warn of, which they add to.

    Of each, one warning: it is told what comes after all the same. It is told what it cannot change, see `read_only`.
    """
    failures: list[str] = []

    def guard(observer: Observer) -> Observer:
        failed = False

        def observe(event: Event) -> None:
            nonlocal failed
            try:
                observer(read_only(event))
            except Stopped:
                raise
            except Exception as error:  # whatever it is, the search has nothing to do with it
                if not failed:
                    what = plain(f"{type(error).__name__}: {error}").split("\n")[0]
                    at = type(event).__name__
                    failures.append(f"watch: {_named(observer)} failed at {at} ({what}); the search goes on")
                failed = True

        return observe

    return [guard(observer) for observer in checked(watch)], failures


def read_only(value: Any) -> Any:
    """Return what an observer may be shown: the same, with arrays that cannot be written, in containers of its own."""
    if isinstance(value, np.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    if isinstance(value, Mapping):
        return {name: read_only(leaf) for name, leaf in value.items()}
    if isinstance(value, Trials | Trial):
        return replace(value, **{f.name: read_only(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(read_only, value))
    return [read_only(one) for one in value] if isinstance(value, list) else value


def told(observers: Sequence[Observer]) -> Observer:
    """Return the function that tells an event to each observer in turn."""

    def emit(event: Event) -> None:
        for observer in observers:
            observer(event)

    return emit


def warning(failures: list[str], emit: Observer) -> Observer:
    """Return the observer that warns, after the others were told an event, of what failed there or before."""

    def observe(_: Event) -> None:
        while failures:
            emit(Warned(failures.pop()))

    return observe


def unrepeated(emit: Observer) -> Observer:
    """Return what tells an event to others, but no warning a second time."""
    said: set[str] = set()

    def tell(event: Event) -> None:
        if isinstance(event, Warned):
            if event.text in said:
                return
            said.add(event.text)
        emit(event)

    return tell


def _named(observer: object) -> str:
    return getattr(observer, "__qualname__", type(observer).__name__)
