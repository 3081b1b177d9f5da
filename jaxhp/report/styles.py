"""The style sheet of what notebooks show."""

from __future__ import annotations

from importlib import resources

from jaxhp.report.markup import Markup, element


def style(*, pictures: bool = True) -> Markup:
    """Make the style sheet of what is shown in notebooks, which reaches nothing outside of it; of `pictures` too.

    Text has the notebook's own colour, and everything else one that can be told from white and from black.
    """
    files = resources.files("jaxhp.report")
    own, drawn = (files.joinpath(name).read_text("utf-8") for name in ("notebook.css", "pictures.css"))
    return element("style", Markup(own + drawn.replace("svg", ".jaxhp svg") if pictures else own))
