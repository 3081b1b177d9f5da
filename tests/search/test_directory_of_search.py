"""A search and its directory: claimed anew, replaced meanwhile, and a network that is not the one it wrote."""

import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from crash import Killed, dying
from safetensors.numpy import load_file
from small_search import digest, search, shared, task

import jaxhp as hp
from jaxhp.report.result import Result
from jaxhp.store import files, params
from jaxhp.store.digest import manifest_digest
from jaxhp.store.ledger import Ledger


@pytest.mark.parametrize("point", ["round begun", pytest.param("manifest written", marks=pytest.mark.slow)])
def test_a_directory_in_which_nothing_was_trained_is_free_for_the_mended_search(point, tmp_path):
    with pytest.raises(Killed):
        search("random", task=task(scale=9.0), seed=5, tile=4).run(tmp_path, quiet=True, watch=[dying(point)])
    assert shared("random").run(tmp_path, quiet=True).digest == digest("random")
    manifest = files.read_json(tmp_path / "manifest.json")
    assert (manifest["seed"], manifest["tile"]) == (0, 2)
    with pytest.raises(ValueError, match="holds another search: its seed is 0, now it is 5"):
        search("random", seed=5).run(tmp_path, quiet=True)


def flip(path: Path) -> None:
    """A bit of the last weight, which any reader of the format takes."""
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


def test_a_network_that_is_not_the_one_written_is_refused(tmp_path):
    """A flipped bit, another run's file, and another trial's under a ledger that knows no digest yet."""
    shared("random").run(tmp_path / "run", quiet=True)
    shared("random").changed(seed=1).run(tmp_path / "other", quiet=True)
    path = tmp_path / "run" / "best.safetensors"
    whole = path.read_bytes()
    with Ledger(tmp_path / "run") as ledger:
        assert ledger.meta("network") == hashlib.sha256(whole).hexdigest()
    best = Result.load(tmp_path / "run").best
    assert best.params["w"].tobytes() == load_file(path)["w"].tobytes()
    flip(path)
    with pytest.raises(hp.Error, match=r"best\.safetensors: expected the network that this search wrote, got another"):
        assert Result.load(tmp_path / "run").best.params
    shutil.copy(tmp_path / "other" / "best.safetensors", path)
    with pytest.raises(hp.Error, match=r"best\.safetensors: expected the network that this search wrote, got another"):
        assert Result.load(tmp_path / "run").best.params
    with Ledger(tmp_path / "run", write=True) as ledger:
        ledger.write("DELETE FROM meta WHERE name = 'network'", ())
    with pytest.raises(hp.Error, match=f"expected the network of trial {best.trial_id}, got that of trial"):
        assert Result.load(tmp_path / "run").best.params
    path.write_bytes(whole)
    assert Result.load(tmp_path / "run").best.params["w"].shape == (4, 2)


def test_a_network_says_whose_it_is_and_is_checked_without_its_search(tmp_path):
    """The same trial of another search, and a flipped bit of the weights or of what is said of them."""
    shared("random").run(tmp_path / "run", quiet=True)
    path, manifest = tmp_path / "run" / "best.safetensors", files.read_json(tmp_path / "run" / "manifest.json")
    facts, whole = params.facts(path), path.read_bytes()
    assert facts["search"] == manifest_digest(manifest)
    params.save(path, params.load(path), **facts | {"search": "another"})
    with Ledger(tmp_path / "run", write=True) as ledger:
        ledger.write("DELETE FROM meta WHERE name = 'network'", ())
    with pytest.raises(hp.Error, match=r"of trial \d+ of this search, got that of another search's"):
        assert Result.load(tmp_path / "run").best.params
    for place in (len(whole) - 1, whole.index(b"trial_id") + len('trial_id":"')):
        (tmp_path / "alone.safetensors").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        for read in (params.facts, params.load, lambda path: params.load(path, {"w": np.zeros((4, 2), np.float32)})):
            with pytest.raises(hp.Error, match=r"alone\.safetensors: expected parameters, got damaged ones"):
                read(tmp_path / "alone.safetensors")


