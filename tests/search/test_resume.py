import json
import os
import pickletools
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from crash import OTHERS, POINTS, Killed, dying
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from small_search import Shared, digest, search, shared, task

import jaxhp as hp
from jaxhp.engine.environment import differences
from jaxhp.engine.population import Population
from jaxhp.report.result import Result
from jaxhp.search.manifest import claim
from jaxhp.search.signals import Signals, Stopped
from jaxhp.store import files, params
from jaxhp.store.checkpoints import Checkpoints
from jaxhp.store.ledger import BEST, Ledger, Round
from jaxhp.strategies import Random
from jaxhp.tasks.traces import traces
from jaxhp.trials import Trial, Trials


@pytest.fixture
def die_at(monkeypatch):
    """Lets the next runs die at the n-th passing of a crash point."""

    def at(point: str, number: int = 1) -> None:
        monkeypatch.setattr(Shared, "watch", (dying(point, number),))

    return at


@pytest.fixture
def steps(monkeypatch):
    """What the compiled step is called with: (tiles, first epoch, last epoch); `interrupt` runs before a call."""

    class Steps(list):
        interrupt = staticmethod(lambda number: None)

    calls, step = Steps(), Population.step

    def counted(self, state, configs, trials, layout, start, stop):
        calls.append((layout.tiles, int(np.min(start)), int(stop)))
        calls.interrupt(len(calls))
        return step(self, state, configs, trials, layout, start, stop)

    monkeypatch.setattr(Population, "step", counted)
    return calls


def run(kind: str, directory: Path, **changes) -> Result:
    return shared(kind, **changes).run(directory, quiet=True, checkpoint_s=0)


QUICK = ["manifest written", "round begun", "step done", "checkpoint named", "round finished", "search finished"]


@pytest.mark.parametrize(
    ("kind", "point"),
    [("halving", point) for point in QUICK]
    + [pytest.param(k, p, marks=pytest.mark.slow) for k in ("random", "halving", "pbt") for p in POINTS],
)
def test_a_search_that_dies_at_any_point_ends_the_same(kind, point, tmp_path, die_at):
    for number in (1, 2):
        die_at(point, number)
        directory = tmp_path / str(number)
        try:
            run(kind, directory)
        except Killed:
            die_at("")
            assert run(kind, directory).digest == digest(kind)
        assert Result.load(directory).digest == digest(kind)
        with Ledger(directory) as ledger:
            assert {saved.round for saved in ledger.checkpoints()} <= {BEST}
            names = {saved.name for saved in ledger.checkpoints()}
        assert {path.name for path in directory.glob("checkpoints/*")} == names
        shutil.rmtree(directory)


def test_every_crash_point_is_passed(tmp_path, die_at):
    missed = []
    for point in POINTS:
        die_at(point)
        try:
            shared("pbt", finals=hp.Finals(2, 4)).run(tmp_path / point, quiet=True, checkpoint_s=0)
            missed.append(point)
        except Killed:
            pass
    assert {*missed} == OTHERS


def test_deaths_in_a_row_never_lose_what_was_recorded(tmp_path, die_at):
    seen: set[int] = set()
    for _ in range(20):
        die_at("step done", 2)
        try:
            run("pbt", tmp_path)
            break
        except Killed:
            with Ledger(tmp_path) as ledger:
                now = {t.trial_id for t in ledger.trials() if t.epochs}
            assert seen <= now
            seen = now
    die_at("")
    assert Result.load(tmp_path).digest == digest("pbt")


@pytest.mark.parametrize("kind", ["random", "halving", "pbt"])
def test_members_are_trained_again_where_no_checkpoint_was_written(kind, tmp_path, die_at):
    die_at("round finished", 2)
    with pytest.raises(Killed):
        shared(kind).run(tmp_path, quiet=True)
    with Ledger(tmp_path) as ledger:
        assert not ledger.checkpoints()
    die_at("")
    assert shared(kind).run(tmp_path, quiet=True).digest == digest(kind)


def test_a_resumed_round_goes_on_from_its_checkpoint(tmp_path, die_at, steps):
    die_at("checkpoint named", 1)
    with pytest.raises(Killed):
        run("random", tmp_path)
    reached = steps[-1][2]
    assert reached < 9
    die_at("")
    steps.clear()
    assert run("random", tmp_path).digest == digest("random")
    assert steps[0][1:] == (reached, reached + 1)


