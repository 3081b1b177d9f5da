"""What is sent to workers as bytes: functions by value where a worker cannot import them, large arrays apart and once.

An array of 64 KiB or more is not in the pickle: its digest is, and the array is in the members' store, where each
worker finds it. Two references to one array are one array there too.
"""

from __future__ import annotations

import io
import os
import pickle
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.values import Error

LARGE = 64 * 1024  # bytes, from which on an array travels apart
_scripts: list[tuple[str, set[str]]] = []  # the folder imported from for a script of another process; modules before it


def packed(value: Any, put: Callable[[bytes], str]) -> bytes:
    """Return a value as bytes.

    Args:
      value: anything that cloudpickle takes.
      put: keeps an array for the workers, as the content of a `.npy` file of bytes; returns its digest.

    Raises:
      Error: something in it cannot be sent, or cloudpickle is missing.
    """
    cloudpickle = _cloudpickle()
    known: dict[int, tuple[object, tuple[Any, ...]]] = {}  # by identity; what has one is held while that counts

    class Pickler(cloudpickle.Pickler):
        def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
            if not isinstance(obj, np.ndarray | jax.Array):
                return None
            if id(obj) not in known:
                known[id(obj)] = obj, _apart(obj, put)
            return known[id(obj)][1] or None

    file = io.BytesIO()
    with _by_value(cloudpickle):
        try:
            Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        except Exception as error:  # whatever an object of the user's makes a pickler raise
            raise Error(
                f"executor: expected a task that can be sent to a worker, got one that cannot: {error}; open files, "
                "locks and generators can be made where they are used"
            ) from error
    return file.getvalue()


def unpacked(content: bytes, get: Callable[[str], np.ndarray]) -> Any:
    """Return the value that `packed` took apart.

    Args:
      content: its bytes.
      get: the array of bytes that was kept under a digest.
    """
    found: dict[tuple[Any, ...], Any] = {}

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: tuple[Any, ...]) -> Any:
            if pid not in found:
                found[pid] = _together(pid, get)
            return found[pid]

    return Unpickler(io.BytesIO(content)).load()


def _apart(array: np.ndarray | jax.Array, put: Callable[[bytes], str]) -> tuple[Any, ...]:
    """Return what stands for an array in a pickle; nothing where it is itself there."""
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(array))
        return "key", str(jax.random.key_impl(array)), data.tobytes(), data.dtype.name, data.shape
    if array.nbytes < LARGE or array.dtype.hasobject or np.dtype(array.dtype).names:
        return ()
    whole = np.ascontiguousarray(np.asarray(array))
    file = io.BytesIO()
    np.save(file, whole.reshape(-1).view(np.uint8), allow_pickle=False)
    kind = "numpy" if isinstance(array, np.ndarray) else "jax"
    return kind, put(file.getvalue()), array.dtype.name, array.shape


def _together(pid: tuple[Any, ...], get: Callable[[str], np.ndarray]) -> Any:
    if pid[0] == "key":
        _, impl, content, dtype, shape = pid
        return jax.random.wrap_key_data(jnp.asarray(np.frombuffer(content, dtype).reshape(shape)), impl=impl)
    kind, digest, dtype, shape = pid
    array = np.asarray(get(digest)).view(jnp.dtype(dtype)).reshape(shape)
    return array if kind == "numpy" else jnp.asarray(array)


def script_folder() -> str:
    """Return the folder from which the script that runs imports its modules, "" where they are installed."""
    main = sys.modules.get("__main__")
    file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if file is None:  # at a prompt, in a notebook
        return os.getcwd()
    path = Path(file).absolute()
    if any(path.is_relative_to(folder) for folder in _installed()):
        return ""
    names = spec.name.split(".") if spec is not None else [""]  # `python -m package.module` imports from above it
    return str(path.parents[len(names) - 1])


def import_from(folder: str) -> None:
    """Have modules imported from a folder from now on, as they are now, in the place of those of a script before.

    What was imported before that script came stays as it is.
    """
    for before, known in _scripts:
        for name, module in list(sys.modules.items()):
            if name not in known and name.split(".")[0] != "jaxhp" and _is_in(module, before):
                del sys.modules[name]
        with suppress(ValueError):  # a task took it away
            sys.path.remove(before)
    _scripts.clear()
    if folder and folder not in sys.path:
        _scripts.append((folder, set(sys.modules.copy())))
        sys.path.insert(0, folder)
        invalidate_caches()


def _cloudpickle() -> Any:
    try:
        return import_module("cloudpickle")
    except ImportError:
        raise Error("executor: expected cloudpickle to be installed: pip install 'jaxhp[executors]'") from None


@contextmanager
def _by_value(cloudpickle: Any) -> Iterator[None]:
    """Have the functions of modules that a worker could not import sent as they are, while the block runs."""
    modules = [module for module in list(sys.modules.values()) if _is_private(module)]
    modules = [module for module in modules if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _is_private(module: ModuleType) -> bool:
    """Tell whether a module is of a file that no import finds: an experiment's, or a neighbour of one."""
    file, name = getattr(module, "__file__", None), getattr(module, "__name__", "")
    if not isinstance(file, str) or name == "__main__" or name.startswith("jaxhp."):
        return False
    path = Path(file)
    if any(path.is_relative_to(folder) for folder in _installed()):
        return False
    found = PathFinder.find_spec(name.split(".")[0])
    return found is None or (
        "." not in name and found.origin is not None and Path(found.origin).absolute() != path.absolute()
    )


def _is_in(module: ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or any(Path(file).is_relative_to(installed) for installed in _installed()):
        return False
    return Path(file).is_relative_to(folder)


@cache
def _installed() -> set[str]:
    """Return the folders of what is installed."""
    folders = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *site.getsitepackages()}
    folders.add(site.getusersitepackages())
    return {folder for folder in folders if folder}
