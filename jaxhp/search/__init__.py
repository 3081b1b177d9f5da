"""Searches: what is asked for, how it runs, and what is made of it. Called, it runs one: see `search`.

A package and a function of the same name cannot both be `jaxhp.search`, so the package can be called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxhp.report.result import Result
    from jaxhp.search.groups import TaskOrFactory
    from jaxhp.space import Space
    from jaxhp.strategies.base import Strategy


def search(
    task: TaskOrFactory, space: Space, strategy: Strategy, *, dir: str | Path | None = None, **options: Any
) -> Result:
    """Run `Search(task, space, strategy, **options).run(dir)`, in short."""
    from jaxhp.search.search import Search

    return Search(task, space, strategy, **options).run(dir)


class _Search(ModuleType):
    __call__ = staticmethod(search)


sys.modules[__name__].__class__ = _Search