@pytest.mark.parametrize("kind", ["random", "halving", "pbt"])
@pytest.mark.parametrize("number", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 7))])
def test_a_search_in_waves_resumes_in_the_middle_of_one(kind, number, tmp_path, steps, monkeypatch):
    whole, small = digest(kind), shared(kind)
    steps.clear()
    monkeypatch.setattr(type(small), "at_most", 4)

    def die(count: int) -> None:
        if count == number:
            raise Killed

    steps.interrupt = die
    with pytest.raises(Killed):
        small.run(tmp_path, quiet=True, checkpoint_s=0)
    assert max(tiles for tiles, _, _ in steps) <= 2
    steps.interrupt = lambda count: None
    assert small.run(tmp_path, quiet=True, checkpoint_s=0).digest == whole


def damage(path: Path) -> None:
    """Flips a bit in the middle of every file below."""
    for file in path.rglob("*"):
        if file.is_file() and file.stat().st_size:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)


def cut(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("harm", [damage, cut, shutil.rmtree])
@pytest.mark.parametrize("how_many", [1, 2])
def test_a_damaged_checkpoint_is_passed_over(harm, how_many, tmp_path, die_at):
    die_at("checkpoint named", 5)
    with pytest.raises(Killed):
        run("pbt", tmp_path)
    with Ledger(tmp_path) as ledger:
        names = [saved.name for saved in ledger.checkpoints()][:how_many]
    for name in names:
        harm(tmp_path / "checkpoints" / name)
    die_at("")
    assert run("pbt", tmp_path).digest == digest("pbt")
    with Ledger(tmp_path) as ledger:
        warnings = [event["text"] for event in ledger.events("warning")]
    assert any(f"checkpoint {names[0]} is damaged" in text for text in warnings)


def test_what_a_kill_left_behind_is_removed(tmp_path, die_at):
    die_at("checkpoint written", 2)
    with pytest.raises(Killed):
        run("halving", tmp_path)
    (tmp_path / "checkpoints" / "00000-000009.orbax-checkpoint-tmp").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (tmp_path / "checkpoints" / "00000-000008").symlink_to(outside)
    mine = ("notes.txt", "epoch-3", "00001-000001.txt", "link")
    for name in mine[:3]:
        (tmp_path / "checkpoints" / name).write_text("x")
    (tmp_path / "checkpoints" / "link").symlink_to(outside)
    with Ledger(tmp_path, write=True) as ledger:
        Checkpoints(ledger)
        assert {entry.name for entry in (tmp_path / "checkpoints").iterdir()} == {
            *(saved.name for saved in ledger.checkpoints()),
            *mine,
        }
    assert (outside / "precious").exists()


def test_orbax_is_not_imported_where_there_is_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)  # so that an import fails
    with Ledger(tmp_path, write=True) as ledger:
        assert not list(Checkpoints(ledger).load(0, complete=False, decode=dict))


def test_names_of_checkpoints_are_not_trusted(tmp_path, die_at):
    die_at("checkpoint named", 1)
    with pytest.raises(Killed):
        run("random", tmp_path / "run")
    precious = tmp_path / "precious"
    precious.mkdir()
    with Ledger(tmp_path / "run", write=True) as ledger:
        saved = ledger.checkpoints()[0]
        ledger.forget_checkpoint(saved)
        ledger.name_checkpoint(saved._replace(name="../../precious"))
    die_at("")
    assert run("random", tmp_path / "run").digest == digest("random")
    assert precious.is_dir()


def test_links_do_not_lead_a_writer_out_of_the_directory(tmp_path, die_at):
    die_at("checkpoint named", 1)
    with pytest.raises(Killed):
        run("random", tmp_path / "run")
    die_at("")
    precious = tmp_path / "precious"
    precious.write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").write_text("x")
    for name, expected in (
        ("lock", "expected a writable directory"),
        ("ledger.sqlite", "expected a ledger, got a link"),
        ("checkpoints", "expected a folder, got a link"),
    ):
        path, aside = tmp_path / "run" / name, tmp_path / "aside"
        path.rename(aside)
        path.symlink_to(tmp_path / "folder" if name == "checkpoints" else precious)
        with pytest.raises((ValueError, OSError), match=expected):
            run("random", tmp_path / "run")
        path.unlink()
        aside.rename(path)
    (tmp_path / "run" / "summary.json.tmp").symlink_to(precious)
    assert run("random", tmp_path / "run").digest == digest("random")
    assert precious.read_text() == (tmp_path / "folder" / "inside").read_text() == "x"


