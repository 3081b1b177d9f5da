"""What a search will need, group by group and in all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from jaxhp.engine.plan import GroupPlan, Plan, plan_group
from jaxhp.engine.rate import expected_seconds
from jaxhp.engine.runtime import Device
from jaxhp.engine.spec import Spec
from jaxhp.search.workload import epochs_trained, slot_epochs


def plan_of(search: Any, groups: list[GroupPlan], devices: Sequence[Device]) -> Plan:
    """Return the plan of a `Search` whose groups need this."""
    finals = (search.finals.top, search.finals.members(search.groups.folds)) if search.finals else None
    rungs, members, epochs = search.rungs, search.members, search.epochs
    total = epochs_trained(rungs) * members + (finals[0] * finals[1] * epochs if finals else 0)
    slots = [slot_epochs(rungs, members, finals, epochs, group.tile, len(search.groups.specs)) for group in groups]
    share = len(search.groups.specs) / len(groups)  # which stand for all
    flops = share * sum(trained * group.epoch_flops for trained, group in zip(slots, groups, strict=True))
    return Plan(
        device=devices[0].device_kind,
        devices=len(devices),
        rungs=[(rung.trials, rung.epochs) for rung in rungs],
        replicates=members,
        finals=finals,
        no_finals=search.no_finals,
        member_epochs=total,
        slot_epochs=share * sum(slots),
        flops=flops,
        expect=partial(expected_seconds, flops, devices) if search.groups.examples else None,
        groups=groups,
        of_groups=len(search.groups.specs),
    )


def plan_one(search: Any, spec: Spec, tile: int, devices: Sequence[Device], memory: int | None) -> GroupPlan:
    """Return the plan of a static group of a `Search`; see `plan_group`."""
    return plan_group(
        spec,
        tile=tile,
        rungs=search.rungs,
        replicates=search.members,
        epochs=search.epochs,
        devices=list(devices),
        memory=memory,
        groups=len(search.groups.specs),
    )
