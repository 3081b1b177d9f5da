"""A network's parameters in a safetensors file: arrays by name, for any reader of that format.

The names are the paths of the pytree, joined by dots: `0.w`, `Dense_0.kernel`. The file's metadata tell which trial it
is; `paths` among them lets `load` rebuild nested dicts and lists.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as encode

from jaxhp.store.files import write_bytes
from jaxhp.values import Error, Json

if TYPE_CHECKING:
    from jaxtyping import PyTree


def save(path: Path, params: PyTree, **facts: object) -> str:
    """Writes a pytree of arrays and returns the file's SHA-256; `facts` are kept as JSON in the metadata.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "best.safetensors"
    >>> digest = save(path, [{"w": np.ones((2, 3), np.float32)}], trial_id=7)
    >>> load(path)[0]["w"].shape, facts(path)["trial_id"]
    ((2, 3), 7)
    """
    from jax import tree_util  # slow to import, and who reads does without

    found = tree_util.tree_flatten_with_path(params)[0]
    numbered = (tree_util.SequenceKey, tree_util.FlattenedIndexKey)
    paths = [[_index(key) if isinstance(key, numbered) else _name(key) for key in keys] for keys, _ in found]
    names = [".".join(map(str, keys)) or "params" for keys in paths]
    arrays = [np.ascontiguousarray(leaf) for _, leaf in found]
    if len(set(names)) < len(names):
        raise Error(f"params: expected distinct names, got {sorted(names)}")
    metadata = {name: json.dumps(value) for name, value in facts.items()}
    metadata["paths"] = json.dumps(dict(zip(names, paths, strict=True)))
    content = encode(dict(zip(names, arrays, strict=True)), metadata)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def check(path: Path, trial_id: int, config: Mapping[str, object], sha256: str | None) -> None:
    """Check that a file holds a trial's network as it was written.

    Args:
      sha256: of the file; None where nothing was recorded.

    Raises:
      FileNotFoundError: there is no such file.
      Error: it is another file, or another trial's.
    """
    found = facts(path)
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise Error(f"{path}: expected the network that this search wrote, got another or damaged file (its SHA-256)")
    if (found.get("trial_id"), found.get("config")) != (trial_id, json.loads(json.dumps(dict(config)))):
        told = f"trial {found.get('trial_id')!r:.20} with {found.get('config')!r:.200}"
        raise Error(f"{path}: expected the network of trial {trial_id}, got that of {told}")


def load(path: Path) -> PyTree[np.ndarray]:
    """The parameters in a file of `save`, as nested dicts and lists of arrays; objects became dicts.

    Raises:
      FileNotFoundError: there is no such file.
      Error: it is not one of `save`.
    """
    return _read(path)[0]


def facts(path: Path) -> Json:
    """What `save` was told beside the parameters."""
    return _read(path)[1]


def _read(path: Path) -> tuple[PyTree[np.ndarray], Json]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent}: expected parameters, found no {path.name} in it")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = {name: json.loads(value) for name, value in file.metadata().items()}
            paths = metadata.pop("paths")
            leaves = [(paths[name], file.get_tensor(name)) for name in file.keys()]  # noqa: SIM118, not a dict
            return _nest(leaves), metadata
    except (SafetensorError, ValueError, TypeError, LookupError, AttributeError, OSError, RecursionError) as error:
        raise Error(f"{path}: expected parameters, got: {error}") from error


def _index(key: object) -> int:
    return getattr(key, "idx", getattr(key, "key", 0))


def _name(key: object) -> str:
    return str(getattr(key, "key", getattr(key, "name", key)))


def _nest(leaves: Sequence[tuple[list[int | str], np.ndarray]]) -> PyTree[np.ndarray]:
    if len(leaves) == 1 and not leaves[0][0]:
        return leaves[0][1]
    branches: dict[int | str, list[tuple[list[int | str], np.ndarray]]] = {}
    for keys, leaf in leaves:
        branches.setdefault(keys[0], []).append((keys[1:], leaf))
    if all(isinstance(key, int) for key in branches):
        return [_nest(branches[key]) for key in sorted(branches)]
    return {str(key): _nest(branch) for key, branch in branches.items()}
