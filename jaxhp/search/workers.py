"""The workers of a run: hired before it begins, told of the search, and let go."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxhp.engine.plan import Plan
from jaxhp.engine.sizes import member_bytes
from jaxhp.engine.spec import key_of_group
from jaxhp.engine.work import Emit, Executor
from jaxhp.executors.crew import Crew
from jaxhp.executors.described import Described, Version
from jaxhp.executors.hiring import chosen
from jaxhp.executors.member_store import MemberStore
from jaxhp.executors.orders import Address
from jaxhp.executors.pool import Pool, as_pool
from jaxhp.executors.recipe import Recipe
from jaxhp.executors.remote import Remote
from jaxhp.executors.shipping import packed, script_folder
from jaxhp.search.manifest import FORMAT, recorded, trained
from jaxhp.store.digest import GROUPS
from jaxhp.store.files import located
from jaxhp.store.ledger import Ledger
from jaxhp.trials import ceil_div
from jaxhp.values import Error, Json

_NEEDED = {"platform", "device_kind", "runtime", "devices"}  # of an environment, to know its devices


class Workers(NamedTuple):
    """Who trains, and where members are put.

    Attributes:
      pool: of the workers.
      devices: of a worker.
      environment: of a worker, which has been chosen; all others must be alike.
      place: folder or URL of the members' stores.
      stores: those that searches have had made.
    """

    pool: Pool
    devices: list[Described]
    environment: Json
    place: str
    stores: list[MemberStore]

    def planned(self, search: Any, plan: Plan) -> Plan:
        """Return the plan of one worker as that of all: a member moves once into the store, and once from there."""
        workers = max(len(self.pool.workers()), 1)
        size = max(member_bytes(search.groups.specs[key].shapes, search.epochs) for key in search.groups.shown)
        return replace(plan, workers=workers, moved_bytes=2 * size)

    def remote(self, search: Any, manifest: Json, run: str, emit: Emit) -> Remote:
        """Return what trains a `Search` there; workers find it in the members' store.

        Args:
          manifest, run: of the search, and the id of its directory, by which its part of the store is named.
        """
        of, machine = search.groups, search.machine_of(manifest, self.devices)
        tiles = {key: search.tile_of(spec, machine) for key, spec in of.specs.items()}
        recipe = recipe_of(search, tiles, max(len(self.pool.workers()), 1), len(self.devices))
        place = f"{self.place.rstrip('/')}/{_name(manifest)}-{run[:8]}"
        store = MemberStore(place)
        self.stores.append(store)
        digest = store.put_blob(packed(recipe, store.put_blob))
        crew = Crew(self.pool, Address(place, digest, self.environment, script_folder()), emit)
        return Remote(crew, store, recipe, lambda config: key_of_group(search.space.static(config)), emit)


class Unhired(NamedTuple):
    """Nobody trains for a search that is finished, and nobody is hired: its directory says what trained it."""

    environment: Json

    @property
    def devices(self) -> list[Described]:
        """See `Elsewhere.devices`; their memory and speed are not known any more, and nothing depends on them."""
        of = self.environment
        one = Described(of["platform"], of["device_kind"], Version(str(of["runtime"])), 2**40, 1e12)
        return [one] * int(of["devices"])

    def planned(self, search: Any, plan: Plan) -> Plan:
        """See `Elsewhere.planned`."""
        return plan

    def remote(self, search: Any, manifest: Json, run: str, emit: Emit) -> Executor:
        """See `Elsewhere.remote`: what trains here, if anything did."""
        return search.local(search.machine(), emit)


@contextmanager
def hired(
    executor: Any,
    members: str | Path | None,
    dir: str | Path | None,
    say: Callable[[str], None],
    own: Json | None = None,
    *,
    accept: bool = False,
    more: bool = False,
) -> Iterator[Workers | Unhired]:
    """Have workers while the block runs; those that it has started end with it.

    What they have left for each other goes where the block ends well, and otherwise where it is no trained member, or
    nobody can go on.

    Args:
      executor: see `Search.run`.
      members: the members' store; None: a folder of the run directory, or without one a temporary one.
      dir: the run directory; where it holds a finished search nobody is hired.
      say: tells a person that workers are waited for, and which are not used.
      own: the environment of this process.
      accept: whether the search may go on in another environment than it was begun in.
      more: whether more is asked for than what `dir` holds.

    Raises:
      Error: there are no such workers.
    """
    begun, finished = _begun(dir)
    folder = located(dir) / "members" if members is None and dir is not None else None
    if begun is not None and finished and not more:
        # other ranks of MPI run this script too, until they serve
        with closing(as_pool(executor)) if executor == "mpi" else nullcontext():
            yield Unhired(begun)
        if folder is not None:
            with suppress(OSError):  # a kill left them, in a directory that is perhaps read-only by now
                _clear(_stores_in(folder), folder)
        return
    pool = as_pool(executor)
    temporary, of_no_use = None, []
    try:
        temporary = tempfile.mkdtemp(prefix="jaxhp-members-") if dir is None and members is None else None
        place = str(folder or temporary or members)
        stores: list[MemberStore] = []
        try:
            devices, environment = chosen(pool, None if accept else begun, own, say)
            yield Workers(pool, devices, environment, place, stores)
            of_no_use = [*stores, *(_stores_in(folder) if folder is not None else ())]  # the search is finished
        except BaseException:
            of_no_use = [store for store in stores if dir is None or next(store.names(), None) is None]
            raise
    finally:
        if pool is not executor:  # made here
            pool.close()
        _clear(of_no_use, folder)
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _clear(stores: Sequence[MemberStore], folder: Path | None) -> None:
    """Remove members that are of no use any more, and then the folder of them, where a run directory has one."""
    for store in stores:
        store.clear()
    if folder is not None:
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def _begun(dir: str | Path | None) -> tuple[Json | None, bool]:
    """Return where a directory's search was trained, None for nowhere yet, and whether it is finished."""
    with suppress(Error, OSError):  # what is wrong with it is said where it is run
        if dir is not None and (located(dir) / "manifest.json").exists():
            with Ledger(dir) as ledger:
                manifest = recorded(ledger) or {}
                where = manifest.get("environment")
                known = manifest.get("format") == FORMAT and isinstance(where, dict) and where.keys() >= _NEEDED
                if known and trained(ledger):
                    return where, ledger.meta("finished") is not None
    return None, False


