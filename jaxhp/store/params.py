"""A network's parameters in a safetensors file: arrays by name, for any reader of that format.

The names are the paths of the pytree, joined by dots: `0.w`, `Dense_0.kernel`. The file's metadata tell which trial of
which search it is; `tree` among them lets `load` rebuild dicts, lists and tuples, and objects as dicts. With the task
at hand they are the objects that its `init` made. `content` is the SHA-256 of arrays and other metadata: a file in
which a bit is flipped is not read, wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as encode

from jaxhp.store.files import write_bytes
from jaxhp.values import Error, Json

if TYPE_CHECKING:
    from jaxtyping import PyTree

_CONTENT = "content"  # the fact that is the digest of all others, and of the arrays


def save(path: Path, params: PyTree, **facts: object) -> str:
    """Writes a pytree of arrays and returns the file's SHA-256; `facts` are kept as JSON in the metadata.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "best.safetensors"
    >>> digest = save(path, ({"w": np.ones((2, 3), np.float32)}, {4: np.float32(0.5)}, None), trial_id=7)
    >>> load(path)[0]["w"].shape, load(path)[1][4].shape, load(path)[2], facts(path)["trial_id"]
    ((2, 3), (), None, 7)
    """
    arrays: dict[str, np.ndarray] = {}
    metadata = {"tree": json.dumps(_skeleton(params, (), arrays))}
    metadata |= {name: json.dumps(value) for name, value in facts.items()}
    metadata[_CONTENT] = json.dumps(_digest(arrays, metadata))
    content = encode(arrays, metadata)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def _digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of arrays and metadata by name."""
    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _skeleton(node: PyTree, keys: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Json:
    """Return what a pytree is made of as JSON, and put its leaves among the arrays, named by their paths."""
    from jax import tree_util  # slow to import, and who reads does without

    if node is None:
        return {"none": True}
    parts = tree_util.tree_flatten_with_path(node, is_leaf=lambda part: part is not node)[0]
    if len(parts) == 1 and not parts[0][0]:
        name = ".".join(keys) or "params"
        if name in arrays:
            raise Error(f"params: expected distinct names, got {name!r} twice")
        arrays[name] = np.asarray(node, order="C")
        return {"leaf": name}
    kind = type(node).__name__ if type(node) in (list, tuple, dict) else "object"
    names = [_name(path[0]) for path, _ in parts]
    below = [_skeleton(part, (*keys, str(name)), arrays) for name, (_, part) in zip(names, parts, strict=True)]
    return {kind: below if kind in ("list", "tuple") else [list(item) for item in zip(names, below, strict=True)]}


def _name(key: object) -> int | str:
    """Return the name of a part: a place, a key of a dict, an attribute."""
    found = getattr(key, "idx", getattr(key, "key", getattr(key, "name", key)))
    return found if isinstance(found, int) and not isinstance(found, bool) else str(found)


def check(
    path: Path, trial_id: int, config: Mapping[str, object], sha256: str | None, search: str | None = None
) -> None:
    """Check that a file holds a trial's network as it was written.

    Args:
      sha256: of the file; None where nothing was recorded.
      search: the digest of its search's manifest; None where nothing was recorded.

    Raises:
      FileNotFoundError: there is no such file.
      Error: it is another file, or another trial's.
    """
    if sha256 is not None and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise Error(f"{path}: expected the network that this search wrote, got another or damaged file (its SHA-256)")
    found = facts(path)
    if (found.get("trial_id"), found.get("config")) != (trial_id, json.loads(json.dumps(dict(config)))):
        told = f"trial {found.get('trial_id')!r:.20} with {found.get('config')!r:.200}"
        raise Error(f"{path}: expected the network of trial {trial_id}, got that of {told}")
    if search is not None and found.get("search", search) != search:
        raise Error(f"{path}: expected the network of trial {trial_id} of this search, got that of another search's")


def is_network(path: Path) -> bool:
    """Tell whether a file is one of `save`, damaged or not."""
    try:
        with opened(path) as file:
            return bool({"tree", "paths"} & {*(file.metadata() or {})})
    except (Error, OSError):
        return False


def load(path: Path, like: PyTree = None) -> PyTree[np.ndarray]:
    """The parameters in a file of `save`: dicts, lists and tuples of arrays as they were; other objects become dicts.

    Args:
      like: a pytree of the same structure, shapes and dtypes, such as `jax.eval_shape` of what made it; with it objects
        are what they were, and keys of random numbers, whose data the file has, are keys. None: there is none at hand.

    Raises:
      FileNotFoundError: there is no such file.
      Error: it is not one of `save`, or not like `like`.
    """
    if like is None:
        return _read(path)[0]
    import jax  # slow to import, and who reads without a task does without

    from jaxhp.keys import bare, keyed

    arrays: dict[str, np.ndarray] = {}
    leaves, structure = jax.tree.flatten(like)
    _skeleton(jax.tree.unflatten(structure, [np.zeros(0)] * len(leaves)), (), arrays)
    numbers = jax.tree.leaves(jax.eval_shape(bare, like))
    known = _contents(path)[0]
    found = [known.get(name) for name in arrays]
    for name, leaf, want in zip(arrays, found, numbers, strict=True):
        if leaf is None or (leaf.shape, leaf.dtype) != (want.shape, want.dtype):
            got = "none" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"
            raise Error(f"{path}: expected {name} as {want.dtype}{list(want.shape)}, got {got}")
    return keyed(jax.tree.unflatten(structure, found), like)


def facts(path: Path) -> Json:
    """What `save` was told beside the parameters."""
    return _read(path)[1]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file of `save`; whatever it holds that does not fit is one line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent}: expected parameters, found no {path.name} in it")
    with _told(path), safe_open(path, framework="numpy") as file:
        yield file


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of a damaged file as one line that names it."""
    try:
        yield
    except Error:
        raise
    except (SafetensorError, ValueError, TypeError, LookupError, AttributeError, OSError, RecursionError) as error:
        raise Error(f"{path}: expected parameters, got: {error}") from error


def _contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the metadata of a file, which are as they were written."""
    with opened(path) as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        content = metadata.pop(_CONTENT, None)
        if content is not None and json.loads(content) != _digest(arrays, metadata):
            raise Error(f"{path}: expected parameters, got damaged ones (their SHA-256 is another)")
    return arrays, metadata


