"""Every check of the project, in one command: `python tests`; with `--slow` only the tests that take minutes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = ("pytest", "-n", "logical", "--dist", "worksteal")
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("pyright",),
    PYTEST,
)
SLOW = ((*PYTEST, "-m", "slow"),)

if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--slow"]):
        sys.exit(f"usage: python tests [--slow], got {' '.join(sys.argv[1:])}")
    for command in SLOW if sys.argv[1:] else CHECKS:
        print(f"$ {' '.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
        if code:
            sys.exit(code)
