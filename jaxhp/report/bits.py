"""What the numbers of a run depend on to the last bit, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VERSIONS = ("jaxlib", "jax", "optax")
_USUAL = ("None", "False", "", "0", "0.0", "UNKNOWN", "O2", "threefry2x32", "standard")  # values of options of JAX
_USUALLY_ON = ("jax_threefry_partitionable", "jax_compiler_enable_remat_pass", "jax_allow_f16_reductions")


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
    if "tile" in manifest:
        known.append(f"tile {manifest['tile']}")
    precision = environment.get("matmul_precision")
    known += [f"matmul_precision={precision}"] if precision not in (None, "None") else []
    flags = environment.get("flags")
    if isinstance(flags, Mapping):
        known += [f"{name}={value}" for name, value in flags.items() if _is_chosen(name, str(value))]
    return ", ".join(known) or "what is not recorded"


def _is_chosen(name: str, value: str) -> bool:
    return value != "True" if name in _USUALLY_ON else value not in _USUAL
