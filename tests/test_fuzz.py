"""Whatever stands in a file of a run directory, its readers answer or raise the errors that they document."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from small_search import shared

import jaxhp as hp
from jaxhp.interop.table import table
from jaxhp.report.page import page
from jaxhp.report.reading import read
from jaxhp.report.result import Result
from jaxhp.report.rows import table_rows
from jaxhp.space import Space
from jaxhp.store import columns, ledger
from jaxhp.store.files import read_json
from jaxhp.store.ledger import Ledger

numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, 0, -1, 1e-39, 1e39, 2**31]))
plain = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=4))
json_values = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3))
)
some_space = Space(
    lr=hp.LogUniform(1e-6, 1e-2),
    layers=hp.IntUniform(1, 64, log=True),
    kind=hp.Choice(["sgd", "adam", True, 2]),
    beta=hp.Uniform(-1.0, 1.0, when={"kind": "adam"}),
    fixed=3,
)


parameters = st.fixed_dictionaries(
    {"kind": st.one_of(st.sampled_from(["Uniform", "LogUniform", "IntUniform", "Choice"]), json_values)},
    optional={name: json_values for name in ("low", "high", "log", "values", "static", "when", "other")},
)
spaces = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {
            "parameters": st.one_of(json_values, st.dictionaries(st.sampled_from(["a", "b"]), parameters, max_size=2)),
            "fixed": st.one_of(json_values, st.dictionaries(st.text(max_size=4), plain, max_size=2)),
        }
    ),
)


@given(spaces)
@example({"parameters": {"a": {"kind": "IntUniform", "low": 0, "high": 10**400}}, "fixed": {}})
@example({"parameters": {"a": {"kind": "Choice", "values": [1, [2]]}}, "fixed": {}})
@example({"parameters": {"a": {"kind": "Uniform", "low": 0, "high": 1, "when": [["b", 1]]}}, "fixed": {}})
@example({"parameters": {"self": {"kind": "Uniform", "low": 0, "high": 1}}, "fixed": {"self": 1}})
def test_any_space_is_read_or_gives_one_error(record):
    try:
        found = Space.from_json(record)
    except ValueError:
        return
    assert Space.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.config(np.full(found.dim, 0.5, np.float32))


@given(st.one_of(json_values, st.lists(numbers, min_size=4, max_size=4)))
def test_any_point_gives_a_config_or_one_error(point):
    try:
        config = some_space.config(point)
    except (ValueError, TypeError):
        return
    lr = some_space.names.index("lr")
    assert np.allclose(some_space.unit(config)[lr], point[lr], atol=1e-6)


@given(
    st.one_of(
        json_values,
        st.fixed_dictionaries(
            {"lr": plain, "layers": plain, "kind": plain}, optional={"beta": json_values, "fixed": json_values}
        ),
    )
)
@example({"lr": 1e-3, "layers": 10**400, "kind": "sgd"})
def test_any_config_gives_a_point_or_one_error(config):
    try:
        unit = some_space.unit(config)
    except (ValueError, TypeError):
        return
    assert unit.shape == (4,)
    assert np.all((unit >= 0) & (unit <= 1))


def read_everything(directory: Path) -> None:
    """As the commands that show a run directory do."""
    for top in (None, 3):
        result = Result.load(directory, top)
        result.table(), result.summary(), json.dumps(table_rows(result.trials)), table(result)
    page(read(directory))
    with Ledger(directory) as known:
        known.digest(), known.events(), known.checkpoints(), known.spent()
        for number in range(4):
            known.round(number), known.part(number)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The directory of a search with finals, and a test that was opened."""
    directory = tmp_path_factory.mktemp("fuzz") / "run"
    shared("halving", finals=hp.Finals(2, 4)).run(directory, quiet=True)
    with Ledger(directory, write=True) as known:
        known.event("test opened", trial_id=0)
        known.event("test", trial_id=0, mean=0.5, low=0.4, high=None, scores=[0.5, None], opening=1)
    read_everything(directory)
    return directory


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["metric", "mode", "space", "environment", "seed", "finals", "tile"]), json_values, min_size=1
    )
)
def test_any_manifest_is_shown_or_gives_one_error(finished, changes):
    manifest = read_json(finished / "manifest.json")
    (finished / "manifest.json").write_text(json.dumps(manifest | changes))
    try:
        read_everything(finished)
    except ValueError as error:
        assert str(error)  # noqa: PT017
    finally:
        (finished / "manifest.json").write_text(json.dumps(manifest))


