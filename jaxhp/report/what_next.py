"""What to type after a search has ended: commands, and what each of them is for."""

from __future__ import annotations

import shlex
from pathlib import Path


def what_next(directory: Path, *, found: bool, more_rounds: bool, test: bool) -> list[str]:
    """Return lines that begin with "next".

    Args:
      directory: the run directory.
      found: whether the search has chosen a trial.
      more_rounds: whether its strategy can be asked for more rounds.
      test: whether its task has test data.
    """
    commands = [("report", "", "every picture, on one page")]
    if found and more_rounds:
        commands.append(("extend", " --rounds +1", "goes on with another round"))
    if found:
        commands.append(("verify", "", "trains trials again and compares every bit"))
    if found and test:
        commands.append(("test", "", "opens the sealed test data for the chosen trial"))
    lines = [f"jaxhp {name} {shlex.quote(str(directory))}{option}" for name, option, _ in commands]
    width = max(map(len, lines))
    told = [f"{line:{width}}  {what}" for line, (_, _, what) in zip(lines, commands, strict=True)]
    return [f"{'' if at else 'next':10}{line}" for at, line in enumerate(told)]
