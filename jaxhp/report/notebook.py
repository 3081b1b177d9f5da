"""What a notebook shows of a result: self-contained HTML that is at home on light and dark, without scripts."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from jaxhp.report import plots
from jaxhp.report.drawing import draw
from jaxhp.report.markup import Markup, element
from jaxhp.report.pieces import legend, pairs, table
from jaxhp.report.table import Columns, FreshScores, cells_of
from jaxhp.trials import Trial, Trials


def html(
    trials: Trials,
    chosen: Trial | None,
    metric: str,
    mode: str,
    lines: Iterable[tuple[str, str]],
    finals: FreshScores,
    others: Columns,
) -> str:
    """Make the HTML of a result: what was found, the curves of the best trials, and the ten best.

    Args:
      lines: names and sentences of what was found.
      finals, others: see `cells_of`.
    """
    headings, *rows = cells_of(trials, metric, 10, finals, others)
    parts = [pairs(lines)]
    if best := plots.front_runners(trials, chosen, metric, 10):
        first = ("line valid", f"trial {best[0].trial_id}, validation")
        signs = legend(first, ("line train", "training"), ("line other", "others"))
        parts.append(element("figure", draw(plots.best_curves(best, metric, mode)), signs))
    ranked = table(headings, rows, "Ranked trials")
    return element("div", style(), element("div", *parts, class_="beside"), ranked, class_="jaxhp")


def style() -> Markup:
    """Make the style sheet of what is shown in notebooks, which reaches nothing outside of it.

    Text has the notebook's own colour, and everything else one that can be told from white and from black.
    """
    files = resources.files("jaxhp.report")
    own, pictures = (files.joinpath(name).read_text("utf-8") for name in ("notebook.css", "pictures.css"))
    return element("style", Markup(own + pictures.replace("svg", ".jaxhp svg")))