def _read(path: Path) -> tuple[PyTree[np.ndarray], Json]:
    arrays, texts = _contents(path)
    with _told(path):
        metadata = {name: json.loads(value) for name, value in texts.items()}
        if "paths" in metadata:  # of jaxhp 0.1.0
            paths = metadata.pop("paths")
            return _nest([(paths[name], array) for name, array in arrays.items()]), metadata
        return _built(metadata.pop("tree"), arrays.__getitem__), metadata


def _built(node: Json, tensor: Callable[[str], np.ndarray]) -> PyTree[np.ndarray]:
    """Return the pytree of which `_skeleton` made this."""
    ((kind, parts),) = node.items()
    if kind == "none":
        return None
    if kind == "leaf":
        return tensor(parts)
    if kind in ("list", "tuple"):
        made = [_built(part, tensor) for part in parts]
        return made if kind == "list" else tuple(made)
    return {name: _built(part, tensor) for name, part in parts}


def _nest(leaves: Sequence[tuple[list[int | str], np.ndarray]]) -> PyTree[np.ndarray]:
    if len(leaves) == 1 and not leaves[0][0]:
        return leaves[0][1]
    branches: dict[int | str, list[tuple[list[int | str], np.ndarray]]] = {}
    for keys, leaf in leaves:
        branches.setdefault(keys[0], []).append((keys[1:], leaf))
    if all(isinstance(key, int) for key in branches):
        return [_nest(branches[key]) for key in sorted(branches)]
    return {str(key): _nest(branch) for key, branch in branches.items()}
