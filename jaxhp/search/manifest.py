"""What a run directory says it is: written before the first trial, compared before a search goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from jaxhp.engine.environment import differences, harmful, sentence
from jaxhp.store.digest import ABOUT, GROUPS, manifest_digest
from jaxhp.store.enlarging import BEFORE, MANIFEST
from jaxhp.store.files import read_json, write_json
from jaxhp.store.ledger import Ledger
from jaxhp.values import Error, Json

FORMAT = 3  # of a manifest; 1 is that of jaxhp 0.1.0; in 2 the axes of a space were in the order of its keywords


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
    found, groups = _in_full(ledger, read_json(path)), _groups(ledger)
    return without_groups(found) | ({GROUPS: groups} if groups else {})


def without_groups(manifest: Json) -> Json:
    """Return a manifest as it is written: what is known of groups that it does not show is the ledger's."""
    return {name: value for name, value in manifest.items() if name != GROUPS}


def _in_full(ledger: Ledger, manifest: Json) -> Json:
    """Return the manifest of a search that was made larger; its file is the smaller one's if a kill came between."""
    text = ledger.meta(MANIFEST)
    if text is None or manifest_digest(manifest) != ledger.meta(BEFORE):
        return manifest
    return ledger.decode(MANIFEST, json.loads, text)


def _groups(ledger: Ledger) -> dict[str, Json]:
    """Return what is recorded of static groups that the manifest does not show, by their names."""
    text = ledger.meta(GROUPS)
    if text is None:
        return {}
    return ledger.decode(GROUPS, lambda: {name: dict(facts) for name, facts in json.loads(text).items()})


def record_groups(
    ledger: Ledger, names: Iterable[str], described: Callable[[Sequence[str]], Mapping[str, Json]]
) -> None:
    """Record static groups by their names, as far as they were not before; only those are described."""
    known = _groups(ledger)
    if new := [name for name in names if name not in known]:
        ledger.set_meta(GROUPS, json.dumps({**known, **described(new)}))


def rewrite(ledger: Ledger, manifest: Json) -> None:
    """Write the manifest of a search that was made larger, as its ledger has it."""
    manifest = without_groups(manifest)
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
        write_json(ledger.directory / "manifest.json", without_groups(manifest))
        ledger.stored("manifest written")
        ledger.event("begun", **({} if parent is None else {"learns_from": parent}))
        return []
    refuse_other(ledger, before, manifest)
    rewrite(ledger, before)
    where = differences(before.get("environment", {}), manifest["environment"])
    risky = harmful(where)
    if risky and not accept_environment:
        raise Error(
            f"dir: {ledger.directory} was begun elsewhere: {sentence(risky)}; what is trained from here on may "
            "differ in its last bits. Go on with accept_environment=True (jaxhp resume --accept-environment)"
        )
    notes = [f"{sentence([entry])}: results stay the same" for entry in where if entry[0] in ("devices", "cpu.model")]
    notes += [f"{sentence([entry])}: what is trained from here on may differ in its last bits" for entry in risky]
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
            f"dir: {ledger.directory} holds another search: {sentence(other)}. Run this one in another directory; "
            "warm_start=hp.Result.load(dir).trials lets it learn from that one"
        )


def trained(ledger: Ledger) -> bool:
    """Tell whether a trial of a ledger is trained, or a checkpoint holds some of one."""
    extended = ledger.meta(MANIFEST) is not None  # its rounds may all be under way again
    return extended or bool(ledger.checkpoints()) or any(asked.scores is not None for asked in ledger.rounds())


def is_other(before: Json, manifest: Json) -> bool:
    """Tell whether two manifests are of different searches."""
    return bool(differences(_identity(before, True), _identity(manifest, True)))


def other_bits(before: Json, manifest: Json) -> str:
    """Say what may give other bits now than where a manifest was written; "" where nothing is known to."""
    return sentence(harmful(differences(before.get("environment", {}), manifest["environment"])))


def _identity(manifest: Json, traced_alike: bool) -> Json:
    """Return what was searched. Another version of jax or optax may trace the same task to another program."""
    left_out = ABOUT if traced_alike else (*ABOUT, "task")

    def searched(facts: Json) -> Json:
        return {name: value for name, value in facts.items() if name not in left_out}

    groups = {name: searched(facts) for name, facts in manifest.get(GROUPS, {}).items()}
    return searched(without_groups(manifest)) | ({GROUPS: groups} if groups else {})
