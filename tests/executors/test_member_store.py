"""The members' store: what was put comes back to the bit or is `Damaged`, whoever else writes; nothing else is lost."""

import hashlib
import io
import multiprocessing
import os
import stat
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import jaxhp as hp
from jaxhp.executors.member_store import Damaged, MemberName, MemberStore

LEAVES = [
    np.arange(6, dtype=np.float32).reshape(3, 2),
    np.array([1.5, -2.0, np.nan], ml_dtypes.bfloat16),
    np.zeros((3, 0), np.float32),
    np.arange(12, dtype=np.uint32).reshape(3, 2, 2)[:, ::-1],
    np.array(True),
]
MEMBER = ("a1", 7, 3, LEAVES, (0, 1, 2))
NAME = ("a1", 7, 3, (0, 1, 2))


@pytest.fixture(params=["folder", "file", "memory", "renamed"])
def url(request, tmp_path, monkeypatch):
    """A place of each kind: the last is a file system of fsspec that shows files before they are whole."""
    if request.param == "folder":
        return str(tmp_path / "members")
    if request.param == "file":
        return f"file://{tmp_path}/members"
    if request.param == "memory":
        return f"memory://{tmp_path}"
    monkeypatch.setattr("jaxhp.executors.places._AT_ONCE", frozenset())
    return f"memory://{tmp_path}"


def test_a_member_comes_back_to_the_bit(url):
    store, other = MemberStore(url), MemberStore(url)
    assert [*other.names()] == []
    sha, there = store.put(*MEMBER)
    assert sha == there
    assert other.put(*MEMBER) == (sha, sha)
    late, there = other.put("a1", 7, 3, [LEAVES[0] + 1, *LEAVES[1:]], (0, 1, 2))  # what was put stays
    assert late != there == sha
    found = other.get(*NAME)
    for leaf, got in zip(LEAVES, found, strict=True):
        assert (got.dtype, got.shape, got.tobytes()) == (leaf.dtype, leaf.shape, leaf.tobytes())
    found[0][0, 0] = 5  # its own memory
    assert [*other.names()] == [NAME]
    assert other.bytes_written == 0


def test_other_replicates_are_another_member(url):
    store = MemberStore(url)
    many = ((0, 1, 2), (3,), (5, 6, 9), (2, 1, 0), (0, 2, 1), tuple(range(100, 400)))
    for number, replicates in enumerate(many):
        store.put("a1", 7, 3, [np.array([number])], replicates)
    assert {*store.names()} == {MemberName("a1", 7, 3, replicates) for replicates in many}
    assert [int(store.get("a1", 7, 3, replicates)[0][0]) for replicates in many] == [0, 1, 2, 3, 4, 5]
    store.drop("a1", 7, 3, (3,))
    store.drop("a1", 7, 3, (3,))
    assert {*store.names()} == {MemberName("a1", 7, 3, replicates) for replicates in many if replicates != (3,)}


def test_blobs(url):
    store, other = MemberStore(url), MemberStore(url)
    file = io.BytesIO()
    array = np.arange(10**5, dtype=np.int16).reshape(10, -1)
    np.save(file, array)
    digest = store.put_blob(file.getvalue())
    assert digest == other.put_blob(file.getvalue()) == hashlib.sha256(file.getvalue()).hexdigest()
    assert other.bytes_written == 0
    assert other.get_blob(digest) == file.getvalue()
    found = other.open_array(digest)
    np.testing.assert_array_equal(found, array)
    assert not found.flags.writeable
    for get in (other.get_blob, other.open_array):
        with pytest.raises(Damaged, match="missing"):
            get("0" * 64)


