"""Compiled programs, kept from one process to the next in a folder of the user's cache that belongs to this machine.

A compiled CPU program uses the instructions of the CPU that it was compiled for. So the folder's name says which
machine, CPU, device kind and jaxlib its programs are for, and home directories may be shared between machines.
"""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache


def keep_compiled(device: Any) -> Path | None:
    """From now on, programs that take over a second to compile are looked up and kept in `folder_for(device)`.

    Where the user set `JAX_COMPILATION_CACHE_DIR` (or the option of that name), or turned this off by
    `JAXHP_CACHE=off`, nothing is changed; nor where the folder cannot be written.

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
    compilation_cache.reset_cache()  # else a process that has compiled something without one never uses one
    return folder


def folder_for(device: Any) -> Path:
    """`jaxhp/<machine>` in `$XDG_CACHE_HOME`, by default `~/.cache`; `<machine>` is 16 hexadecimal digits."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    facts = [version("jaxlib"), device.platform, device.device_kind, platform.node(), platform.machine(), *_cpu()]
    return Path(base, "jaxhp", hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16])


def _cpu() -> list[str]:
    """Name and instruction sets of the first CPU, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return [platform.processor()]
    return [line for line in lines if line.startswith(("model", "flags", "Features", "CPU part"))]
