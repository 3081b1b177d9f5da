"""Observers of a user, whose failure is a warning and harms no search."""

from __future__ import annotations

from collections.abc import Sequence

from jaxhp.engine.events import Event, Observer, Warned
from jaxhp.search.signals import Stopped
from jaxhp.words import plain


def guarded(watch: Sequence[Observer]) -> tuple[list[Observer], list[str]]:
    """Return observers that raise nothing but `Stopped`, and what there is to warn of, which they add to.

    Of each, one warning: it is told what comes after all the same.
    """
    failures: list[str] = []

    def guard(observer: Observer) -> Observer:
        failed = False

        def observe(event: Event) -> None:
            nonlocal failed
            try:
                observer(event)
            except Stopped:
                raise
            except Exception as error:  # whatever it is, the search has nothing to do with it
                if not failed:
                    name = getattr(observer, "__qualname__", type(observer).__name__)
                    what = plain(f"{type(error).__name__}: {error}").split("\n")[0]
                    failures.append(f"watch: {name} failed at {type(event).__name__} ({what}); the search goes on")
                failed = True

        return observe

    return [guard(observer) for observer in watch], failures


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
