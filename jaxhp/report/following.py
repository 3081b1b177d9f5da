"""What one may want to do with a run directory next, as commands to type: those that apply."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from jaxhp.report.result import Result
from jaxhp.words import plain


def following(result: Result, directory: Path, *, tested: bool) -> list[tuple[str, str]]:
    """Return commands, and what each of them does.

    Args:
      directory: of the result, whose search the command line started.
      tested: whether its task has test data.
    """
    place = shlex.quote(f"./{directory}" if str(directory).startswith("-") else str(directory))
    if not result.stage.finished:
        return [(f"jaxhp resume {place}", "go on with it")]
    found = [(f"jaxhp report {place}", "all pictures and numbers on a page")]
    if result.ruin is not None:
        return found
    found.append((f"jaxhp extend {place} --rounds +1", "go on searching; what was trained stays"))
    if tested and not result.opened:
        found.append((f"jaxhp test {place}", "once, when nothing is left to choose: the sealed test data"))
    found.append((f"jaxhp verify {place}", "train some trials again and compare every bit"))
    load = f"import jaxhp; params = jaxhp.Result.load({json.dumps(str(directory))}).best.params"
    found.append((f"python -ic {shlex.quote(load)}", "the chosen network"))
    return found


def written(commands: list[tuple[str, str]]) -> str:
    """Write commands below each other, with what they do."""
    width = max((len(command) for command, _ in commands if command.startswith("jaxhp")), default=0)
    rows = [f"{plain(command):<{width}}  # {what}" for command, what in commands]
    return "\n".join(f"{'next' if not at else '':<10}{row}" for at, row in enumerate(rows))