def test_nothing_in_a_run_directory_is_a_pickle(tmp_path, die_at):
    """Neither while it runs, with checkpoints of a finished round and of one under way, nor at the end."""

    def pickles() -> list[Path]:
        found = []
        for path in filter(Path.is_file, tmp_path.rglob("*")):
            content = path.read_bytes()
            if content.startswith(b"\x80") or path.suffix in (".pkl", ".pickle"):
                found.append(path)
            try:
                list(pickletools.genops(content))
                found.append(path)
            except Exception:  # not even readable as one
                continue
        return found

    die_at("checkpoint named", 4)
    with pytest.raises(Killed):
        run("pbt", tmp_path)
    with Ledger(tmp_path) as ledger:
        assert {saved.complete for saved in ledger.checkpoints()} == {True, False}
    assert not pickles()
    die_at("")
    run("pbt", tmp_path)
    assert not pickles()


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_the_digest_does_not_depend_on_the_number_of_calls(seconds, monkeypatch, steps):
    whole = digest("halving")
    steps.clear()
    monkeypatch.setattr(sys.modules["jaxhp.engine.local"], "_STEP_SECONDS", seconds)
    assert shared("halving").run(quiet=True).digest == whole
    assert len(steps) == (9 if seconds == 0 else 5)  # a rung's first call is of one epoch


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the number of devices is set for CPUs alone")
@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 3])
def test_the_digest_does_not_depend_on_the_number_of_devices(devices, tmp_path):
    script = "import sys, jax; from small_search import search; search(sys.argv[1]).run(sys.argv[2], quiet=True)"
    done = subprocess.run(
        [sys.executable, "-c", script, "pbt", str(tmp_path)],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert files.read_json(tmp_path / "manifest.json")["environment"]["devices"] == devices
    assert Result.load(tmp_path).digest == digest("pbt")


def test_the_summary_tells_this_run_from_those_before(tmp_path, die_at):
    die_at("round finished", 1)
    with pytest.raises(Killed):
        run("random", tmp_path)
    die_at("")
    run("random", tmp_path)
    summary = files.read_json(tmp_path / "summary.json")
    assert summary["earlier_runs"]["runs"] == 1
    assert summary["earlier_runs"]["epochs_trained"] == summary["epochs_trained"] == 9 * 9
    assert summary["earlier_runs"]["wall_s"] >= summary["earlier_runs"]["step_s"] > 0
    assert summary["members"] == 2 * 9


def test_a_signal_saves_and_a_resume_goes_on(tmp_path, steps, capsys, monkeypatch):
    """In the middle of the last round, which takes six calls however slow the machine is."""
    monkeypatch.setattr(sys.modules["jaxhp.engine.local"], "_STEP_SECONDS", 0.0)  # a call an epoch
    listening, enter = [], Signals.__enter__
    monkeypatch.setattr(Signals, "__enter__", lambda self: listening.append(self) or enter(self))

    def interrupt(count: int) -> None:
        if count == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            while listening[-1].received is None:  # a thread of its own is told
                time.sleep(0.001)

    steps.interrupt = interrupt
    with pytest.raises(Stopped) as stopped:
        shared("halving").run(tmp_path, quiet=True)
    assert "Go on with: " in str(stopped.value)
    shown = capsys.readouterr().err
    assert "SIGTERM: stopping after this step; once more to stop at once" in shown
    assert "everything so far is recorded. Go on with: " in shown
    with Ledger(tmp_path) as ledger:
        assert ledger.checkpoints()
        assert ledger.events("stopped")[0]["signal"] == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    steps.interrupt = lambda count: None
    assert shared("halving").run(tmp_path, quiet=True).digest == digest("halving")


def test_a_finished_search_is_read_and_not_run(tmp_path, steps):
    first = run("random", tmp_path)
    summary = (tmp_path / "summary.json").read_text()
    steps.clear()
    assert run("random", tmp_path).digest == first.digest
    assert not steps
    assert (tmp_path / "summary.json").read_text() == summary


@pytest.mark.parametrize(
    ("named", "changes"),
    [
        ("seed is 0, now it is 1", {"seed": 1}),
        ("epochs is 9, now it is 8", {"epochs": 8}),
        ("space.parameters.lr.high is 10.0, now it is 20.0", {"space": hp.Space(lr=hp.LogUniform(1e-3, 20.0))}),
        ("population=9, rounds=2", {"strategy": Random(population=9, rounds=3)}),
        ("tile is 2, now it is 4", {"tile": 4}),
        ("paired is True, now it is False", {"paired": False}),
        ("its task is ", {"task": task(scale=0.4)}),
        ("its task is ", {"task": task(optimizer=lambda config: optax.adam(config["lr"]))}),
        ("its data is ", {"task": task(valid={"x": np.zeros((10, 4), "f4"), "y": np.zeros(10, "f4")})}),
    ],
)
def test_another_search_is_refused_and_the_difference_named(named, changes, tmp_path):
    made = tmp_path / "run"
    with Ledger(made, write=True) as ledger:
        trained(ledger)
    (made / "manifest.json").write_text(json.dumps(shared("random").manifest()))
    with pytest.raises(ValueError, match="holds another search") as refused:
        search("random", **changes).run(made, quiet=True)
    assert named in str(refused.value)
    assert not re.search("[0-9a-f]{40}", str(refused.value))  # which say nothing to a person
    assert "Run this one in another directory; warm_start=" in str(refused.value)


def trained(ledger: Ledger) -> None:
    """Record a round of one trial."""
    ids, score = np.zeros(1, np.int32), np.ones(1, np.float32)
    ledger.begin(Round(0, 9, score[:, None], ids - 1, ids), Trials.of([Trial(0, {"lr": 1.0})]))
    ledger.finish(0, Trials.of([Trial(0, {"lr": 1.0}, score=1.0, replicate_scores=(1.0,))]), score, 1.0)


def edit(directory: Path, **changes) -> None:
    manifest = files.read_json(directory / "manifest.json")
    manifest["environment"] |= changes
    files.write_json(directory / "manifest.json", manifest)


def test_another_environment_needs_a_flag_and_another_count_of_devices_does_not(tmp_path, die_at, capsys):
    die_at("round finished")
    with pytest.raises(Killed):
        run("random", tmp_path)
    die_at("")
    edit(tmp_path, jaxlib="0.9.9", devices=99)
    with pytest.raises(ValueError, match=r"its jaxlib is '0\.9\.9', now it is .*accept_environment"):
        run("random", tmp_path)
    result = shared("random").run(tmp_path, accept_environment=True)
    shown = capsys.readouterr().out
    assert "its devices is 99, now it is" in shown
    assert "results stay the same" in shown
    assert "may differ in its last bits" in shown
    assert result.digest == digest("random")


@pytest.mark.slow
def test_the_tile_of_the_manifest_is_used_again(tmp_path, monkeypatch):
    automatic = search("random", tile=None)
    with pytest.raises(Killed):
        automatic.run(tmp_path, quiet=True, watch=[dying("manifest written")])
    tile = files.read_json(tmp_path / "manifest.json")["tile"]
    monkeypatch.setattr(sys.modules["jaxhp.search.asked"], "default_tile", lambda *_: tile + 1)
    assert automatic.manifest()["tile"] == tile + 1
    automatic.run(tmp_path, quiet=True)
    assert files.read_json(tmp_path / "manifest.json")["tile"] == tile


def test_a_strategy_that_asks_for_something_else_is_overruled_by_the_record(tmp_path, die_at, monkeypatch, capsys):
    die_at("round finished")
    with pytest.raises(Killed):
        run("random", tmp_path)
    die_at("")
    with Ledger(tmp_path) as ledger:
        before = [t.config for t in ledger.trials()]
    ask = Random.ask

    def other(self, state):
        proposal, state = ask(self, state)
        return proposal._replace(unit=np.asarray(proposal.unit)[::-1]), state

    monkeypatch.setattr(Random, "ask", other)
    result = shared("random").run(tmp_path)
    assert "round 1: other points are asked for now than were recorded; the recorded count" in capsys.readouterr().out
    assert [t.config for t in sorted(result.trials, key=lambda t: t.trial_id)][: len(before)] == before


def test_missing_parts_of_a_directory_are_named(tmp_path):
    run("random", tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ValueError, match="the manifest is missing, but the ledger holds a search"):
        run("random", tmp_path)
    files.write_json(tmp_path / "manifest.json", shared("random").manifest())
    (tmp_path / "ledger.sqlite").unlink()
    with pytest.raises(ValueError, match="the ledger is missing or empty"):
        run("random", tmp_path)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["seed", "tile", "space", "environment", "task", "x"]), json_values))
