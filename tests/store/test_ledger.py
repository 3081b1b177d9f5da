import json
import os
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxhp.store.files import read_json, write_json
from jaxhp.store.ledger import Ledger, Round, Saved, columns
from jaxhp.trials import Status, Trial, Trials, rank

NAN = float("nan")


def trial(number: int, score: float = 0.5, **changes) -> Trial:
    known = {
        "trial_id": number,
        "config": {"lr": 0.1 * (number + 1), "layers": number, "kind": "sgd"},
        "status": Status.COMPLETE if np.isfinite(score) else Status.DIVERGED,
        "epochs": 2,
        "score": float(np.float32(score)),
        "stderr": 0.25,
        "curve": {"train_x": np.float32([1, score]), "valid_x": np.float32([2, score])},
        "replicate_scores": (float(np.float32(score)), 0.5),
        "diverged_at": 0 if np.isfinite(score) else 2,
    }
    return Trial(**(known | changes))


def record(ledger: Ledger, number: int, trials: list[Trial], finish: bool = True) -> None:
    ids = np.asarray([t.trial_id for t in trials], np.int32)
    unit = np.zeros((len(ids), 2), np.float32)
    ledger.begin(
        Round(number, 2, unit, ids * 0 - 1, ids),
        Trials.of(Trial(t.trial_id, t.config, t.round, parent=t.parent) for t in trials),
    )
    if finish:
        ledger.finish(number, Trials.of(trials), np.float32([t.score for t in trials]), 0.1)


def facts(t: Trial) -> str:
    return repr({**vars(t), "curve": {name: curve.tolist() for name, curve in t.curve.items()}})


@pytest.fixture
def filled(tmp_path):
    """A closed ledger of two rounds, finals and a checkpoint's name."""
    with Ledger(tmp_path / "run", write=True) as ledger:
        record(ledger, 0, [trial(i, s) for i, s in enumerate((0.1, NAN, 0.3))])
        record(ledger, 1, [trial(2, 0.4, epochs=4), trial(3, 0.2, parent=2)])
        ledger.record_finals({2: np.float32([0.1, 0.2])}, json.dumps({"trial_id": 2}))
        ledger.name_checkpoint(Saved(1, 1, True, "00001-000001", "ab"))
        ledger.event("warning", text="careful")
    return tmp_path / "run"


def test_what_is_recorded_is_read_back(filled):
    with Ledger(filled) as ledger:
        found = ledger.trials()
        expected = [trial(0, 0.1), trial(1, NAN), trial(2, 0.4, epochs=4), trial(3, 0.2, parent=2)]
        assert [facts(t) for t in found] == [facts(t) for t in expected]
        asked = ledger.round(1)
        assert asked is not None
        assert asked.trials.tolist() == [2, 3]
        assert asked.scores is not None
        assert np.array_equal(asked.scores, np.float32([0.4, 0.2]))
        assert ledger.round(2) is None
        assert ledger.finals()[2].tolist() == np.float32([0.1, 0.2]).tolist()
        assert ledger.checkpoints() == [Saved(1, 1, True, "00001-000001", "ab")]
        assert ledger.events("diverged")[0]["epoch_by_trial"] == {"1": 2}


def test_a_ledger_that_is_just_being_made_is_not_one_yet(tmp_path):
    (tmp_path / "ledger.sqlite").touch()
    with pytest.raises(ValueError, match="found an empty one: its search is beginning"):
        Ledger(tmp_path)


def test_conditional_parameters_are_absent_where_they_do_not_exist(tmp_path):
    configs = [{"kind": "a", "width": 3}, {"kind": "b"}, {"kind": "b", "flag": True, "big": 2**70}]
    with Ledger(tmp_path, write=True) as ledger:
        record(ledger, 0, [trial(i, config=config) for i, config in enumerate(configs)])
        assert [t.config for t in ledger.trials()] == configs


