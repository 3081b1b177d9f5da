"""Searches: what is asked for, how it runs, and what is made of it. Called, it runs one: see `search`.

A package and a function of the same name cannot both be `jaxhp.search`, so the package can be called.
"""

import sys
from types import ModuleType
from typing import Any


class _Search(ModuleType):
    def __call__(self, task: Any, space: Any, strategy: Any, *, dir: Any = None, **options: Any) -> Any:
        """`Search(task, space, strategy, **options).run(dir)`, in short."""
        from jaxhp.search.search import Search

        return Search(task, space, strategy, **options).run(dir)


sys.modules[__name__].__class__ = _Search