def test_any_manifest_is_refused_with_one_line(tmp_path_factory, changes):
    directory = tmp_path_factory.mktemp("manifest")
    manifest = shared("random").manifest()
    files.write_json(directory / "manifest.json", manifest | changes)
    with Ledger(None, write=True) as ledger:
        ledger.directory = directory
        trained(ledger)
        if differences(manifest, manifest | changes):
            with pytest.raises(ValueError, match=r"dir: .* holds another search|was begun elsewhere"):
                claim(ledger, manifest, accept_environment=False)


def test_the_fingerprint_of_a_task_is_of_what_it_computes():
    def of(changed: hp.Task) -> str:
        spec = search("random", task=changed).groups.first
        return traces(spec.task, spec.shapes, spec.abstract).program

    assert of(task()) == of(task())
    assert len({of(task()), of(task(scale=0.4)), of(task(optimizer=lambda c: optax.sgd(c["lr"])))}) == 3


def test_a_search_is_told_from_one_whose_functions_read_another_global_by_now():
    """As in a notebook, where the cell with the global is run again and the one with the task is not."""
    factor = [1.0]
    of = task(loss=lambda params, batch, key, config: factor[0] * jnp.sum(params["w"] ** 2))
    found, fresh = search("random", task=of), search("random", task=of)
    before = found.manifest()["task"]
    found.plan()
    factor[0] = 2.0
    now = fresh.manifest()["task"]
    assert now != before
    assert found.manifest()["task"] == now


