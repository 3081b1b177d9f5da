"""What the numbers of a run depend on to the last bit, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VERSIONS = ("jaxlib", "jax", "optax")
_USUAL = ("None", "False", "")


def depends_on(manifest: Mapping[str, Any]) -> str:
    """Return what has to be the same for the same bits, as far as a manifest tells.

    >>> depends_on({"tile": 4, "environment": {"jaxlib": "0.12.0", "device_kind": "cpu", "cpu": {"avx2": "avx2"}}})
    'jaxlib 0.12.0, device cpu, CPU with avx2, tile 4'
    """
    environment = manifest.get("environment")
    environment = environment if isinstance(environment, Mapping) else {}
    known = [f"{name} {environment[name]}" for name in _VERSIONS if name in environment]
    if "device_kind" in environment:
        known.append(f"device {environment['device_kind']}")
    cpu = environment.get("cpu")
    if isinstance(cpu, Mapping):
        sets = [name for name in cpu if name not in ("machine", "model", "l1")]
        about = [str(cpu[name]) for name in ("machine", "model") if cpu.get(name)]
        about += [f"{cpu['l1']} of first cache"] if cpu.get("l1") else []
        known.append(" ".join([*about[:1], "CPU"]) + (f" ({', '.join(about[1:])})" if about[1:] else ""))
        known[-1] += f" with {' '.join(sets)}" if sets else ""
    known.append(f"tile {manifest.get('tile')}")
    flags = environment.get("flags")
    if isinstance(flags, Mapping):
        known += [f"{name}={value}" for name, value in flags.items() if _chosen(name, value)]
    return ", ".join(known)


def _chosen(name: str, value: Any) -> bool:
    return name.isupper() and str(value) not in _USUAL
