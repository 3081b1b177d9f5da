"""What does it cost to record 100,000 trials, and how long does `jaxhp show` take on them while more are recorded?

    python experiments/benchmarks/ledger.py            # a minute
    python experiments/benchmarks/ledger.py --smoke    # a few seconds, 2,000 trials

Records rounds of trials with four curves of ten epochs, two parameters and one replicate, each in two durable
transactions as a search does (asked, then measured), and draws the page of `jaxhp report`. Then, while another process
goes on recording rounds to the same ledger without a pause, starts `jaxhp show` as a process of its own, several times,
and the reading alone within this process.

Result on 2 cores with nothing else running: recorded in 0.27 s, 0.46% of a minute, 23 MB; the page takes 4.0 s and has
0.23 MB. While the other process records, the ten best are read in 0.06 to 0.10 s, and `jaxhp show` takes 0.22 to 0.32 s
in all: what only reads does not import JAX. On a machine half as fast, now that the whole file is checked when it is
opened: recorded in 0.83 s, 1.4% of a minute, read in 0.17 to 0.26 s, `jaxhp show` in 0.56 to 0.82 s.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from jaxhp.report.page import write_report
from jaxhp.report.result import Result
from jaxhp.store.files import write_json
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Status, Trial, Trials

EPOCHS, MINUTE = 10, 60.0
SPACE = {
    "parameters": {
        "lr": {"kind": "LogUniform", "low": 1e-6, "high": 1e-2},
        "weight_decay": {"kind": "LogUniform", "low": 1e-8, "high": 1e-4},
    },
    "fixed": {},
}
CURVES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")


def round_of(number: int, size: int) -> tuple[Round, list[Trial], list[Trial]]:
    """A round as it is asked, and its trials before and after training."""
    rng = np.random.default_rng(number)
    ids = np.arange(number * size, (number + 1) * size, dtype=np.int32)
    unit, curve = rng.random((size, 2), dtype=np.float32), rng.random((size, EPOCHS, len(CURVES)), dtype=np.float32)
    lr, decay = 10 ** (4.0 * unit[:, 0] - 6), 10 ** (4.0 * unit[:, 1] - 8)
    configs = [{"lr": a, "weight_decay": b} for a, b in zip(lr.tolist(), decay.tolist(), strict=True)]
    drafts = [Trial(i, config, number) for i, config in zip(ids.tolist(), configs, strict=True)]
    measured = [
        Trial(
            draft.trial_id,
            draft.config,
            number,
            Status.COMPLETE,
            EPOCHS,
            score,
            0.01,
            {name: curve[row, :, c] for c, name in enumerate(CURVES)},
            (score,),
        )
        for row, (draft, score) in enumerate(zip(drafts, curve[:, -1, -1].tolist(), strict=True))
    ]
    return Round(number, EPOCHS, unit, ids * 0 - 1, ids), drafts, measured


def record(ledger: Ledger, number: int, size: int) -> float:
    """Records a round, and returns the seconds that took."""
    asked, drafts, measured = round_of(number, size)
    scores = np.asarray([t.score for t in measured], np.float32)
    began = time.perf_counter()
    ledger.begin(asked, Trials.of(drafts))
    ledger.finish(number, Trials.of(measured), scores, 1.0)
    return time.perf_counter() - began


def go_on(directory: Path, first: int, size: int, stop: Event) -> None:
    """Records rounds until it is told to stop."""
    with Ledger(directory, write=True) as ledger:
        number = first
        while not stop.is_set():
            record(ledger, number, size)
            number += 1


def show(directory: Path) -> float:
    """Seconds of `jaxhp show` in a process of its own."""
    began = time.perf_counter()
    shown = subprocess.run(
        [sys.executable, "-m", "jaxhp", "show", str(directory)], check=True, capture_output=True, text=True
    )
    took = time.perf_counter() - began
    if len(shown.stdout.splitlines()) < 11:
        sys.exit(f"expected a table of ten trials, got {shown.stdout}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--round", type=int, default=1000, help="trials of a round")
    options = parser.parse_args()
    trials, size = (2_000, 100) if options.smoke else (100_000, options.round)
    with tempfile.TemporaryDirectory(prefix="ledger_benchmark_") as folder:
        directory = Path(folder)
        with Ledger(directory, write=True) as ledger:
            write_json(directory / "manifest.json", {"metric": "accuracy", "mode": "max", "space": SPACE})
            took = sum(record(ledger, number, size) for number in range(trials // size))
        size_mb = (directory / "ledger.sqlite").stat().st_size / 1e6
        share = took / MINUTE
        print(f"{trials} trials, {size} a round: recorded in {took:.2f} s, {share:.2%} of a minute; {size_mb:.0f} MB")
        began = time.perf_counter()
        page = write_report(directory, directory / "report.html")
        drawn, page_mb = time.perf_counter() - began, page.stat().st_size / 1e6
        print(f"the page about them: {drawn:.1f} s, {page_mb:.2f} MB")
        stop = multiprocessing.Event()
        writer = multiprocessing.Process(target=go_on, args=(directory, trials // size, size, stop))
        writer.start()
        time.sleep(0.5)
        reading, showing = [], []
        for _ in range(5):
            began = time.perf_counter()
            Result.load(directory, top=10).summary()
            reading.append(time.perf_counter() - began)
            showing.append(show(directory))
        stop.set()
        writer.join()
        print(f"reading the ten best while a writer is active: {min(reading):.2f} to {max(reading):.2f} s")
        print(f"jaxhp show while a writer is active: {min(showing):.2f} to {max(showing):.2f} s")


if __name__ == "__main__":
    main()
