"""Train a search on many workers: `search.run(dir, executor=...)`. Adapters are imported when they are used."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

TYPE_CHECKING = _TYPE_CHECKING  # the name that type checkers know
if TYPE_CHECKING:
    from jaxhp.executors.dask import Dask
    from jaxhp.executors.mailbox import Mailbox
    from jaxhp.executors.mpi import MPI
    from jaxhp.executors.pool import Pool, Submit, WorkerLost
    from jaxhp.executors.processes import Processes
    from jaxhp.executors.ray import Ray
    from jaxhp.executors.slurm import Slurm

__all__ = ["MPI", "Dask", "Mailbox", "Pool", "Processes", "Ray", "Slurm", "Submit", "WorkerLost"]
_HOMES = {
    "Dask": "dask",
    "MPI": "mpi",
    "Mailbox": "mailbox",
    "Pool": "pool",
    "Processes": "processes",
    "Ray": "ray",
    "Slurm": "slurm",
    "Submit": "pool",
    "WorkerLost": "pool",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxhp.executors' has no attribute {name!r}")
    return getattr(_import_module(f"jaxhp.executors.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
