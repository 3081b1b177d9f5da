"""What is called on workers: by name, since whoever coordinates needs nothing of what trains there."""

from __future__ import annotations

from importlib import import_module

from jaxhp.executors.described import Described
from jaxhp.executors.orders import Address, Answer, Order, Who
from jaxhp.values import Json

_WORKER = "jaxhp.executors.worker"


def work(address: Address, order: Order) -> Answer:
    """Do what an order of a search asks for; see `worker.work`."""
    return import_module(_WORKER).work(address, order)


def describe() -> tuple[Who, list[Described], Json]:
    """Say who the process is, what its devices are, and where it runs; see `worker.describe`."""
    return import_module(_WORKER).describe()
