"""One page about one search: a file of its own, without scripts from elsewhere, pictures from elsewhere or a network.

It is made from the store alone. Whatever a user named is text in it (see `markup`); beyond that, a content security
policy allows the page's own script and style sheet by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from jaxhp.report import details, findings, journey
from jaxhp.report.markup import Markup, element
from jaxhp.report.pieces import section
from jaxhp.report.reading import RunRecord, read
from jaxhp.store.files import default_place, write_out
from jaxhp.values import Error

_FILES = ("page.css", "pictures.css", "page.js", "live.js")
_SECTIONS = (
    details.heading,
    findings.chosen,
    findings.front,
    findings.curves,
    findings.scatter,
    journey.threads,
    findings.progress,
    journey.narrowed,
    journey.rungs,
    findings.importance,
    findings.finalists,
    details.trials,
    details.events,
    journey.cost,
    details.setting,
)


def write_report(directory: str | Path, out: str | Path | None = None) -> Path:
    """Write the page about a run directory, finished or not, and return its path.

    Args:
      directory: of the run.
      out: an HTML file, replaced as a whole, a device, or `-`, standard output; None: `report.html` in the directory.

    Raises:
      FileNotFoundError: it is not a run directory.
      Error: it is damaged, or holds no trials yet.
      OSError: `out` cannot be written.
    """
    path = Path(out) if out is not None else default_place(directory, "report.html")
    write_out(path, page(read(directory)).encode(errors="replace"))
    return path


def live_page(directory: str | Path) -> str:
    """Make the page about a run directory that renews itself; or one that says why there is nothing to show yet.

    It asks the server that it came from for a newer one, again and again.
    """
    try:
        return page(read(directory), live=True)
    except (Error, OSError) as error:
        name = Path(directory).absolute().name
        told = section("Nothing to show yet", "This page renews itself.", element("p", error))
        return _whole(name, element("main", element("div", element("h1", name), class_="facts"), told), live=True)


def page(run: RunRecord, *, live: bool = False) -> str:
    """Make the page, as text."""
    return _whole(run.name, element("main", *(make(run) for make in _SECTIONS)), live=live)


def _whole(name: str, main: Markup, *, live: bool) -> str:
    files = resources.files("jaxhp.report")
    page_css, pictures_css, *scripts = (files.joinpath(file).read_text("utf-8") for file in _FILES)
    style, scripts = Markup(page_css + pictures_css), [Markup(script) for script in scripts[: 1 + live]]
    allowed = " ".join(f"'{_hash(script)}'" for script in scripts)
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src {allowed}; base-uri 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy + ("; connect-src 'self'" * live)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{name} · jaxhp"),
        element("style", style),
    )
    state = element("p", "live", class_="live", id="live", role="status") if live else None
    body = element("body", state, main, *(element("script", script) for script in scripts))
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
