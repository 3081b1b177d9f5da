"""A program on some devices, compiled once for all of them and beside other programs.

Python traces and lowers it at once, on the thread that asks, whose settings of JAX count; XLA compiles it on a thread
of a pool meanwhile, for the first device. The others get the same executable, loaded for them, which takes a hundredth
of the time, and where JAX does not load it there, it is compiled for them too; so it is on accelerators, of which JAX
itself finds the program of one in its cache for the others.

JAX's own cache of compiled programs has one for each device. What was read from it cannot be loaded for another one:
of a CPU's program, jaxlib 0.10.2 writes out again without its functions. So what is loaded is kept beside it, in files
that are as much to be trusted: both hold code of this machine.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.serialize_executable import serialize
from jax.sharding import SingleDeviceSharding
from jaxlib import xla_client
from jaxtyping import PyTree

from jaxhp.engine.runtime import Device, cpu_cores, folder_for

Options = Mapping[str, Any]


class Program:
    """A program for each of some devices, which is compiled meanwhile.

    Args:
      lower: lowers it for a device.
      devices: at least one.
      options: of the compiler.
    """

    def __init__(self, lower: Callable[[Device], jax.stages.Lowered], devices: Sequence[Device], options: Options):
        self._lower, self._devices = lower, devices
        self._options: dict[str, Any] = dict(options)
        began = time.perf_counter()
        lowered = lower(devices[0])
        self._lowering_s = time.perf_counter() - began
        self._built: Future[tuple[list[jax.stages.Compiled | None], float]] = _pool().submit(self._build, lowered)
        self._ready: list[jax.stages.Compiled] | None = None

    def on_each(self) -> list[jax.stages.Compiled]:
        """Waits for it, and returns what each device runs.

        Raises:
          jax.errors.JaxRuntimeError: it does not compile.
        """
        if self._ready is None:
            found, _ = self._built.result()
            missing = [at for at, compiled in enumerate(found) if compiled is None]
            lowered = [self._lower(self._devices[at]) for at in missing]
            for at, compiled in zip(missing, _pool().map(lambda one: one.compile(self._options), lowered), strict=True):
                found[at] = compiled
            self._ready = [compiled for compiled in found if compiled is not None]
        return self._ready

    @property
    def seconds(self) -> float:
        """Waits for it, and returns what lowering and compiling it once took."""
        return self._lowering_s + self._built.result()[1]

    def _build(self, lowered: jax.stages.Lowered) -> tuple[list[jax.stages.Compiled | None], float]:
        """Returns it for each device, None for those but the first where it is not loaded, and the seconds."""
        began = time.perf_counter()
        if self._devices[0].platform != "cpu":
            found = [lowered.compile(self._options), *[None for _ in self._devices[1:]]]
            return found, time.perf_counter() - began
        file = _file(lowered, self._devices[0], self._options)
        content = _kept(file)
        found = [loaded(content, lowered, device, self._options) for device in self._devices]
        if None in found:
            hits, first = _hits(), lowered.compile(self._options)
            content = _written(first) if hits == _hits() else None
            found = [first, *(loaded(content, lowered, device, self._options) for device in self._devices[1:])]
            _keep(file, content)
        return found, time.perf_counter() - began


def lowered_on(
    state: PyTree, facts: PyTree, filled: np.generic, given: tuple[PyTree, ...], function: Callable[..., PyTree]
) -> Callable[[Device], jax.stages.Lowered]:
    """Returns what lowers a function of one device's tiles, which it changes in place, for a device; traced once.

    Args:
      state, facts: arrays or shapes [N, D, ...], of which the function gets [N, 1, ...].
      filled, given: arrays or shapes of its other arguments.
    """
    jitted = jax.jit(function, donate_argnums=0)

    def on(device: Device) -> jax.stages.Lowered:
        def here(s: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=SingleDeviceSharding(device))

        def mine(s: Any) -> jax.ShapeDtypeStruct:
            return here(jax.ShapeDtypeStruct((s.shape[0], 1, *s.shape[2:]), s.dtype))

        return jitted.lower(*jax.tree.map(mine, (state, facts)), *jax.tree.map(here, (filled, *given)))

    return on


def loaded(
    content: bytes | None, lowered: jax.stages.Lowered, device: Device, options: Options
) -> jax.stages.Compiled | None:
    """Returns a program that was written out for a device of this kind, None where JAX does not load it.

    Args:
      content: what `serialize` wrote; None: nothing.
      lowered: the same program, for whichever device.
    """
    if content is None:
        return None
    try:
        found, infos, no_kwargs = _Loader(content, device, options).load()
        inputs, outputs = lowered.in_tree, lowered.out_tree
        made = jax.stages.Compiled(found.load(), [], inputs.unflatten(infos), outputs, no_kwargs=no_kwargs)
        there = made.runtime_executable()
        return made if there is not None and there.local_devices() == [device] else None
    except Exception:  # of whatever kind: how programs are loaded is JAX's own affair, and may change
        return None


def _written(compiled: jax.stages.Compiled) -> bytes | None:
    try:
        return serialize(compiled)[0]
    except Exception:  # likewise
        return None


def _file(lowered: jax.stages.Lowered, device: Device, options: Options) -> Path | None:
    """Returns where a program is kept, None where none are."""
    folder = Path(jax.config.values["jax_compilation_cache_dir"] or "")
    if not folder.name or not folder.is_dir():
        return None
    facts = [jax.__version__, folder_for(device).name, repr(sorted(options.items())), lowered.as_text()]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return folder / f"jaxhp-{digest}"


def _kept(file: Path | None) -> bytes | None:
    try:
        return zlib.decompress(file.read_bytes()) if file is not None else None
    except (OSError, zlib.error):
        return None


def _keep(file: Path | None, content: bytes | None) -> None:
    if file is None or content is None:
        return
    part = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    with suppress(OSError):
        part.write_bytes(zlib.compress(content, 1))
        part.replace(file)


def _hits() -> int:
    """Counts what this thread has found in JAX's cache."""
    _listening()
    return getattr(_found, "hits", 0)


_found = threading.local()


@cache
def _listening() -> None:
    def hear(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            _found.hits = getattr(_found, "hits", 0) + 1

    jax.monitoring.register_event_listener(hear)


class _Loader(pickle.Unpickler):
    """Reads what `serialize` wrote, for another device: JAX's own reader takes it back to where it was."""

    def __init__(self, content: bytes, device: Device, options: Options):
        super().__init__(io.BytesIO(content))
        self._device = device
        self._how = xla_client.CompileOptions()
        self._how.num_replicas = self._how.num_partitions = 1
        self._how.device_assignment = xla_client.DeviceAssignment.create(np.asarray([[device.id]], np.int32))
        self._how.env_option_overrides = list(options.items())

    def persistent_load(self, pid: Any) -> Any:
        kind, *content = pid
        if kind == "exec":
            devices = xla_client.DeviceList((self._device,))
            return self._device.client.deserialize_executable(content[0], devices, self._how)
        return {"device": self._device, "client": self._device.client}[kind]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cpu_cores(), "jaxhp-compile")
