"""The packages of other tools, which are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jaxhp.values import Error


def needed(module: str, what: str, package: str, extra: str) -> Any:
    """Import a module that is, or that needs, a package of another tool.

    Args:
      what: that needs it, for a person.
      package, extra: what to install.

    Raises:
      Error: the package is missing.
    """
    try:
        return import_module(module)
    except ImportError as error:
        text = f"{what} needs the package {package} ({error})"
        raise Error(f"{text}: pip install {package}, or 'jaxhp[{extra}]'") from error