stored = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=40),
    st.text(max_size=12),
    st.sampled_from(["json", "<f4", "<i4", "|u1", "|O", "[9]", "[9, 1]", "[-1]", "[3, 3]", "test", "choice", "spent"]),
    json_values.map(json.dumps),
    json_values.map(lambda value: json.dumps(value).encode()),
)
places = st.sampled_from(
    [(table, field) for table in ("meta", "rounds", "columns", "events", "checkpoints") for field in range(5)]
)


@settings(max_examples=120)
@given(places, st.integers(0, 10**6), st.lists(stored, min_size=1, max_size=4))
def test_any_ledger_with_fitting_checksums_is_shown_or_gives_one_error(finished, tmp_path_factory, place, row, values):
    """A checksum keeps damage out, not a person: whoever wrote the values made their checksums fit."""
    directory = tmp_path_factory.getbasetemp() / "forged"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(finished, directory)
    table, first = place
    with Ledger(directory, write=True) as known:
        rows = known.rows(f"SELECT rowid, * FROM {table}")
        if not rows:
            return
        changed, *old = rows[row % len(rows)]
        new = [*old[:-1]]
        new[first % len(new) :] = [*values, *new[first % len(new) + len(values) :]][: len(new) - first % len(new)]
        if table == "columns":
            as_packed = columns.Packed(*(str(v) for v in new[1:4]), b"", 0)
            data = new[4] if isinstance(new[4], bytes) else str(new[4]).encode()
            crc = columns._crc(*as_packed[:3], data)
            new = [new[0], *as_packed[:3], data]
        else:
            crc = ledger._crc(*(new[1:] if table == "events" else new))
        names = [info[1] for info in known.rows(f"PRAGMA table_info({table})")]
        try:
            known._db.execute(
                f"UPDATE {table} SET {', '.join(f'{n} = ?' for n in names)} WHERE rowid = ?", (*new, crc, changed)
            )
        except sqlite3.Error:
            event("not taken by SQLite")
            return
        for number, epochs, wall_s, _ in known.rows("SELECT * FROM rounds"):
            known._db.execute(
                "UPDATE rounds SET crc = ? WHERE round = ?", (known._round_crc((number, epochs, wall_s)), number)
            )
    try:
        read_everything(directory)
        event("shown")
    except ValueError as error:
        event("refused")
        assert str(directory) in str(error)  # noqa: PT017


@settings(max_examples=60)
@given(st.integers(0, 2**30), st.binary(min_size=1, max_size=64))
def test_any_damaged_ledger_file_is_shown_or_gives_one_error(finished, tmp_path_factory, place, content):
    directory = tmp_path_factory.getbasetemp() / "damaged"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(finished, directory)
    whole = (directory / "ledger.sqlite").read_bytes()
    place %= len(whole)
    (directory / "ledger.sqlite").write_bytes(whole[:place] + content + whole[place + len(content) :])
    try:
        read_everything(directory)
    except ValueError as error:
        assert str(directory) in str(error)  # noqa: PT017


def test_reading_executes_nothing_and_starts_no_backend(finished):
    """Only reading: no code of the run directory is loaded, and no device is touched."""
    before = set(sys.modules)
    (finished / "jaxhp.py").write_text("raise SystemExit('executed')")
    directory = os.getcwd()
    try:
        os.chdir(finished)
        read_everything(finished)
    finally:
        os.chdir(directory)
        (finished / "jaxhp.py").unlink()
    assert not {name for name in set(sys.modules) - before if name.startswith(("pickle", "dill", "cloudpickle"))}
