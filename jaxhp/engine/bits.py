"""What the bits of a number depend on, besides what was asked for: the CPU, flags and variables of this process.

Two CPUs of one kind of device differ in their instruction sets, for which XLA compiles, and in their first cache, by
which matrix products are cut into blocks. A GPU's search too has its configs from the CPU.
"""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

import jax

_FAMILIES = re.compile("avx512|avx10|avx|amx|fma|f16c|s?sse|asimd|sve|sme(?!p)|i8mm|bf16")
_OPTIONS = (  # of JAX
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_memory_fitting_level",
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_effort",
    "jax_compiler_enable_remat_pass",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_allow_f16_reductions",
    "jax_debug_nans",
    "jax_disable_jit",
)
_VARIABLES = (
    "LIBTPU_INIT_ARGS",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
    "MKL_CBWR",
)
_COUNT = "--xla_force_host_platform_device_count"  # the number of devices, which no bit depends on


def flags() -> dict[str, str]:
    """Options of JAX, the flags of XLA, and those variables of the environment that are set."""
    found = {name: str(jax.config.values.get(name)) for name in _OPTIONS}
    found["XLA_FLAGS"] = " ".join(flag for flag in xla_flags().split() if not flag.startswith(_COUNT))
    return found | {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def xla_flags() -> str:
    """`XLA_FLAGS`, or the content of the file that it names, as XLA reads it."""
    value = os.environ.get("XLA_FLAGS", "")
    if not value.strip() or value.lstrip().startswith("-"):
        return value
    try:
        return Path(value).read_text(errors="backslashreplace")
    except OSError:
        return value


@cache
def cpu() -> dict[str, str]:
    """The first CPU: machine, model, first cache, and instruction sets by family, as far as the system tells."""
    lines = [line.partition(":") for line in _read("/proc/cpuinfo").split("\n\n")[0].splitlines()]
    told = {name.strip(): value.strip() for name, _, value in lines}
    found = {"machine": platform.machine(), "model": told.get("model name") or platform.processor()}
    found["l1"] = _read("/sys/devices/system/cpu/cpu0/cache/index0/size").strip()
    for word in sorted((told.get("flags") or told.get("Features") or "").split()):
        if family := _FAMILIES.match(word):
            found[family[0]] = f"{found.get(family[0], '')} {word}".strip()
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