def test_clearing_leaves_what_is_others(tmp_path, url):
    store = MemberStore(url)
    store.put(*MEMBER)
    store.put_blob(b"some")
    place = store._place
    others = ["a1/notes.txt", "blobs/readme", "else/7-3-0.members", "a1/.7-3-0.member.swp"]
    left = [f"a1/.7-3-0_2.member.{'0a' * 8}.jaxhp-tmp", f"blobs/.{'a' * 64}.{'0a' * 8}.jaxhp-tmp"]
    for name in (*others, *left):
        place.write(name, [b"x"])
    store.clear()
    assert sorted(place.names()) == sorted(others)
    place.remove(others)
    store.clear()
    assert not (tmp_path / "members").exists()
    assert [*store.names()] == []


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "renamed", "gone", "linked"])
def test_damage_is_found(tmp_path, damage):
    store = MemberStore(tmp_path)
    store.put(*MEMBER)
    store.put("a1", 8, 3, LEAVES, (0, 1, 2))
    digest = store.put_blob(b"content")
    for path in (tmp_path / "a1" / "7-3-0_2.member", tmp_path / "blobs" / digest):
        content = bytearray(path.read_bytes())
        if damage == "bit":
            content[-70 if len(content) > 70 else 3] ^= 4
            path.write_bytes(content)
        elif damage in ("cut", "empty"):
            path.write_bytes(content[:-1] if damage == "cut" else b"")
        elif damage == "renamed":
            os.replace(tmp_path / "a1" / "8-3-0_2.member", path)
            store.put("a1", 8, 3, LEAVES, (0, 1, 2))
        else:
            path.rename(tmp_path / f"elsewhere{len(content)}")
        if damage == "linked":
            path.symlink_to(tmp_path / f"elsewhere{len(content)}")
    for get in (lambda: store.get(*NAME), lambda: store.get_blob(digest), lambda: store.open_array(digest)):
        with pytest.raises(Damaged):
            get()
    store.put(*MEMBER)
    store.put_blob(b"content")
    assert len(store.get(*NAME)) == 5
    assert store.get_blob(digest) == b"content"


def test_no_link_leads_out(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "7-3-0_2.member").write_bytes(b"precious")
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / "a1").symlink_to(outside)
    (tmp_path / "members" / "b1").mkdir()
    (tmp_path / "members" / "b1" / "7-3-0_2.member").symlink_to(outside / "7-3-0_2.member")
    store = MemberStore(tmp_path / "members")
    for refused in (lambda: store.put(*MEMBER), lambda: store.get(*NAME), lambda: store.drop(*NAME)):
        with pytest.raises(hp.Error, match="a link"):
            refused()
    store.put("b1", *MEMBER[1:])  # takes the link's place
    store.clear()
    assert (outside / "7-3-0_2.member").read_bytes() == b"precious"


def write(url: str, number: int) -> None:
    store = MemberStore(url)
    for round in range(30):
        store.put("a1", round % 3, 1, [np.full(10_000, round % 3)], (0,))
        try:
            (leaf,) = store.get("a1", (round + number) % 3, 1, (0,))
        except Damaged as error:
            if "missing" not in str(error):
                raise
        else:
            assert (leaf == (round + number) % 3).all()
        if number == 0:
            store.drop("a1", (round + 1) % 3, 1, (0,))


def test_many_writers_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(str(tmp_path / "members"), n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith("tmp")]


def test_nothing_is_left_of_what_cannot_be_written(tmp_path):
    store = MemberStore(tmp_path)
    with pytest.raises(TypeError):
        store._place.write("a1/x", [b"some", "no bytes"])  # type: ignore[list-item]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_places_that_are_none(monkeypatch, tmp_path):
    for url, said in (
        ("nosuch://x", "a URL that fsspec knows, got nosuch://x"),
        ("s3://bucket/members", "to be installed, missing: Install s3fs"),
        ("no\0path", "members: expected a path"),
    ):
        with pytest.raises(hp.Error, match=said) as told:
            MemberStore(url)
        assert "\n" not in str(told.value)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(hp.Error, match="missing: fsspec"):
        MemberStore("memory://x")
    MemberStore(tmp_path).put(*MEMBER)
    assert stat.S_ISREG(os.lstat(Path(tmp_path, "a1", "7-3-0_2.member")).st_mode)
