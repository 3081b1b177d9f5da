"""Devices of another process: as much of them as planning needs, so that who coordinates needs none of that kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxhp.engine.rate import product_rate
from jaxhp.engine.runtime import Device
from jaxhp.engine.sizes import memory_limit


class Version(NamedTuple):
    """Of what a described device is driven by."""

    platform_version: str


class Described(NamedTuple):
    """A device that is elsewhere; a `Device`."""

    platform: str
    device_kind: str
    client: Version
    free: int  # bytes that a search may fill
    rate: float  # FLOP/s of matrix products

    def memory_stats(self) -> dict[str, int] | None:
        """Return what of its memory is known."""
        return {"bytes_limit": int(self.free / 0.9), "bytes_in_use": 0}


def described(devices: Sequence[Device]) -> list[Described]:
    """Describe the devices of this process."""
    free = memory_limit(devices) // len(devices)
    rate = product_rate(tuple(devices)) / len(devices)
    return [Described(d.platform, d.device_kind, Version(str(d.client.platform_version)), free, rate) for d in devices]
