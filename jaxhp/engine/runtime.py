"""The devices of this process: how many, how programs are compiled for them, and where compiled ones are kept.

Bits. While XLA compiles for a GPU it times several kernels and takes the fastest, and may take another one next time,
which rounds otherwise; and some operations, scatters among them, may add in any order. Both are turned off for whatever
a search records. On an H200 timed kernels would train the book's network 5% faster. On a CPU there is neither; what
programs need there is in `jaxhp/compiling.py`.
Source: https://openxla.org/xla/determinism.

Kept programs. A compiled CPU program uses the instructions of the CPU that it was compiled for. So the folder's name
says which machine, CPU, device kind and jaxlib its programs are for, and home directories may be shared.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import Array, PyTree

from jaxhp.compiling import cpu_options
from jaxhp.engine.bits import xla_flags
from jaxhp.values import Error, is_int

try:
    import resource
except ImportError:  # Windows
    resource = None

_GPU = {
    "xla_gpu_exclude_nondeterministic_ops": True,
    "xla_gpu_autotune_level": 0,
    "xla_gpu_enable_triton_gemm": False,  # untimed, its default tiles were a tenth slower than cuBLAS's choice (H200)
}

_KEPT_FROM = 0.1  # seconds that a program takes to compile: a search has a dozen of those between that and a second
_warned_late = False


class Device(Protocol):
    """What is asked of a device: `jax.Device`, which jaxlib does not describe to type checkers."""

    @property
    def platform(self) -> str: ...
    @property
    def device_kind(self) -> str: ...
    @property
    def client(self) -> Any: ...
    @property
    def id(self) -> int: ...
    def memory_stats(self) -> dict[str, int] | None: ...


def compiler_options(device: Device) -> dict[str, bool | int]:
    """Return options for `jax.jit(..., compiler_options=)`, without those that the user chose in `XLA_FLAGS`.

    An operation that has no deterministic form does not compile with them; such a flag set to false admits it, for
    results that may differ from run to run.
    """
    if device.platform == "cpu":
        return cpu_options()
    chosen = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in _GPU.items() if device.platform == "gpu" and name not in chosen}


def once_options(device: Device) -> dict[str, bool | int]:
    """Return the options for a program that runs once for each member: less is made of its speed, so it compiles in
    two thirds of the time. The bits are the same where it multiplies and adds as it did."""
    chosen = os.environ.get("XLA_FLAGS", "")
    quick = device.platform == "cpu" and "xla_backend_optimization_level" not in chosen
    return compiler_options(device) | ({"xla_backend_optimization_level": 1} if quick else {})


def cpu_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host_peak_bytes() -> int | None:
    """Return the most memory that this process has had, in bytes; None where the system does not tell (Windows)."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def setup(cpu_devices: int | None = None) -> None:
    """Give JAX one CPU device a core, or as many as asked for, where it has not begun.

    A CPU is fastest here when every core trains tiles of its own, and JAX splits a host only before its backend starts.
    `hp.Search`, `hp.score` and the command line call this; a script that uses JAX before them should call it first. A
    number that the user chose (`JAX_NUM_CPU_DEVICES`, `jax_num_cpu_devices`, the XLA flag of that meaning) stays.

    Args:
      cpu_devices: how many, at least 1; None: one for each core that this process may use.

    Raises:
      Error: `cpu_devices` is not a positive integer.
    """
    if cpu_devices is not None and not is_int(cpu_devices, 1):
        raise Error(f"cpu_devices: expected a positive integer, got {cpu_devices!r}")
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if cpu_devices is None and jax.config.values["jax_num_cpu_devices"] > 0:
        return
    wanted = int(cpu_devices or cpu_cores())
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError:
        if jax.default_backend() == "cpu" and jax.local_device_count() < wanted:
            _warn_late(jax.local_device_count(), wanted)


def _warn_late(have: int, wanted: int) -> None:
    """Warn once a process, whatever the numbers."""
    global _warned_late
    if _warned_late:
        return
    _warned_late = True
    warnings.warn(
        f"jaxhp: JAX had begun before, so training uses {have} of {wanted} CPU cores; call jaxhp.setup() before the "
        "first JAX computation, or set JAX_NUM_CPU_DEVICES",
        stacklevel=4,
    )


def split(tree: PyTree[Array], devices: Sequence[Device]) -> list[PyTree[Array]]:
    """Take arrays [N, D, ...] that lie on D devices apart: each device's part [N, 1, ...], without copying.

    Donating a part donates its share of the whole.
    """
    leaves, structure = jax.tree.flatten(tree)
    held = [{shard.device: shard.data for shard in leaf.addressable_shards} for leaf in leaves]
    return [jax.tree.unflatten(structure, [parts[device] for parts in held]) for device in devices]


def join(parts: Sequence[PyTree[Array]], sharding: jax.sharding.Sharding) -> PyTree[Array]:
    """Put together what `split` took apart."""

    def whole(*leaves: jax.Array) -> jax.Array:
        n, _, *rest = leaves[0].shape
        return jax.make_array_from_single_device_arrays((n, len(leaves), *rest), sharding, list(leaves))

    return jax.tree.map(whole, *parts)


def members_at(leaf: jax.Array, slots: np.ndarray) -> np.ndarray:
    """Take of an array [N, D, T, ...] that lies on D devices the members at flat slots i32[n, R], as [n, R, ...].

    Nothing but these is copied: NumPy's view of the whole would be a second one, kept as long as the array.
    """
    n, d, t = np.unravel_index(slots, leaf.shape[:3])
    found = np.empty((*slots.shape, *leaf.shape[3:]), leaf.dtype)
    for shard in leaf.addressable_shards:
        here = d == (shard.index[1].start or 0)
        part = np.asarray(shard.data) if shard.device.platform == "cpu" else shard.data  # the former is no copy
        found[here] = np.asarray(part[n[here], 0, t[here]])
    return found


def keep_compiled(device: Device) -> Path | None:
    """Keep programs that take long to compile in `folder_for(device)`, and look them up there, from now on.

    How long, the user may say (`JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`), else a tenth of a second. Where the user
    set `JAX_COMPILATION_CACHE_DIR` (or the option of that name), or turned this off by `JAXHP_CACHE=off`, nothing is
    changed; nor where the folder cannot be written.

    Returns:
      The folder; None if nothing was changed.
    """
    if jax.config.values["jax_compilation_cache_dir"] or os.environ.get("JAXHP_CACHE", "").lower() in ("off", "0"):
        return None
    folder = folder_for(device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 1:  # as JAX has it
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _KEPT_FROM)
    compilation_cache.reset_cache()  # else a process that has compiled something without one never uses one
    return folder


def folder_for(device: Device) -> Path:
    """Return `jaxhp/<machine>` in `$XDG_CACHE_HOME`, by default `~/.cache`; `<machine>` is 16 hexadecimal digits."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    facts = [version("jaxlib"), device.platform, device.device_kind, platform.node(), platform.machine(), *_cpu()]
    facts.append(xla_flags())  # of which JAX knows the name of their file alone
    return Path(base, "jaxhp", hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16])


def _cpu() -> list[str]:
    """Return the name and instruction sets of the first CPU, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return [platform.processor()]
    return [line for line in lines if line.startswith(("model", "flags", "Features", "CPU part"))]
