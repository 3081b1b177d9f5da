"""The picture of a search: the learning curves of its best trials, validation solid and training dashed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

from jaxhp import words
from jaxhp.report import painting, plots
from jaxhp.report.scales import axis
from jaxhp.report.table import show_value
from jaxhp.store.files import write_bytes
from jaxhp.trials import Trial
from jaxhp.words import plain

_WIDE = 32  # columns of a name and a value that are drawn
_SIGNS = {"train": "training", "valid": "validation"}


def draw_curves(trials: Sequence[Trial], metric: str, path: str | Path, *, columns: int = 5, rows: int = 4) -> Path:
    """Draw a grid Best-1, Best-2, ... of the trials given, best first, into a PNG file.

    Args:
      trials: in ranked order; the first columns * rows of those that have a curve are drawn.
      metric: drawn over epochs; the axes are shared, so the panels can be compared.
      path: of the file, which is replaced.
      columns, rows: of the grid, at most.

    Returns:
      The path.

    Raises:
      OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and seldom needed
    from matplotlib.figure import Figure

    shown = [t for t in trials if len(t.curve.get(f"valid_{metric}", ()))][: columns * rows]
    columns = min(columns, max(len(shown), 1))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(2.5 * columns, 2.1 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    y = axis(0.0, 1.02) if metric == "accuracy" else plots.curves_axis(shown, metric, shown[0].mode if shown else None)
    x = axis(1.0, float(max([2, *(trial.epochs for trial in shown)])), whole=True)
    for place, panel in enumerate(axes.flat):
        if place >= len(shown):
            panel.set_axis_off()
            continue
        trial = shown[place]
        painting.paint(plots.learning_curves(trial, metric, y)._replace(x=x), panel, narrow=True)
        panel.set_title(f"Best-{place + 1}  {words.number(trial.score, trial.stderr)}", fontsize=10)
        some = list(trial.config.items())[:3]
        settings = "\n".join(painting.text(f"{plain(name)} {plain(show_value(value))}", _WIDE) for name, value in some)
        valid = trial.curve[f"valid_{metric}"]
        height, side = (0.95, "top") if valid[-1] < valid[0] else (0.05, "bottom")
        style = {"fontsize": 7, "color": "0.35", "parse_math": False, "transform": panel.transAxes}
        panel.text(0.97, height, settings, ha="right", va=side, **style)
        panel.tick_params(labelsize=8)
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel(painting.text(metric, _WIDE), fontsize=10, parse_math=False)
    handles, kinds = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, [_SIGNS[kind] for kind in kinds], loc="outside upper right", ncols=2, fontsize=9, frameon=False
    )
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # it is drawn as a box
        figure.savefig(picture, format="png", dpi=110)
    write_bytes(Path(path), picture.getvalue())
    return Path(path)
