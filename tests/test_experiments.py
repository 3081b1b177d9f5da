"""Every experiment says what it is and how it is run, and its small version runs."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    file
    for file in (ROOT / "experiments").rglob("*.py")
    if "__main__" in file.read_text() or "search =" in file.read_text()
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_its_docstring_holds_the_command(file):
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert re.search(rf"(python|jaxhp run) {file.relative_to(ROOT)}", text)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_its_small_version_runs(file, tmp_path):
    is_search = re.search(r"^search = ", file.read_text(), re.M)
    command = ["-m", "jaxhp", "run", str(file), "--dir", str(tmp_path / "run")] if is_search else [str(file)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command, "--smoke"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    missing = re.search(r"ModuleNotFoundError: No module named '(\w+)'", done.stderr)
    if missing:
        pytest.skip(f"{file.name} needs {missing[1]}: pip install 'jaxhp[bench]'")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("name", ["AUC", "F1", "R2"])
def test_intervals_of_metrics_of_the_whole_set_hold_the_truth(name):
    """A small version of its table: 0.95 of 150 samples are at least 133 but for one time in 1,000."""
    spec = importlib.util.spec_from_file_location("whole_set_metrics", ROOT / "experiments/whole_set_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    simulated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulated)
    found = simulated.line(name, 300, 4, 150)
    assert found.covers >= 133 / 150
    assert abs(found.bias) < 0.3
    assert 0.8 < found.error < 1.25
