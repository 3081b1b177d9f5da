"""The command line: run, resume, extend, show, watch, plan, report, export, test, verify, digest. See `jaxhp --help`.

The commands that train import JAX, those that read do without.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from jaxhp.interop import FORMATS, export
from jaxhp.interop.watch import parsed
from jaxhp.report.bits import depends_on
from jaxhp.report.curves import draw_curves
from jaxhp.report.following import following, written
from jaxhp.report.page import live_page, write_report
from jaxhp.report.result import Result
from jaxhp.report.serving import watch
from jaxhp.search.signals import Stopped
from jaxhp.store.files import STDOUT, located, read_json
from jaxhp.store.ledger import Ledger
from jaxhp.values import Error
from jaxhp.words import plain

if TYPE_CHECKING:
    from jaxhp.search.search import Search

OTHER = 1  # exit code of a directory whose trials have other bits when they are trained again
NOTHING = 3  # exit code of a search that can choose nothing, since every trial diverged
STOPPED = 75  # exit code of a search that stopped when asked: "try again later" in sysexits.h
FAILED = 2  # exit code where an argument or a run directory does not fit
_JAX_NOTE = "-----"  # how JAX begins its note on the traceback, which is not shown here


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    0; 1 where `verify` finds other bits; 2 for what does not fit; 3 for a search that was run and whose every trial
    diverged; 75 for a search stopped by a signal.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a letter of a name
    try:
        options = _parser().parse_args(arguments)
        return options.command(options) or 0
    except Stopped:
        return STOPPED  # it has said what there is to say
    except (Error, OSError, MemoryError) as error:  # anything else is a defect, and keeps its traceback
        notes = [f"  {plain(note)}" for note in getattr(error, "__notes__", ()) if not note.startswith(_JAX_NOTE)]
        print(f"jaxhp: {plain(error)}", *notes, sep="\n", file=sys.stderr)
        return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raises Error with one line, without the usage."""
        missing = any(word in message for word in ("required", "unrecognized", "expected one"))
        dash = "; a name that begins with a dash is given as ./-name" if missing else ""
        raise Error(f"{message}{dash}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxhp", description="Train a whole hyperparameter search at once on JAX.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Callable[..., int | None], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        made.set_defaults(command=function)
        return made

    def experiment(made: argparse.ArgumentParser) -> None:
        made.add_argument("experiment", metavar="FILE[:NAME]", help="a Python file and the Search in it; NAME: search")
        made.add_argument("--seed", type=int, help="another seed than the file's")
        made.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="another value of an argument of the Search or of its strategy, such as epochs=5",
        )
        made.add_argument("--smoke", action="store_true", help="a tiny version, to see that everything works")

    def watched(made: argparse.ArgumentParser) -> None:
        text = "log it while it runs: tensorboard:DIR, mlflow[:URI], wandb[:PROJECT] or csv:PATH; may be given again"
        made.add_argument("--watch", action="append", default=[], metavar="TRACKER", help=text)

    def elsewhere(made: argparse.ArgumentParser) -> None:
        text = "train on workers: processes:4, ray, dask://host:port, slurm:nodes=8,gres=gpu:1 or mpi; the same digest"
        made.add_argument("--executor", metavar="ENGINE", help=text)
        made.add_argument("--members", metavar="URL", help="where workers share members; by default in the directory")

    def until(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--time",
            metavar="30m",
            help="how long this run may take (90s, 30m, 1h30m): no round is begun that leaves no time for the finals",
        )
        made.add_argument("--target", type=float, help="begin no further round once a score is as good as that")
        made.add_argument("--patience", type=int, metavar="K", help="nor after K rounds that brought no better score")

    run = command("run", _run, "run a search, or what is left of it")
    experiment(run)
    run.add_argument("--dir", type=Path, help="the run directory; by default runs/ and the file's name")
    watched(run)
    elsewhere(run)
    until(run)
    resume = command("resume", _resume, "go on with a search after a crash, a kill or a pre-emption")
    extend = command("extend", _extend, "go on with a search for more rounds or epochs; what was trained stays")
    extend.add_argument("--rounds", metavar="+N|N", help="so many more (+2), or so many in all (6)")
    extend.add_argument("--epochs", type=int, help="another, larger budget of a trial")
    for made in (resume, extend):
        made.add_argument("dir", type=Path)
        made.add_argument(
            "--accept-environment",
            action="store_true",
            help="even though jaxlib, or the kind of device (a CPU's instruction set is part of its kind), is another, "
            "so that last bits may differ",
        )
        watched(made)
        elsewhere(made)
        until(made)
    show = command("show", _show, "print the ranked trials of a run directory")
    show.add_argument("dir", type=Path)
    show.add_argument("--top", type=int, help="how many; by default 10, with --json all")
    show.add_argument("--json", action="store_true", help="as a JSON list, best first")
    plan = command("plan", _plan, "print groups, tiles, waves, memory and work of a search; trains nothing")
    experiment(plan)
    plan.add_argument("--json", action="store_true")
    plan.add_argument(
        "--executor", metavar="ENGINE", help="on these workers, as run takes them; one is asked what it is"
    )
    report = command("report", _report, "write one self-contained page about a run directory")
    report.add_argument("dir", type=Path)
    report.add_argument("--out", type=Path, metavar="FILE.html", help="by default report.html in the directory")
    watch = command("watch", _watch, "show the report in a browser on this machine, renewed while the search runs")
    watch.add_argument("dir", type=Path)
    watch.add_argument("--port", type=int, default=0, help="on 127.0.0.1; by default any that is free")
    export = command("export", _export, "write the trials of a run directory for another tool")
    export.add_argument("dir", type=Path)
    export.add_argument("--to", choices=FORMATS, required=True, help="csv, parquet, optuna or tensorboard")
    export.add_argument("--out", help="a file, a folder or the URL of an Optuna storage; by default in the directory")
    test = command("test", _test, "open the sealed test data once, for the chosen trial")
    test.add_argument("dir", type=Path)
    test.add_argument("--seeds", type=int, default=8, help="fresh replicates to train")
    verify = command("verify", _verify, "train recorded trials again and compare every bit")
    verify.add_argument("dir", type=Path)
    verify.add_argument("--trials", type=int, default=20, help="how many, the chosen one among them; 0: all")
    digest = command(
        "digest",
        _digest,
        "print the SHA-256 of the ledger's content: equal for equal searches, bit for bit",
    )
    digest.add_argument("dir", type=Path)
    return parser


