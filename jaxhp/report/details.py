"""The sections of the page that list: the heading, the ranked trials, what happened, and what was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from jaxhp.report.bits import depends_on
from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.pieces import listed, pairs, scores, section, table, when, written
from jaxhp.report.reading import RunRecord
from jaxhp.report.table import finals_column
from jaxhp.report.telling import duration, plural
from jaxhp.trials import Status
from jaxhp.values import Json

_ROWS = 300  # of the table of trials
_EVENTS = 200  # the last ones
_SEARCH = (
    "strategy",
    "epochs",
    "seed",
    "replicates",
    "folds",
    "folding",
    "paired",
    "finals",
    "tile",
    "batch_size",
    "train_examples",
)
_MACHINE = (
    "device_kind",
    "devices",
    "platform",
    "python",
    "jax",
    "jaxlib",
    "jaxhp",
    "numpy",
    "optax",
    "matmul_precision",
)


def heading(run: RunRecord) -> Markup:
    """Make the heading: what was run, and when."""
    result, seed = run.result, run.manifest.get("seed")
    times = {event["kind"]: event["time"] for event in run.events if event["kind"] in ("begun", "finished")}
    parents = [event["learns_from"] for event in run.events if event["kind"] == "begun" and "learns_from" in event]
    name, kind = str(result.stage), "finished" if result.stage.finished else "running"
    diverged = sum(trial.status is Status.DIVERGED for trial in result.trials)
    facts = [
        plural(len(result.trials), "trial") + (f", {diverged:,} diverged" if diverged else ""),
        plural(len(run.rounds), "round"),
        *(
            f"{name}: {'higher' if mode == 'max' else 'lower'} is better"
            for name, mode in zip(result.objectives.names, result.objectives.modes, strict=True)
        ),
        f"seed {seed}" if seed is not None else None,
        *(f"learns from {parent}" for parent in parents),
        f"{run.told('devices')} × {run.told('device_kind')}" if run.told("device_kind") else None,
        f"begun {when(times['begun'])}" if "begun" in times else None,
        f"finished {when(times['finished'])}" if "finished" in times else None,
        f"{duration(run.spent['wall_s'])} in all" if "wall_s" in run.spent else None,
    ]
    title = element("div", element("h1", run.name), element("span", name, class_=f"pill {kind}"), class_="heading")
    shown = (element("span", fact) for fact in facts if fact is not None)
    return element("header", title, element("p", *shown, class_="facts"))


def trials(run: RunRecord) -> Markup:
    """Make the section with the ranked table."""
    result = run.result
    shown = result.trials[:_ROWS]
    names = [n for n in dict.fromkeys(n for trial in shown for n in trial.config) if n not in run.space.fixed]
    finals = ["finals"] if result.finals else []
    known, errors = scores([trial.score for trial in shown], [trial.stderr for trial in shown])
    again = finals_column(shown, result.finals)
    others = {name: scores(values[:_ROWS].tolist())[0] for name, values in result.others.items()}
    rows = []
    for place, trial in enumerate(shown, 1):
        row: list[object] = [place, trial.trial_id, known[place - 1], errors[place - 1]]
        row += [column[place - 1] for column in others.values()]
        row += [written(*again[trial.trial_id]) if trial.trial_id in again else None] if finals else []
        row += [trial.config.get(name) for name in names]
        pill = element("span", str(trial.status), class_=f"pill {trial.status.name.lower()}")
        rows.append([*row, trial.epochs, trial.round + 1, pill])
    columns = ["rank", "trial", result.metric, "± stderr", *others, *finals, *names, "epochs", "round", "status"]
    kinds = ["chosen" if trial.trial_id == run.chosen else None for trial in shown]
    lead = joined(f"All {plural(len(shown), 'trial')}.")
    if left_out := len(result.trials) - len(shown):
        known = f"The best {len(shown):,} of {len(result.trials):,} trials; {left_out:,} are left out here."
        command = element("code", f"jaxhp export {shlex.quote(str(run.directory))} --to csv")
        lead = joined(known, " All are written by ", command, ".")
    lead = joined(lead, " Press a heading to sort.")
    return section("Ranked trials", lead, table(columns, rows, "Ranked trials", kinds=kinds, sortable=True))


def events(run: RunRecord) -> Markup | None:
    """Make the section of what happened; None where nothing did."""
    if not run.events:
        return None
    rows = [[when(event["time"]), event["kind"], _what(event)] for event in run.events[-_EVENTS:]]
    left_out = len(run.events) - len(rows)
    lead = f"The last {len(rows)}; {left_out:,} earlier ones are left out." if left_out else None
    return section("Events", lead, table(("time", "what", "details"), rows, "Events", wide=(1, 2)))


def _what(event: Json) -> str:
    """Write an event's details in words."""
    detail = {name: given for name, given in event.items() if name not in ("time", "kind")}
    if isinstance(detail.get("round"), int):
        detail["round"] += 1
    by_trial, number = detail.get("epoch_by_trial"), detail.get("round")
    if isinstance(by_trial, Mapping):
        some = ", ".join(f"{trial} (epoch {epoch})" for trial, epoch in list(by_trial.items())[:8])
        more = f" and {len(by_trial) - 8:,} more" if len(by_trial) > 8 else ""
        place = f" in round {number}" if isinstance(number, int) else ""
        return f"{plural(len(by_trial), 'trial')}{place}: {some}{more}"
    environment = detail.pop("environment", None)
    if isinstance(environment, Mapping):
        detail |= {name: environment[name] for name in ("devices", "device_kind", "jax") if name in environment}
    plain = ("text", "notes")  # say what they are
    return "; ".join((f"{name} " if name not in plain else "") + listed(given) for name, given in detail.items())


def setting(run: RunRecord) -> Markup:
    """Make the section of what was asked for, and of what it ran on."""
    space = [(name, str(parameter)) for name, parameter in run.parameters.items()]
    space += [(name, f"{given} (fixed)") for name, given in run.space.fixed.items()]
    search = [(name, listed(run.manifest[name])) for name in _SEARCH if run.manifest.get(name) is not None]
    machine = [(name, listed(run.told(name))) for name in _MACHINE if run.told(name) is not None]
    machine.append(("bits depend on", depends_on(run.manifest)))
    columns = {"Space": space, "Search": search, "Machine": machine}
    parts = (
        element("div", element("h3", name), pairs((key.replace("_", " "), given) for key, given in entries))
        for name, entries in columns.items()
    )
    return section("Setting", None, element("div", *parts, class_="three small"))
