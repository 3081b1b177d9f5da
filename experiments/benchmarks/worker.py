"""A benchmark's script in a process of its own, which answers in lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class Worker:
    """`python SCRIPT --worker ARGUMENTS`. It answers once when it is ready, and once for every run asked for.

    Args:
      script: its file.
      arguments, environment: what it is given beside this process's environment.

    Attributes:
      ready: its first answer.
    """

    def __init__(self, script: str, *arguments: Any, **environment: str):
        self._process = subprocess.Popen(
            [sys.executable, script, "--worker", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.ready = self._answer()

    def run(self) -> Any:
        """The answer to one more run."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a worker ended with exit code {self._process.wait()}")
        return json.loads(line)
