"""Draw the pictures of the documentation's gallery: docs/gallery/*.png, each from the experiment of its name.

    python experiments/pictures.py pinn vae        # runs these experiments, and draws what their search found
    python experiments/pictures.py figures         # draws the tables that experiments have in their docstrings
    python experiments/pictures.py --smoke         # the tables, into a folder that is thrown away

Needs what the experiments need. Those that are run take half a minute to three minutes of CPU each.
"""

import argparse
import ast
import re
import runpy
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxhp as hp

HERE = Path(__file__).resolve().parent
GALLERY = HERE.parent / "docs" / "gallery"
SEARCHES = {  # the experiment, and the parameter whose slice is shown beside the learning curves
    "pinn": "lr",
    "vae": "lr",
    "gru_sequences": "lr",
    "equinox_mlp": "lr",
    "transformer_lm": "lr",
    "ppo_cartpole": "lr",
}
BLUE, GREY = "#3f51b5", "#9e9e9e"


def lines_of(file: str) -> list[str]:
    """The indented lines of a docstring, its tables among them."""
    text = ast.get_docstring(ast.parse((HERE / file).read_text())) or ""
    return [line for line in text.splitlines() if line.startswith("    ")]


def table_of(file: str) -> list[list[str]]:
    """The same, split where two spaces are."""
    return [re.split(r"\s{2,}", line.strip()) for line in lines_of(file)]