def test_the_number_of_examples_of_a_training_curve_tells_searches_apart_whatever_it_is_said_by():
    def seen(asked, **options):
        return search("random", task=task(train_examples=asked), **options).groups.identity()["train_examples"]

    assert [seen(asked) for asked in (None, 10, "all")] == [10, 10, 30]  # 30 to train on, 10 to validate
    assert seen(None, folds=5) == 8  # of 40 in five folds


def test_the_best_network_is_kept_and_read_without_this_library(tmp_path):
    result = shared("halving", finals=hp.Finals(2, 4)).run(tmp_path, quiet=True)
    arrays = load_file(tmp_path / "best.safetensors")
    assert list(arrays) == ["w"]
    assert np.array_equal(arrays["w"], result.best.params["w"])
    assert np.array_equal(Result.load(tmp_path).best.params["w"], arrays["w"])
    assert params.facts(tmp_path / "best.safetensors")["trial_id"] == result.best.trial_id
    of = shared("halving").task
    error = np.mean(of.evaluate({"w": arrays["w"]}, of.valid, {})["error"])
    assert np.isclose(error, result.best.replicate_scores[0], rtol=1e-5)


@pytest.mark.parametrize("kind", ["random", "halving", "pbt"])
def test_a_network_trained_again_is_the_one_that_was_measured(kind, tmp_path, die_at):
    whole = shared(kind).run(tmp_path / "whole", quiet=True)
    die_at("parameters written")
    with pytest.raises(Killed):
        shared(kind).run(tmp_path / "killed", quiet=True)
    (tmp_path / "killed" / "best.safetensors").unlink()
    die_at("")
    again = shared(kind).run(tmp_path / "killed", quiet=True)
    assert np.array_equal(again.best.params["w"], whole.best.params["w"])


@settings(max_examples=60)
@given(st.integers(0, 300), st.binary(min_size=1, max_size=8))
def test_any_file_of_parameters_is_read_or_gives_one_error(tmp_path_factory, place, content):
    path = tmp_path_factory.getbasetemp() / "some.safetensors"
    params.save(path, {"a": [np.zeros(3, "f4")], "b": np.ones((2, 2), "i4")}, trial_id=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + content + whole[place + len(content) :])
    try:
        params.load(path)
    except ValueError as error:
        assert "expected parameters, got" in str(error)  # noqa: PT017