def _stores_in(place: Path) -> list[MemberStore]:
    """Return the stores of a run directory, also those of an environment that it was gone on from."""
    folders = place.iterdir() if place.is_dir() else ()
    return [MemberStore(folder) for folder in folders if folder.is_dir() and not folder.is_symlink()]


def recipe_of(search: Any, tiles: dict[str, int], workers: int, devices: int) -> Recipe:
    """Return what workers need to know of a `Search`.

    Args:
      tiles: of each group.
      workers: how many there are, about.
      devices: of each.
    """
    judged = search.finals.members(search.groups.folds) if search.finals else 1
    most = max(rung.trials for rung in search.rungs)
    fewest = min(ceil_div(rung.trials, tile) for rung in search.rungs for tile in tiles.values())

    def rows(tile: int) -> int:
        share = ceil_div(ceil_div(most, tile), 2 * workers)
        return max(share, min(devices, ceil_div(most, tile))) * tile

    return Recipe(
        specs=dict(search.groups.specs),
        foldings=dict(search.groups.foldings),
        tiles=tiles,
        rows={key: rows(tile) for key, tile in tiles.items()},
        members=search.members,
        replicates=max(search.members, judged),
        epochs=max(search.epochs, *(rung.epochs for rung in search.rungs)),
        seed=search.seed,
        paired=search.paired,
        epoch=search.epoch,
        apart=search.members > 1 and fewest < 2 * workers,
        devices=devices,
        memory=search.memory,
    )


def _name(manifest: Json) -> str:
    """Return a name for a search where it is trained: members of one name, in one directory, have the same bits."""
    facts = {name: value for name, value in manifest.items() if name not in ("experiment", "extended", GROUPS)}
    where = {n: v for n, v in manifest["environment"].items() if n not in ("devices", "python", "argv", "numpy")}
    return hashlib.sha256(json.dumps(facts | {"environment": where}, sort_keys=True).encode()).hexdigest()[:16]