def test_running_trials_never_count(filled):
    with Ledger(filled, write=True) as ledger:
        before = ledger.digest(), [facts(t) for t in ledger.best("max", 10)]
        record(ledger, 2, [trial(2), trial(9, 99.0)], finish=False)
        assert (ledger.digest(), [facts(t) for t in ledger.best("max", 10)][:-1]) == before
        statuses = {t.trial_id: t.status for t in ledger.trials()}
        assert statuses[9] is Status.RUNNING
        assert statuses[2] is Status.COMPLETE


def test_a_round_that_fails_to_be_recorded_leaves_nothing(tmp_path):
    with Ledger(tmp_path, write=True) as ledger:
        record(ledger, 0, [trial(0)])
        before = ledger.digest()
        record(ledger, 1, [trial(1)], finish=False)
        with pytest.raises(sqlite3.Error):
            ledger.finish(1, Trials.of([trial(1)]), np.float32([0.5]), wall_s=object())  # type: ignore[arg-type]
        assert ledger.digest() == before
        asked = ledger.round(1)
        assert asked is not None
        assert asked.scores is None


scores = st.one_of(st.just(NAN), st.floats(-1, 1, width=32), st.sampled_from([0.0, -0.0, 0.5]))


@settings(max_examples=25)
@given(
    st.lists(st.lists(scores, min_size=1, max_size=5), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(["min", "max"]),
)
def test_best_is_the_order_of_ranking(rounds, running, mode):
    with Ledger(None, write=True) as ledger:
        for number, values in enumerate(rounds):  # each trains the first trials further
            trained = [trial(i, s, epochs=number + 1) for i, s in enumerate(values)]
            record(ledger, number, trained, finish=not running or number + 1 < len(rounds))
        expected = [facts(t) for t in rank(ledger.trials(curves=False), mode)]
        assert [facts(t) for t in ledger.best(mode, 100)] == expected
        assert [facts(t) for t in ledger.best(mode, 2)] == expected[:2]


def test_digest_sees_every_fact_and_nothing_else():
    def digest(*rounds: list[Trial], finals: float = 0.5) -> str:
        with Ledger(None, write=True) as ledger:
            for number, trials in enumerate(rounds):
                record(ledger, number, trials)
            ledger.record_finals({0: np.float32([finals])})
            return ledger.digest()

    base = digest([trial(0), trial(1)])
    assert digest([trial(1)], [trial(0)]) == base  # rounds, their order and times are not part of it
    changes = [
        {"config": {"lr": 0.1 + 1e-12, "layers": 0, "kind": "sgd"}},
        {"score": float(np.nextafter(np.float32(0.5), np.float32(1)))},
        {"epochs": 3},
        {"status": Status.STOPPED},
        {"parent": 1},
        {"diverged_at": 1},
        {"replicate_scores": (0.5, 0.25)},
        {"curve": {"train_x": np.float32([1, 0.5]), "valid_x": np.float32([2, 0.25])}},
    ]
    digests = [digest([trial(0, **change), trial(1)]) for change in changes]
    digests += [digest([trial(0)]), digest([trial(0), trial(1)], finals=0.25)]
    assert len({base, *digests}) == len(digests) + 1


def test_one_writer_and_many_readers(filled):
    with Ledger(filled, write=True) as writer, Ledger(filled) as reader:
        with pytest.raises(ValueError, match=f"another process \\(pid {os.getpid()}\\) is running this search"):
            Ledger(filled, write=True)
        before = reader.digest()
        record(writer, 2, [trial(7)])
        assert reader.digest() != before
    Ledger(filled, write=True).close()


def test_a_reader_sees_one_moment_while_a_round_is_finished(filled):
    with Ledger(filled, write=True) as writer, Ledger(filled) as reader:
        record(writer, 2, [trial(7)], finish=False)
        check = reader._check_round

        def meanwhile(row: tuple) -> None:
            asked = writer.round(2)
            if asked is not None and asked.scores is None:
                writer.finish(2, Trials.of([trial(7)]), np.float32([0.5]), 0.1)
            check(row)

        reader._check_round = meanwhile
        assert {t.trial_id: t.status for t in reader.trials()}[7] is Status.RUNNING
        assert {t.trial_id: t.status for t in reader.trials()}[7] is Status.COMPLETE


def test_a_dead_process_does_not_hold_the_lock(filled):
    script = "import sys, os; from jaxhp.store.ledger import Ledger; Ledger(sys.argv[1], write=True); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, str(filled)], check=True)
    Ledger(filled, write=True).close()


def test_directories_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a run directory, found no ledger\.sqlite"):
        Ledger(tmp_path / "none")
    with pytest.raises(OSError, match="dir: expected a writable directory, got /proc/none"):
        Ledger("/proc/none", write=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="dir: expected a writable directory"):
        Ledger(tmp_path / "file", write=True)


def test_a_ledger_of_another_schema_is_refused(filled):
    with Ledger(filled, write=True) as ledger:
        ledger.set_meta("schema", "999")
    with pytest.raises(ValueError, match="expected a ledger of schema 1, got schema 999"):
        Ledger(filled)


@pytest.mark.parametrize("left", [0, 100, 4096, 20000])
def test_a_truncated_ledger_is_refused(filled, left):
    path = filled / "ledger.sqlite"
    write_json(filled / "manifest.json", {})
    os.truncate(path, left)
    for write in (False, True):
        with pytest.raises(ValueError, match=r"ledger\.sqlite"), Ledger(filled, write=write) as ledger:
            ledger.digest()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(place=3869 / 36864, bit=0)  # of 36,864 bytes: in the definition of a table
def test_a_flipped_bit_is_found_or_harmless(filled, tmp_path_factory, place, bit):
    with Ledger(filled) as ledger:
        expected = ledger.digest(), ledger.meta("choice"), ledger.events()
    copy = tmp_path_factory.mktemp("flipped")
    content = bytearray((filled / "ledger.sqlite").read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    (copy / "ledger.sqlite").write_bytes(content)
    for write in (False, True):
        try:
            with Ledger(copy, write=write) as ledger:
                assert ledger.digest() == expected[0]
                assert (ledger.meta("choice"), ledger.events()) == expected[1:]
                ledger.round(0), ledger.best("max", 5), ledger.checkpoints()
        except (ValueError, OSError) as error:
            assert str(copy) in str(error)  # noqa: PT017


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("table", ["meta", "rounds", "columns", "events", "checkpoints"])
def test_a_row_that_a_page_no_longer_counts_is_missed(filled, table, write):
    path = filled / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        (page,), (size,) = (
            db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone(),
            db.execute("PRAGMA page_size").fetchone(),
        )
    content = bytearray(path.read_bytes())
    (count,) = struct.unpack_from(">H", content, (page - 1) * size + 3)  # of the page's cells
    assert count > 0
    struct.pack_into(">H", content, (page - 1) * size + 3, count - 1)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ledger\.sqlite: (the ledger is damaged|expected a readable jaxhp ledger)"):
        Ledger(filled, write=write)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    with Ledger(tmp_path, write=True) as ledger:
        record(ledger, 0, [trial(0)])
        before, limits = ledger.digest(), resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
            with pytest.raises(OSError, match=r"cannot be written: .*; everything recorded before is kept"):
                record(ledger, 1, [trial(i) for i in range(1, 20_000)])
            with pytest.raises(OSError, match=r"big\.json: cannot be written"):
                write_json(tmp_path / "big.json", {"x": "y" * 300_000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert ledger.digest() == before
        assert {path.name for path in tmp_path.iterdir()} <= {
            "lock",
            *(f"ledger.sqlite{end}" for end in ("", "-wal", "-shm")),
        }
        record(ledger, 1, [trial(1)])
        assert len(ledger.trials()) == 2


@given(st.binary(max_size=60))
def test_any_bytes_as_json_give_a_record_or_one_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "record.json"
    path.write_bytes(content)
    try:
        assert isinstance(read_json(path), dict)
    except ValueError as error:
        assert "expected a JSON object" in str(error)  # noqa: PT017


column = st.one_of(
    hnp.arrays(st.sampled_from(["<f4", "<f8", "<i4", "<i8", "|u1"]), hnp.array_shapes(max_dims=3, max_side=4)),
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)), max_size=5),
)


@given(column)
def test_columns_are_read_back(value):
    found = columns.unpack(columns.pack("name", value))
    if isinstance(value, np.ndarray):
        assert found.dtype == value.dtype
        assert np.array_equal(found, value, equal_nan=value.dtype.kind == "f")
    else:
        assert found == value


text = st.one_of(st.text(max_size=8), st.sampled_from(["<f4", "|O", "json", "[2]", "[-1]", "[1e9]", "[[]]", "{}"]))


@given(text, text, st.one_of(st.binary(max_size=16), st.just(b"[[[")))
@example("<f4", "[0]", b"")
def test_any_stored_column_gives_a_column_or_one_error(dtype, shape, data):
    packed = columns.Packed("name", dtype, shape, data, columns._crc("name", dtype, shape, data))
    with Ledger(None, write=True) as ledger:
        for name in ("trial_id", "score", "config.x"):
            crc = columns._crc(name, dtype, shape, data)
            ledger._db.execute("INSERT INTO columns VALUES (0, ?, ?, ?, ?, ?)", (name, *packed[1:4], crc))
        ledger.put_round(0, 1, 1.0)
        for read in (ledger.trials, ledger.digest, lambda: ledger.best("max", 3), lambda: ledger.round(0)):
            with pytest.raises(ValueError, match="is damaged"):
                read()


def test_finished_runs_are_read_where_nothing_may_be_written(filled, tmp_path, monkeypatch):
    shutil.copytree(filled, tmp_path / "copy")
    (tmp_path / "copy").chmod(0o555)
    (tmp_path / "copy" / "ledger.sqlite").chmod(0o444)
    try:
        with Ledger(tmp_path / "copy") as ledger:
            assert len(ledger.trials()) == 4
    finally:
        (tmp_path / "copy").chmod(0o755)


@pytest.mark.slow
def test_a_hundred_thousand_trials(tmp_path):
    count, epochs = 100_000, 10
    rng = np.random.default_rng(0)
    curve, values = rng.random((count, epochs, 4), dtype=np.float32), rng.random(count, dtype=np.float32)
    trials = [
        trial(
            i,
            float(values[i]),
            config={"lr": float(values[i]), "decay": 0.5},
            curve={name: curve[i, :, c] for c, name in enumerate("abcd")},
            replicate_scores=(float(values[i]),),
        )
        for i in range(count)
    ]
    with Ledger(tmp_path, write=True) as ledger:
        began = time.process_time()
        record(ledger, 0, trials)
        recording = time.process_time() - began
        record(ledger, 1, [trial(count)], finish=False)
        with Ledger(tmp_path) as reader:
            began = time.process_time()
            assert reader.best("max", 20)[0].trial_id == int(np.argmax(values))
            showing = time.process_time() - began
    print(f"recording {recording:.2f} s, the best 20 {showing:.2f} s of processor time")
    assert recording < 30.0  # were it quadratic it would be minutes
    assert showing < 5.0


@pytest.mark.parametrize("write", [False, True])
def test_a_damaged_ledger_is_not_left_open(write, tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 16)
    with pytest.raises(ValueError, match="ledger") as failed:  # noqa: F841, its traceback keeps what failed alive
        Ledger(tmp_path, write=write)
    open_files = [os.path.realpath(entry) for entry in os.scandir("/proc/self/fd")]
    assert str(path.resolve()) not in open_files
    assert str(tmp_path.resolve() / "lock") not in open_files