def bars(ax: Axes, names: Sequence[str], values: Sequence[float], title: str, ours: str, digits: int = 1) -> None:
    """One bar a name, the first on top, with its value beside it."""
    colours = [BLUE if name.startswith(ours) else GREY for name in names]
    found = ax.barh(range(len(names)), values, color=colours)
    ax.bar_label(found, [f"{value:.{digits}f}" for value in values], padding=3)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.margins(x=0.12)
    ax.set_title(title, loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


def strategies(figure: Figure) -> None:
    """Mean rank of the regret for four rounds of 64."""
    rows = [re.match(r"(.+?)((?: +[\d.]+){20})$", line.strip()) for line in lines_of("benchmarks/strategies.py")]
    ranks = {row[1].strip(): float(row[2].split()[11]) for row in rows if row}  # the fourth of the third regime
    bars(figure.subplots(), list(ranks), list(ranks.values()), "mean rank, 4 rounds of 64", "Auto")


def peers(figure: Figure) -> None:
    """How much longer the same trials take in other ways."""
    rows = [row for row in table_of("benchmarks/peers.py") if len(row) >= 4 and row[0] not in ("way", "jaxhp")]
    for ax, column, what in zip(figure.subplots(1, 2, sharey=True), (2, 4), ("book's network", "small"), strict=True):
        times = [float(" ".join(row[1:]).split()[column - 1]) for row in rows]
        bars(ax, [row[0] for row in rows], times, f"times slower, {what}", "jaxhp")


def pareto(figure: Figure) -> None:
    """The share of the best hypervolume, the mean of the six problems."""
    rows = [row for row in table_of("pareto.py") if len(row) == 7 and row[0] != "32 x 4"]
    means = [float(np.mean([float(cell.split()[0]) for cell in row[1:]])) for row in rows]
    bars(figure.subplots(), [row[0] for row in rows], means, "share of the best hypervolume, six problems", "Pareto", 3)


def ensembles(figure: Figure) -> None:
    """What an ensemble gains, with its interval."""
    rows = [row for row in table_of("ensembles.py") if len(row) == 8]
    ax, places = figure.subplots(), range(len(rows))
    gains = np.asarray([float(row[3]) for row in rows])
    low, high = (np.asarray([float(row[4].split(" to ")[end]) for row in rows]) for end in (0, 1))
    ax.errorbar(gains, places, xerr=[gains - low, high - gains], fmt="o", color=BLUE, capsize=3)
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(places, [row[0] for row in rows])
    ax.invert_yaxis()
    ax.set_title("accuracy gained by the ensemble, 95% intervals", loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


def tabular_cv(figure: Figure) -> None:
    """AUC on new sites."""
    rows = [row for row in table_of("tabular_cv.py") if len(row) >= 2 and re.fullmatch(r"0\.\d{4}", row[-2] + "")]
    rows += [row for row in table_of("tabular_cv.py") if row[0] == "the true log-odds"]
    aucs = [float(row[-2] if len(row) > 2 else row[-1]) for row in rows]
    bars(figure.subplots(), [row[0] for row in rows], aucs, "AUC on new sites", "network", 3)


def whole_set_metrics(figure: Figure) -> None:
    """How often the 95% intervals of metrics of the whole set cover the truth."""
    rows = [row for row in table_of("whole_set_metrics.py") if len(row) == 6 and row[0] in ("AUC", "F1", "R2")]
    ax = figure.subplots()
    for place, kind in enumerate(("AUC", "F1", "R2")):
        covers = [float(row[5]) for row in rows if row[0] == kind]
        ax.plot(covers, place + np.linspace(-0.25, 0.25, len(covers)), "o", color=BLUE)
    ax.axvline(0.95, color=GREY, linewidth=1)
    ax.set_xlim(0.9, 1.0)
    ax.set_yticks(range(3), ["AUC", "F1", "R2"])
    ax.invert_yaxis()
    ax.set_title("share of 95% intervals that cover the truth", loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


def honest_numbers(figure: Figure) -> None:
    """The bias of the raw best and of the estimate, in standard errors."""
    lines = " ".join((HERE / "honest_numbers.py").read_text().split('"""')[1].splitlines())
    found = re.findall(r"(\d+) +([\d.]+) +([+-][\d.]+) +[+-][\d.]+ +0\.\d+ +0\.\d+ to", lines)
    raw, estimate = ([float(row[at]) for row in found] for at in (1, 2))
    ax, places = figure.subplots(), np.arange(len(found))
    ax.barh(places - 0.2, raw, 0.4, color=GREY, label="raw best")
    ax.barh(places + 0.2, estimate, 0.4, color=BLUE, label="estimate")
    names = [name for name in ("seeds", "examples", "half held out", "given up early") for _ in range(2)]
    ax.set_yticks(places, [f"{name}, {16 if at % 2 == 0 else 4} replicates" for at, name in enumerate(names)])
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 1.13), ncols=2)
    ax.set_title("bias in standard errors (0 is the truth)", loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


FIGURES: dict[str, Callable[[Figure], None]] = {
    drawn.__name__: drawn
    for drawn in (strategies, peers, pareto, ensembles, tabular_cv, whole_set_metrics, honest_numbers)
}


def found_by(name: str, smoke: bool) -> hp.Result:
    """The result of the first search that an experiment runs."""
    found: list[hp.Result] = []
    run = hp.Search.run

    def kept(self: hp.Search, *args: object, **options: object) -> hp.Result:
        found.append(run(self, *args, **options))  # pyright: ignore[reportArgumentType]
        return found[-1]

    arguments, sys.argv = sys.argv, [name, "--smoke"] if smoke else [name]
    hp.Search.run = kept  # pyright: ignore[reportAttributeAccessIssue]
    try:
        runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")
    finally:
        sys.argv, hp.Search.run = arguments, run
    return found[0]


def search(figure: Figure, result: hp.Result, parameter: str) -> None:
    """Learning curves, and the score by one parameter."""
    left, right = figure.subplots(1, 2)
    result.plot.curves(ax=left)
    result.plot.slices(parameter, ax=right)


def draw(name: str, folder: Path, smoke: bool) -> None:
    """One picture of the gallery."""
    figure = Figure(figsize=(8, 3.2), layout="constrained", dpi=110)
    if name in SEARCHES:
        search(figure, found_by(name, smoke), SEARCHES[name])
    else:
        FIGURES[name](figure)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png")
    print(folder / f"{name}.png", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*SEARCHES, *FIGURES, "figures", []], help="none: all")
    parser.add_argument("--smoke", action="store_true", help="small; into a folder that is thrown away")
    arguments = parser.parse_args()
    names = arguments.names or (["figures"] if arguments.smoke else [*SEARCHES, "figures"])
    with tempfile.TemporaryDirectory() as away:
        for name in [one for of in names for one in (FIGURES if of == "figures" else [of])]:
            draw(name, Path(away) if arguments.smoke else GALLERY, arguments.smoke)


if __name__ == "__main__":
    main()
