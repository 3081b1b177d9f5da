"""What a search writes into its directory at the end, which takes the place of nothing but its own.

In which directories it begins: `_refuse_others` of `database.py`.
"""

from __future__ import annotations

from pathlib import Path

from jaxhp.store.files import read_json
from jaxhp.store.params import is_network
from jaxhp.values import Error

NETWORK, SUMMARY = "best.safetensors", "summary.json"


def refuse_foreign(directory: Path | None) -> None:
    """Check that what a search writes at its end takes the place of nothing that is not a search's.

    Raises:
      Error: there is something else by such a name.
    """
    if directory is None:
        return
    for name, is_ours in ((NETWORK, is_network), (SUMMARY, _is_summary)):
        path = directory / name
        if path.is_symlink() or (path.exists() and not (path.is_file() and is_ours(path))):
            raise Error(
                f"dir: expected a directory of this search alone, got {path}, which no search wrote; move it away and "
                "run the search again, which goes on where it is"
            )


def _is_summary(path: Path) -> bool:
    try:
        return {"digest", "members"} <= {*read_json(path)}
    except Error:
        return False