@pytest.mark.parametrize("name", ["best.safetensors", "summary.json"])
@pytest.mark.parametrize("point", ["round finished", "parameters written"])
def test_a_file_of_the_users_that_stands_where_a_search_writes_is_refused_by_name(name, point, tmp_path):
    """Put there while the search runs; moved away, it goes on where it is."""
    path = tmp_path / "run" / name

    def put() -> None:
        path.write_bytes(b"precious")

    if (name, point) == ("best.safetensors", "parameters written"):
        pytest.skip("it is the search's own by then")
    search = shared("random")
    with pytest.raises(hp.Error, match=f"{name}, which no search wrote; move it away"):
        hp.Search.run(search, tmp_path / "run", quiet=True, watch=[dying(point, die=put)])
    assert path.read_bytes() == b"precious"
    path.rename(tmp_path / "precious")
    assert search.run(tmp_path / "run", quiet=True).digest == digest("random")


def test_a_search_reads_its_directory_and_writes_nothing(tmp_path):
    result = shared("random").run(tmp_path, quiet=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    loaded = shared("random").load(tmp_path)
    assert loaded.digest == result.digest
    assert loaded.best.params["w"].tobytes() == result.best.params["w"].tobytes()
    with pytest.raises(hp.Error, match="holds another search: its seed is 0, now it is 1"):
        shared("random").changed(seed=1).load(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a run directory"):
        shared("random").load(tmp_path / "nowhere")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_search_gives_back_what_init_made(tmp_path):
    class Net(NamedTuple):
        w: Any

    plain = task()
    of = task(
        init=lambda key, config: Net(plain.init(key, config)["w"]),
        loss=lambda net, *rest: plain.loss({"w": net.w}, *rest),
        evaluate=lambda net, *rest: plain.evaluate({"w": net.w}, *rest),
    )
    result = search("random", task=of, epochs=1).run(tmp_path, quiet=True)
    loaded = search("random", task=of, epochs=1).load(tmp_path)
    assert isinstance(loaded.best.params, Net)
    assert loaded.best.params.w.tobytes() == result.best.params.w.tobytes()
    assert isinstance(Result.load(tmp_path).best.params, dict)


@pytest.mark.parametrize("point", ["round begun", "checkpoint named", "round finished", "parameters written"])
def test_a_search_whose_directory_was_replaced_stops_and_leaves_the_new_one_alone(point, tmp_path):
    """Meanwhile another search is run there to its end."""
    directory = tmp_path / "run"

    def replace() -> None:
        directory.rename(tmp_path / "aside")
        shared("random").changed(seed=1).run(directory, quiet=True)
        before.update({path: path.read_bytes() for path in directory.rglob("*") if path.is_file()})

    before: dict[Path, bytes] = {}
    with pytest.raises(hp.Error, match="was removed, replaced or moved while its search ran, so this search stops"):
        hp.Search.run(shared("random"), directory, quiet=True, checkpoint_s=0, watch=[dying(point, die=replace)])
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert {path.name for path in before} == {
        "best.safetensors",
        "ledger.sqlite",
        "lock",
        "manifest.json",
        "summary.json",
    }


def test_a_manifest_that_is_not_the_one_written_is_refused(tmp_path):
    """With the mode of another the worst trial would be the chosen one; who started a search may be changed."""
    shared("random").run(tmp_path, quiet=True)
    manifest = files.read_json(tmp_path / "manifest.json")
    best = Result.load(tmp_path).best
    files.write_json(tmp_path / "manifest.json", manifest | {"experiment": {"file": "moved.py"}})
    assert Result.load(tmp_path).best.trial_id == best.trial_id
    for changes in ({"mode": "max"}, {"metric": "errop"}, {"seed": 1}):
        files.write_json(tmp_path / "manifest.json", manifest | changes)
        with pytest.raises(hp.Error, match=r"manifest\.json: expected the manifest of the search in the ledger"):
            Result.load(tmp_path)