def _run(options: argparse.Namespace) -> int:
    from jaxhp.search.experiment import Experiment

    known = _how(options)
    experiment = Experiment.parse(options.experiment, options.seed, options.set, options.smoke)
    search = experiment.search()
    directory = (options.dir or Path("runs") / Path(experiment.file).stem).expanduser()
    return _present(search.run(directory, experiment=experiment.to_json(), **known), directory, search)


def _resume(options: argparse.Namespace) -> int:
    known = _how(options)
    search = _recorded_search(options.dir)
    directory = options.dir.expanduser()
    result = search.run(directory, accept_environment=options.accept_environment, **known)
    return _present(result, directory, search)


def _extend(options: argparse.Namespace) -> int:
    from jaxhp.search.extension import in_all, read_rounds

    if options.rounds is None and options.epochs is None:
        raise Error("extend: expected --rounds +N or --epochs N, got neither")
    rounds, known = options.rounds and read_rounds(options.rounds), _how(options)
    search, directory = _recorded_search(options.dir), options.dir.expanduser()
    larger = search.reaching(in_all(directory, search.strategy, search.extent, rounds, options.epochs))
    result = search.run(directory, larger=larger, accept_environment=options.accept_environment, **known)
    return _present(result, directory, search)


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """Return who trains, until when, and who watches, as arguments of `Search.run`."""
    from jaxhp.search.enough import read_time

    watch = [parsed(text) for text in options.watch]
    seconds = None if options.time is None else read_time(options.time)
    until = {"seconds": seconds, "target": options.target, "patience": options.patience}
    return until | {"watch": watch, "executor": options.executor, "members": options.members}


def _recorded_search(directory: Path) -> Search:
    """The search of a run directory, from the experiment file that its manifest names."""
    from jaxhp.search.experiment import Experiment

    record = read_json(located(directory) / "manifest.json").get("experiment")
    if record is None:
        raise Error(
            f"{directory}: expected a search that jaxhp run started; this one was started by a script: run that again, "
            "or call search.extend, search.test or hp.verify in it"
        )
    experiment = Experiment.from_json(record)
    print(f"running the code of {plain(experiment)}", file=sys.stderr)
    return experiment.search()


def _present(result: Result, directory: Path, search: Search) -> int:
    picture = draw_curves(result.trials, result.metric, directory / "curves.png")
    print(result.table(), result.summary(), f"picture   {plain(picture)}", sep="\n")
    tested = getattr(search.groups.first.task, "test", None) is not None
    print(written(following(result, directory, tested=tested)))
    return NOTHING if result.ruin is not None else 0


def _show(options: argparse.Namespace) -> None:
    if options.top is not None and options.top < 1:
        raise Error(f"--top: expected at least 1, got {options.top}")
    result = Result.load(options.dir, options.top or (None if options.json else 10), curves=False)
    if options.json:
        print(json.dumps(result.rows(options.top), indent=1))
    else:
        bits = depends_on(read_json(located(options.dir) / "manifest.json"))
        print(result.table(options.top or 10), result.summary(), f"bits      {bits}", sep="\n")


def _plan(options: argparse.Namespace) -> None:
    from jaxhp.search.experiment import Experiment

    search = Experiment.parse(options.experiment, options.seed, options.set, options.smoke).search()
    plan = search.plan(executor=options.executor)
    print(json.dumps(plan.to_json(), indent=1) if options.json else plan)


def _report(options: argparse.Namespace) -> None:
    path = write_report(options.dir, options.out)
    print(f"report in {plain(path)}", file=_beside(options.out))


def _watch(options: argparse.Namespace) -> None:
    watch(options.dir, options.port, live_page)


def _export(options: argparse.Namespace) -> None:
    place, written, training = export(options.dir, options.to, options.out)
    left_out = f"; {training} still in training are left out" if training else ""
    print(f"{written} trials in {plain(place)}{left_out}", file=_beside(options.out))


def _beside(out: object) -> TextIO:
    """Where what is said about a file is printed: not into the file."""
    return sys.stderr if str(out) == STDOUT else sys.stdout


def _test(options: argparse.Namespace) -> None:
    search = _recorded_search(options.dir)
    search.test(options.dir, seeds=options.seeds)
    print(Result.load(options.dir).summary())


def _verify(options: argparse.Namespace) -> int:
    from jaxhp.search.verify import verify

    found = verify(_recorded_search(options.dir), options.dir, options.trials or None)
    print(*map(plain, str(found).splitlines()), sep="\n")
    return OTHER if found.differences else 0


def _digest(options: argparse.Namespace) -> None:
    read_json(located(options.dir) / "manifest.json")  # without one nothing was begun in it
    with Ledger(options.dir) as ledger:
        print(ledger.digest())
