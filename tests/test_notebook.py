"""A notebook in a real kernel: the tour runs and shows pictures; an interrupted cell keeps what is finished."""

import base64
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TOUR = ROOT / "experiments/tour.ipynb"
CELL = """
import sys
sys.path.insert(0, {tests!r})
import jaxhp as hp
from jaxhp.engine.events import Progressed, RoundFinished
from jaxhp.strategies import Halving
from small_search import search

kept, finished = 41, []

def tell(event):
    if isinstance(event, RoundFinished):
        finished.append(event.round)
    if isinstance(event, Progressed) and finished:
        print("training", flush=True)

long = search("halving", strategy=Halving(population=9, eta=3, min_epochs=3), epochs=300_000)
"""


@pytest.fixture
def sockets():
    """A folder whose path is short enough for them."""
    with tempfile.TemporaryDirectory(prefix="jaxhp-") as folder:
        yield Path(folder)


@pytest.fixture
def kernel(monkeypatch, tmp_path, sockets):
    """Runs cells: gives what they told, and interrupts `times` as soon as one says that it is training."""
    managing = pytest.importorskip("jupyter_client.manager")
    manager = managing.KernelManager(kernel_name="python3", transport="ipc", ip=str(sockets / "s"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=600)

    def run(code: str, times: int = 0) -> list[tuple[str, dict]]:
        sent, told = client.execute(code), []
        while True:
            message = client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return told
            told.append((kind, content))
            if times and kind == "stream" and "training" in content["text"]:
                manager.interrupt_kernel()
                times -= 1

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def said(told, *kinds):
    return "".join(content.get("text", "") for kind, content in told if kind in kinds)


@pytest.mark.slow
def test_an_interrupted_cell_without_a_directory_keeps_the_rounds_that_are_finished(kernel):
    kernel(CELL.format(tests=str(ROOT / "tests")))
    told = kernel("result = long.run(watch=[tell])", times=1)
    (error,) = (content for kind, content in told if kind == "error")
    text = "stopped; 1 of 11 rounds are finished and kept: import sys; result = sys.last_value.result"
    assert error["traceback"] == [f"Stopped: {text}"]
    assert any(kind == "update_display_data" for kind, _ in told)
    shown = kernel("import sys; result = sys.last_value.result\nprint(result.summary()); result.best.params['w'].shape")
    assert "stopped by SIGINT: 1 of 11 rounds finished, round 2 under way" in said(shown, "stream")
    assert [content["data"]["text/plain"] for kind, content in shown if kind == "execute_result"] == ["(4, 2)"]
    (html,) = (content["data"]["text/html"] for kind, content in kernel("result") if kind == "execute_result")
    assert "<svg" in html


@pytest.mark.slow
def test_no_number_of_interrupts_ends_the_kernel_of_a_search_with_a_directory(kernel, tmp_path):
    kernel(CELL.format(tests=str(ROOT / "tests")))
    told = kernel("finished.append(-1); long.run('run', watch=[tell])", times=3)
    (error,) = (content for kind, content in told if kind == "error")
    assert error["ename"] in ("Stopped", "KeyboardInterrupt")
    assert said(kernel("print(kept, hp.Result.load('run').stage.begun > 0)"), "stream") == "41 True\n"


@pytest.mark.slow
def test_the_tour_runs_and_shows_what_it_found(tmp_path, sockets):
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbconvert")
    command = ["nbconvert", "--to", "notebook", "--execute", TOUR, "--output-dir", tmp_path, "--output", "done"]
    options = ["--KernelManager.transport=ipc", f"--KernelManager.ip={sockets / 's'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", *command, *options], check=True, env=environment, capture_output=True)
    tour = nbformat.read(tmp_path / "done.ipynb", 4)
    shown = {cell.source.split("\n")[-1]: cell.outputs for cell in tour.cells if cell.cell_type == "code"}
    (progress,) = shown["result = search.run()"]
    assert re.search(r"finals\s+epoch 5/5", progress.data["text/html"])  # renewed until the last, and the last stays
    (result,) = shown["result"]
    assert "95% interval" in result.data["text/html"]
    pictures = [o.data["image/png"] for outputs in shown.values() for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 5
    for picture in pictures:
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L")).std() > 10
    assert not [o for outputs in shown.values() for o in outputs if o.output_type in ("stream", "error")]


def test_the_tour_is_kept_without_what_it_shows():
    assert '"outputs": [\n' not in TOUR.read_text()
    assert TOUR.stat().st_size < 5000
