"""Trackers log a search while it runs: what they are asked for afterwards is what the search recorded."""

import csv
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from crash import STEP, Killed, dying
from small_search import digest, shared
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from watched import check, of_csv, of_tensorboard

import jaxhp as hp
from jaxhp.engine.events import Progressed, RoundBegan, RoundFinished, SearchBegan
from jaxhp.store.ledger import Ledger


def run(directory, *watch):
    return hp.Search.run(shared("halving"), directory, quiet=True, checkpoint_s=0, watch=watch)


def trackers(place):
    return hp.watch.TensorBoard(place / "logs"), hp.watch.CSV(place / "curves.csv")


def check_all(place, trials):
    (folder,) = (place / "logs").iterdir()
    assert folder.name.startswith("run-")
    check(of_tensorboard(folder), trials)
    check(of_csv(place / "curves.csv")[0], trials)
    return folder


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A search that was watched from its begin to its end, and what stood in its files after each event."""
    place, sizes = tmp_path_factory.mktemp("logged"), []

    def size(event):
        sizes.append((type(event), (place / "curves.csv").stat().st_size, len(list((place / "logs").rglob("*.jaxhp")))))

    result = run(place / "run", *trackers(place), size)
    assert result.digest == digest("halving")
    return place, result, sizes


def test_every_trial_and_every_number_of_its_curves_is_there_once(logged):
    place, result, _ = logged
    check_all(place, result.trials)
    configs = of_csv(place / "curves.csv")[1]
    assert {trial: float(of["lr"]) for trial, of in configs.items()} == {
        t.trial_id: t.config["lr"] for t in result.trials
    }


def test_curves_are_there_before_their_round_ends(logged):
    _, _, sizes = logged
    first = next(index for index, (kind, *_) in enumerate(sizes) if kind is Progressed)
    ends = next(index for index, (kind, *_) in enumerate(sizes) if kind is RoundFinished)
    assert sizes[first - 1][1:] < sizes[first][1:]
    assert first < ends


def test_the_choice_is_there_at_the_end(logged):
    place, result, _ = logged
    with open(place / "curves.trials.csv", newline="") as file:
        rows = {int(row["trial_id"]): row for row in csv.DictReader(file)}
    assert [trial for trial, row in rows.items() if row["chosen"] == "True"] == [result.best.trial_id]
    assert float(rows[result.best.trial_id]["score"]) == result.best.score
    (folder,) = (place / "logs").iterdir()
    root = EventAccumulator(str(folder)).Reload()
    (summary,) = root.Tensors("summary")
    assert (
        "\n".join(f"    {line}" for line in result.summary().splitlines())
        == summary.tensor_proto.string_val[0].decode()
    )
    experiment = metadata.parse_experiment_plugin_data(root.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert [info.name for info in experiment.hparam_infos] == ["lr"]


def test_what_was_logged_is_not_logged_again(logged, tmp_path):
    """By new trackers on the same places, and by a tracker that comes to a search that is finished."""
    place, result, _ = logged
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and "run/" not in str(path)}
    run(place / "run", *trackers(place))
    assert {path: path.read_bytes() for path in before} == before
    run(place / "run", *trackers(tmp_path))
    check_all(tmp_path, result.trials)


@pytest.mark.parametrize(
    ("point", "number"),
    [(STEP, 2), *(pytest.param(point, 2, marks=pytest.mark.slow) for point in ("round begun", "round finished"))],
)
def test_a_search_that_is_killed_and_resumed_is_logged_once(point, number, tmp_path):
    def out_of_reach(event):
        raise ConnectionError

    with pytest.raises(Killed):
        run(tmp_path / "run", *trackers(tmp_path), dying(point, number))
    with open(tmp_path / "curves.csv", "ab") as file:
        file.write(b"0123,0,0,9,error/va")  # what a kill leaves of a row
    for path in (tmp_path / "logs").rglob("*.jaxhp"):
        path.write_bytes(path.read_bytes()[:-3])
        break
    result = run(tmp_path / "run", *trackers(tmp_path))
    assert result.digest == digest("halving")
    check_all(tmp_path, result.trials)


def test_what_was_out_of_reach_follows(tmp_path):
    class Away(hp.watch.CSV):
        away = True

        def write(self, trial, new, there):
            super().write(trial, new[:2] if self.away else new, there)
            if self.away:  # which what was written does not tell
                raise ConnectionError("no server here")

    def come_back(event):
        if isinstance(event, RoundFinished):
            tracker.away = False

    tracker = Away(tmp_path / "curves.csv")
    result = run(tmp_path / "run", tracker, come_back)
    check(of_csv(tmp_path / "curves.csv")[0], result.trials)
    with Ledger(tmp_path / "run") as ledger:
        (warned,) = ledger.events("warning")
    assert "Away failed at Progressed (ConnectionError: no server here)" in warned["text"]


def test_logging_between_rounds_takes_a_tenth_of_the_time(tmp_path, monkeypatch):
    """On a clock of its own, where a call of the step takes a second and logging two."""

    class Slow(hp.watch.CSV):
        def write(self, trial, new, there):
            nonlocal now
            now += 2.0
            logged.append(max(point.epoch for point in new))

    now, logged = 0.0, []
    monkeypatch.setattr("jaxhp.interop.watch.tracker.time.monotonic", lambda: now)
    tracker = Slow(tmp_path / "curves.csv")
    manifest = {"space": hp.Space(lr=hp.Uniform(0, 1)).to_json()}
    tracker(SearchBegan(hp.Trials.of(()), "a", None, manifest))
    drafts = hp.Trials.of([hp.Trial(0, {"lr": 0.5})])
    tracker(RoundBegan(0, 1, 60, drafts))
    for epoch in range(1, 61):
        now += 1.0
        curve = np.ones((1, 60, 2, 1), np.float32)
        tracker(Progressed(np.arange(1), np.ones(1), epoch, 1, 1.0, False, 0, curve=curve, metrics=("error",)))
    assert logged == [1, 21, 41]


def test_a_file_of_somebody_else_is_left_as_it_is(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n3,4")
    assert run(tmp_path / "run", hp.watch.CSV(path)).digest == digest("halving")
    assert path.read_text() == "a,b\n1,2\n3,4"
    shown = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert np.isfinite(shown["best"]["score"])


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def greedy(folder):
    """An observer that writes until its disk is full, at every call of the step."""

    def fill(event):
        if isinstance(event, Progressed):
            with open(folder / "filler", "ab", buffering=0) as file:
                while file.write(bytes(4096)) == 4096:
                    pass
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fill


@pytest.mark.slow  # it mounts a disk
def test_trackers_on_a_full_disk_are_one_warning_each_and_follow_when_there_is_room(small_disk, tmp_path):
    def make_room(event):
        if isinstance(event, RoundFinished) and event.round == 1:
            (small_disk / "filler").unlink(missing_ok=True)

    watch = greedy(small_disk), *trackers(small_disk)
    result = run(tmp_path / "run", *watch, make_room)
    assert result.digest == digest("halving")
    with Ledger(tmp_path / "run") as ledger:
        warned = [event["text"] for event in ledger.events("warning")]
    assert 1 < len(warned) <= 3
    assert all("No space left on device" in text for text in warned)
    (small_disk / "filler").unlink(missing_ok=True)
    result = run(tmp_path / "run", *trackers(small_disk))
    check_all(small_disk, result.trials)


@pytest.mark.slow  # it mounts a disk
def test_a_search_whose_own_disk_an_observer_fills_stops_and_goes_on_to_the_same_digest(small_disk):
    with pytest.raises(OSError, match=r"full|No space left"):
        run(small_disk / "run", greedy(small_disk))
    (small_disk / "filler").unlink()
    assert run(small_disk / "run").digest == digest("halving")


@pytest.mark.parametrize(
    ("made", "package", "extra"),
    [
        (lambda folder: hp.watch.TensorBoard(folder), "tensorboardX", "tensorboard"),
        (lambda _: hp.watch.MLflow(), "mlflow", "mlflow"),
        (lambda _: hp.watch.WandB(), "wandb", "wandb"),
    ],
)
def test_a_missing_package_is_named(made, package, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(hp.Error, match=r"^watch: \w+ needs the package") as raised:
        made(tmp_path)
    assert str(raised.value).endswith(f"pip install {package}, or 'jaxhp[{extra}]'")
    assert "\n" not in str(raised.value)
