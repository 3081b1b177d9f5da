"""Where a search runs: versions, devices and flags, and which differences between two such places may change bits."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import jax

from jaxhp.engine.bits import cpu, flags
from jaxhp.engine.runtime import Device
from jaxhp.values import Json
from jaxhp.words import short

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")  # says nothing to a person
_SAME_BITS = ("devices", "python", "argv", "numpy", "cpu.model")  # may change without changing a number


def environment(devices: Sequence[Device]) -> Json:
    """Return versions, devices and flags that results may depend on, as JSON."""
    return {
        "device_kind": devices[0].device_kind,
        "platform": devices[0].platform,
        "devices": len(devices),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("jax", "jaxlib", "jaxhp", "numpy", "optax")},
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
        "runtime": str(devices[0].client.platform_version),
        "cpu": cpu(),
        "flags": flags(),
        "argv": list(sys.argv),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def differences(before: object, now: object, name: str = "") -> list[tuple[str, object, object]]:
    """List (name, before, now) of every entry of two JSON values that differs."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return [] if json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True) else [(name, before, now)]
    found = []
    for key in dict.fromkeys([*before, *now]):
        found += differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    return found


def sentence(entries: list[tuple[str, object, object]]) -> str:
    """Say what differs."""

    def told(name: str, before: object, now: object) -> str:
        if _DIGEST.search(f"{before} {now}"):
            return f"its {name} is another one"
        return f"its {name} is {short(before)}, now it is {short(now)}"

    return "; ".join(told(*entry) for entry in entries)


def harmful(where: list[tuple[str, object, object]]) -> list[tuple[str, object, object]]:
    """Return those differences of environments that may change a number."""
    return [entry for entry in where if not {entry[0], entry[0].split(".")[0]} & {*_SAME_BITS}]
