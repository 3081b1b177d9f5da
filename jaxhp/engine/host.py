"""One JAX device a CPU core, arranged before JAX starts.

A CPU is fastest here when every core trains tiles of its own. JAX can split a host into several CPU devices, but only
before its backend starts; importing `jaxhp` asks for one device a core, without importing JAX.
"""

from __future__ import annotations

import os
import sys
import warnings


def cpu_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split_host() -> None:
    """Ask for one CPU device a core, unless the user asked for a number; warn where it is too late."""
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    jax = sys.modules.get("jax")
    if jax is None:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(cpu_cores())  # read when JAX is imported
        return
    if jax.config.values["jax_num_cpu_devices"] > 0:
        return
    try:
        jax.config.update("jax_num_cpu_devices", cpu_cores())
    except RuntimeError:
        if jax.default_backend() == "cpu" and jax.local_device_count() < cpu_cores():
            warnings.warn(
                f"jaxhp: JAX had started before jaxhp was imported, so training uses {jax.local_device_count()} of "
                f"{cpu_cores()} CPU cores; import jaxhp before the first JAX call, or set JAX_NUM_CPU_DEVICES",
                stacklevel=2,
            )
