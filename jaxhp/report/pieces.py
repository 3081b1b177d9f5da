"""What the sections of the page are made of: headings, lists, tables, legends, and how values are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from jaxhp import words
from jaxhp.report.markup import Markup, element, joined
from jaxhp.report.table import show_value


def section(name: str, lead: str | None, *content: object) -> Markup:
    """Make a card with a heading and, above the content, a line that says how to read it."""
    told = element("p", lead, class_="lead small") if lead else None
    return element("section", element("h2", name), told, *content)


def pairs(entries: Iterable[tuple[str, str]], class_: str | None = None) -> Markup:
    """Make a list of names with their values."""
    shown = (joined(element("dt", name), element("dd", value)) for name, value in entries)
    return element("dl", *shown, class_=class_)


def table(
    names: Sequence[str],
    rows: Sequence[Sequence[object]],
    told: str,
    *,
    kinds: Sequence[str | None] | None = None,
    wide: Sequence[int] = (),
    sortable: bool = False,
) -> Markup:
    """Make a table that scrolls sideways.

    Args:
      names: of the columns.
      rows: cells are text, markup or numbers; None stays empty. Numbers are shown rounded and sorted by their whole
        value.
      told: what it lists, for those who do not see it.
      kinds: a class of each row, or None.
      wide: columns whose text may go over several lines.
      sortable: whether a press on a heading sorts the rows.
    """
    heads = (
        element("th", element("button", n, type="button") if sortable else n, scope="col", class_=_wide(c in wide))
        for c, n in enumerate(names)
    )
    body = (
        element("tr", *(_cell(cell, sortable, c in wide) for c, cell in enumerate(row)), class_=kind)
        for row, kind in zip(rows, kinds or [None] * len(rows), strict=True)
    )
    whole = element("table", element("thead", element("tr", *heads)), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=told)


def _cell(cell: object, sortable: bool, wide: bool) -> Markup:
    class_ = _wide(wide)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return element("td", data_value="" if sortable else None, class_=class_)
    exact = repr(float(cell)) if sortable and isinstance(cell, float) else None
    shown = cell if isinstance(cell, Markup) else cell.text if isinstance(cell, Written) else value(cell)
    return element("td", shown, data_value=exact, class_=class_)


def _wide(wide: bool) -> str | None:
    return "wide" if wide else None


def legend(*items: tuple[str, str]) -> Markup:
    """Make a list of signs, by their class in the style sheet, and what they mean."""

    def sign(kind: str) -> Markup:
        if kind.startswith("line"):
            shape = element("path", d="M1 6H25", class_=kind)
        elif kind == "crosses":
            shape = element("path", d="M10 3l6 6m0 -6l-6 6", class_=kind)
        elif kind.startswith("point"):
            shape = element("circle", cx=13, cy=6, r=4.5, class_=kind)
        elif kind.startswith("bar"):
            shape = element("rect", x=2, y=2, width=22, height=8, rx=2, class_=kind)
        else:
            shape = element("path", d="M13 6h0", class_=kind)
        return element("svg", shape, viewBox="0 0 26 12", aria_hidden="true")

    return element("ul", *(element("li", sign(kind), text) for kind, text in items), class_="legend")


class Written(float):
    """A number whose text is known, by which a table shows it."""

    text: str


def written(value: float, text: str) -> Written:
    """Make a cell that is shown as `text` and sorted as `value`."""
    cell = Written(value)
    cell.text = text
    return cell


def scores(values: Sequence[float], errors: Sequence[float] | None = None) -> tuple[list[Written], list[Written]]:
    """Make two columns of a table: scores, and their errors."""
    texts = words.column(values, errors)
    errors = [math.nan] * len(values) if errors is None else errors
    return (
        [written(value, text) for value, (text, _) in zip(values, texts, strict=True)],
        [written(error, text) for error, (_, text) in zip(errors, texts, strict=True)],
    )


def score(number: float, error: float = math.nan) -> str:
    """Write a score to the digits that its error leaves.

    >>> score(0.81236, 0.01), score(7.04e-6), score(float("nan"))
    ('0.812', '7.040e-06', '–')
    """
    return words.number(number, error) if math.isfinite(number) else "–"


def value(given: object) -> str:
    """Write a hyperparameter's value, or anything else."""
    return "–" if isinstance(given, float) and not math.isfinite(given) else show_value(given)


def listed(given: object) -> str:
    """Write a value, or the values of a list."""
    return ", ".join(map(str, given)) if isinstance(given, list) else value(given)


def when(seconds: float) -> str:
    """Write a moment, given in seconds since 1970."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (TypeError, ValueError, OverflowError, OSError):
        return "–"
