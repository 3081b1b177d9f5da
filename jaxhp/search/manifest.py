"""What a run directory says it is: written before the first trial, compared before a search goes on."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import jax

from jaxhp.engine.bits import cpu, flags
from jaxhp.engine.runtime import Device
from jaxhp.store.digest import ABOUT, manifest_digest
from jaxhp.store.enlarging import BEFORE, MANIFEST
from jaxhp.store.files import read_json, write_json
from jaxhp.store.ledger import Ledger
from jaxhp.values import Error, Json
from jaxhp.words import short

FORMAT = 3  # of a manifest; 1 is that of jaxhp 0.1.0; in 2 the axes of a space were in the order of its keywords
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")  # says nothing to a person
_SAME_BITS = ("devices", "python", "argv", "numpy", "cpu.model")  # may change without changing a number


def environment(devices: Sequence[Device]) -> Json:
    """Return versions, devices and flags that results may depend on, as JSON."""
    return {
        "device_kind": devices[0].device_kind,
        "platform": devices[0].platform,
        "devices": len(devices),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("jax", "jaxlib", "jaxhp", "numpy", "optax")},
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
        "runtime": str(devices[0].client.platform_version),
        "cpu": cpu(),
        "flags": flags(),
        "argv": list(sys.argv),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def recorded(ledger: Ledger) -> Json | None:
    """Read the manifest of the search that a ledger belongs to; None for a new one.

    Raises:
      Error: it is missing or damaged.
    """
    if ledger.directory is None:
        return None
    path = ledger.directory / "manifest.json"
    if not path.exists():
        if ledger.round(0) is not None:
            raise Error(f"{path}: the manifest is missing, but the ledger holds a search")
        return None
    return _in_full(ledger, read_json(path))


def _in_full(ledger: Ledger, manifest: Json) -> Json:
    """Return the manifest of a search that was made larger; its file is the smaller one's if a kill came between."""
    text = ledger.meta(MANIFEST)
    if text is None or manifest_digest(manifest) != ledger.meta(BEFORE):
        return manifest
    return ledger.decode(MANIFEST, json.loads, text)


def rewrite(ledger: Ledger, manifest: Json) -> None:
    """Write the manifest of a search that was made larger, as its ledger has it."""
    if ledger.directory is not None and manifest != read_json(ledger.directory / "manifest.json"):
        write_json(ledger.directory / "manifest.json", manifest)
        ledger.stored("manifest written")


def claim(ledger: Ledger, manifest: Json, *, accept_environment: bool, parent: str | None = None) -> list[str]:
    """Make the directory this search's, or check that it is. One in which nothing was trained is free for any search.

    Args:
      ledger: of the directory.
      manifest: of this search.
      accept_environment: see `Search.run`.
      parent: directory of the search whose trials it learns from, for who reads what happened.

    Returns:
      What is different but harmless, one line each.

    Raises:
      Error: the directory holds another search, or was run in an environment that may give other bits and
        `accept_environment` is not set. Every difference is named.
    """
    if ledger.directory is None:
        return []
    before = recorded(ledger)
    if before is None or (not trained(ledger) and differences(before, manifest)):
        ledger.begin_anew(manifest_digest(manifest))
        write_json(ledger.directory / "manifest.json", manifest)
        ledger.stored("manifest written")
        ledger.event("begun", **({} if parent is None else {"learns_from": parent}))
        return []
    refuse_other(ledger, before, manifest)
    rewrite(ledger, before)
    where = differences(before.get("environment", {}), manifest["environment"])
    harmful = _harmful(where)
    if harmful and not accept_environment:
        raise Error(
            f"dir: {ledger.directory} was begun elsewhere: {_sentence(harmful)}; what is trained from here on may "
            "differ in its last bits. Go on with accept_environment=True (jaxhp resume --accept-environment)"
        )
    notes = [f"{_sentence([entry])}: results stay the same" for entry in where if entry[0] in ("devices", "cpu.model")]
    notes += [f"{_sentence([entry])}: what is trained from here on may differ in its last bits" for entry in harmful]
    if ledger.round(0) is not None:
        ledger.event("resume", environment=manifest["environment"], notes=notes)
    return notes


def refuse_other(ledger: Ledger, before: Json, manifest: Json) -> None:
    """Check that the manifest in a directory, `before`, is of this search.

    Raises:
      Error: it is of another, whose differences are named, or was written by another version of jaxhp.
    """
    if before.get("format") != FORMAT:
        where = before.get("environment")
        version = where.get("jaxhp", "") if isinstance(where, Mapping) else ""
        raise Error(
            f"dir: {ledger.directory} was begun by another version of jaxhp ({version or 'unknown'}), whose searches "
            "this version reads (show, report, export) but does not go on with: begin anew in another directory, with "
            "warm_start=Result.load(dir).trials"
        )
    where = differences(before.get("environment", {}), manifest["environment"])
    traced_alike = not any(name in ("jax", "optax") for name, _, _ in where)
    other = differences(_identity(before, traced_alike), _identity(manifest, traced_alike))
    if other:
        raise Error(
            f"dir: {ledger.directory} holds another search: {_sentence(other)}. Run this one in another directory; "
            "warm_start=hp.Result.load(dir).trials lets it learn from that one"
        )


def trained(ledger: Ledger) -> bool:
    """Tell whether a trial of a ledger is trained, or a checkpoint holds some of one."""
    extended = ledger.meta(MANIFEST) is not None  # its rounds may all be under way again
    return extended or bool(ledger.checkpoints()) or any(asked.scores is not None for asked in ledger.rounds())


def is_other(before: Json, manifest: Json) -> bool:
    """Tell whether two manifests are of different searches."""
    return bool(differences(_identity(before, True), _identity(manifest, True)))


def _harmful(where: list[tuple[str, object, object]]) -> list[tuple[str, object, object]]:
    """Return those differences of environments that may change a number."""
    return [entry for entry in where if not {entry[0], entry[0].split(".")[0]} & {*_SAME_BITS}]


def elsewhere(before: Json, manifest: Json) -> str:
    """Say what may give other bits now than where a manifest was written; "" where nothing is known to."""
    return _sentence(_harmful(differences(before.get("environment", {}), manifest["environment"])))


def _identity(manifest: Json, traced_alike: bool) -> Json:
    """Return what was searched. Another version of jax or optax may trace the same task to another program."""
    left_out = ABOUT if traced_alike else (*ABOUT, "task")
    return {name: value for name, value in manifest.items() if name not in left_out}


def differences(before: object, now: object, name: str = "") -> list[tuple[str, object, object]]:
    """List (name, before, now) of every entry of two JSON values that differs."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return [] if json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True) else [(name, before, now)]
    found = []
    for key in dict.fromkeys([*before, *now]):
        found += differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    return found


def _sentence(entries: list[tuple[str, object, object]]) -> str:
    def told(name: str, before: object, now: object) -> str:
        if _DIGEST.search(f"{before} {now}"):
            return f"its {name} is another one"
        return f"its {name} is {short(before)}, now it is {short(now)}"

    return "; ".join(told(*entry) for entry in entries)
