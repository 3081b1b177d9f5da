"""Jobs cut into units: every member once, whole tiles, and outcomes put together as one process makes them."""

import itertools

import numpy as np
import pytest

from jaxhp.engine.work import Job, Outcome
from jaxhp.executors.units import Raw, chunks_of, split, tiles_of, together

GROUPS = ("a", "b")


def job_of(rows: int, replicates: int, seed: int, **changes) -> tuple[Job, list[str], list[str]]:
    rng = np.random.default_rng(seed)
    start = rng.choice([0, 3], rows).astype(np.int32)
    keys = [GROUPS[i] for i in rng.integers(2, size=rows)]
    homes = [f"worker {i}" if s else "" for i, s in zip(rng.integers(3, size=rows), start, strict=True)]
    trials = np.arange(rows, dtype=np.int32)
    job = Job(0, trials, [{"row": row} for row in range(rows)], trials, start, 9, range(replicates), **changes)
    return job, keys, homes


@pytest.mark.parametrize(("rows", "replicates", "workers", "devices"), [(1, 1, 4, 1), (37, 1, 3, 2), (50, 5, 8, 2)])
@pytest.mark.parametrize("parts", [1, 5])
def test_every_member_is_in_one_unit_and_no_tile_is_added(rows, replicates, workers, devices, parts):
    tiles, most = {"a": 4, "b": 8}, {"a": 12, "b": 8}
    job, keys, homes = job_of(rows, replicates, seed=rows)
    chunks = chunks_of(job.replicates, parts, 8)
    units = split(job, keys, homes, tiles=tiles, most=most, chunks=chunks, workers=workers, devices=devices)
    members = [pair for unit in units for pair in itertools.product(unit.rows.tolist(), unit.job.replicates)]
    assert sorted(members) == [*itertools.product(range(rows), range(replicates))]
    for unit in units:
        assert {keys[row] for row in unit.rows} == {unit.key}
        assert len({*unit.job.start.tolist()}) == 1
        assert len(unit.rows) <= most[unit.key]
        assert [config["row"] for config in unit.job.configs] == unit.rows.tolist()
    filled = sum(-(-len(unit.rows) // tiles[unit.key]) * len(unit.job.replicates) for unit in units)
    assert filled == tiles_of(job, keys, tiles) * replicates


def test_a_job_with_many_tiles_gives_each_worker_a_few_units():
    job, keys, homes = job_of(400, 1, seed=1)
    tiles, most = {"a": 4, "b": 4}, {"a": 400, "b": 400}
    units = split(job, keys, homes, tiles=tiles, most=most, chunks=[(0,)], workers=4, devices=2)
    assert 8 <= len(units) <= 20


@pytest.mark.parametrize("read", [None, np.asarray([2, 4, 4], np.int32)])
def test_the_outcome_of_replicates_that_were_trained_apart_is_of_all_of_them(read):
    rng = np.random.default_rng(0)
    curve = rng.normal(size=(3, 4, 4, 2, 1)).astype(np.float32)  # [P, R, E, 2, M]
    valid = rng.normal(size=(3, 4, 5)).astype(np.float32)
    diverged = np.asarray([[0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 4]], np.int32)
    ids = np.arange(3, dtype=np.int32)
    job = Job(0, ids, [{}] * 3, ids - 1 - ids, 0 * ids, 4, range(4), read=read)
    units = split(
        job, ["a"] * 3, [""] * 3, tiles={"a": 4}, most={"a": 4}, chunks=[(0, 1), (2, 3)], workers=1, devices=1
    )

    def rank(asked):
        return [one_of(*apart.raw, apart.stop) for apart in asked]

    def one_of(curve, spread, diverged_at, stop):
        scores = curve[:, :, stop - 1, 1, 0]
        return Outcome(scores.mean(1), 0 * scores[:, 0], scores, curve.mean(1), diverged_at.max(1))

    parts = []
    for unit in units:
        some = [*unit.job.replicates]
        raw = Raw(curve[:, some], np.zeros((3, 2), np.float32), diverged[:, some])
        none = np.zeros(3)
        apart = Outcome(none, none, 10.0 + np.zeros((3, 2)) + some, none, none, valid=valid[:, some])
        parts.append((unit, apart, raw))
    found = together(job, parts[::-1], rank)
    at = np.full(3, 4) if read is None else read
    expected = np.stack([curve[p, :, at[p] - 1, 1, 0] for p in range(3)])
    np.testing.assert_array_equal(found.score, expected.mean(1))
    np.testing.assert_array_equal(
        found.replicate_scores, expected if read is None else 10.0 + np.tile(range(4), (3, 1))
    )
    np.testing.assert_array_equal(found.diverged_at, [0, 3, 4])
    np.testing.assert_array_equal(found.valid, valid)
