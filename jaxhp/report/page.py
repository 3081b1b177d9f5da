"""One page about one search: a file of its own, without scripts from elsewhere, pictures from elsewhere or a network.

It is made from the store alone. Whatever a user named is text in it (see `markup`); beyond that, a content security
policy allows the page's own script and style sheet by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from jaxhp.report import details, findings
from jaxhp.report.markup import Markup, element
from jaxhp.report.reading import RunRecord, read
from jaxhp.store.files import default_place, write_out

_FILES = ("page.css", "pictures.css", "page.js")
_SECTIONS = (
    details.heading,
    findings.chosen,
    findings.front,
    findings.curves,
    findings.scatter,
    findings.progress,
    findings.importance,
    findings.finalists,
    details.trials,
    details.events,
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


def page(run: RunRecord) -> str:
    """Make the page, as text."""
    files = resources.files("jaxhp.report")
    page_css, pictures_css, page_js = (files.joinpath(name).read_text("utf-8") for name in _FILES)
    style, script = Markup(page_css + pictures_css), Markup(page_js)
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{run.name} · jaxhp"),
        element("style", style),
    )
    main = element("main", *(section(run) for section in _SECTIONS))
    body = element("body", main, element("script", script))
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
