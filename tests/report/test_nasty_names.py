"""Names that would act where they are shown: all of them are text, in a terminal, on the page and in pictures."""

import io
import re
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recorded import manifest
from rich.console import Console

import jaxhp as hp
from jaxhp.engine.events import Noted, Progressed, RoundBegan, RoundFinished
from jaxhp.report.curves import draw_curves
from jaxhp.report.display import Display
from jaxhp.report.page import page
from jaxhp.report.reading import RunRecord
from jaxhp.report.result import Result
from jaxhp.selection.importance import Importance, Share
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Status, Trial, Trials
from jaxhp.words import plain

PARTS = [
    "recall[macro]",
    "[/x]",
    "[bold red]",
    "$\\foo$",
    "$",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "\x00",
    "\r",
    "\n",
]
PARTS += [
    "\n",
    "\u202e",
    "\u2028",
    "</style>",
    "<script>",
    "&amp;",
    '"',
    "'",
    "学習率",
    "\\",
    "_^{",
    "%(x)s",
    "{0}",
    "  ",
]
names = st.lists(st.sampled_from(PARTS) | st.text(st.characters(codec="utf-8"), max_size=3), min_size=1, max_size=4)
names = names.map("".join).filter(len)
harmless = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt])")


def acts(text: str) -> set[str]:
    """The characters that a terminal would act on, or cannot be written to one."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")} - {"\n"}


@given(names)
@example("\udcff half a character")
def test_plain_text_is_one_line_that_acts_on_nothing_and_keeps_every_harmless_character(name):
    shown = plain(name)
    assert not acts(shown)
    assert "\n" not in shown
    assert plain(shown) == shown
    kept = "".join(c for c in name if not acts(c) and c != "\n")
    assert harmless.sub("", shown) == harmless.sub("", kept) or "\\" in name


NOTEBOOK = {"div", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd"}
NOTEBOOK |= {"style", "figure", "svg", "text", "path", "line", "ul", "li"}


def run_of(name: str, value: str, metric: str) -> Result:
    """Two trials with a parameter, a value and a metric of these names, in memory."""
    space = hp.Space(**{name: hp.Choice([value, value + "2"])})
    with Ledger(None, write=True) as ledger:
        curve = {f"{part}_{metric}": np.float32([0.25, 0.5]) for part in ("train", "valid")}
        trials = [Trial(i, {name: value}, 0, Status.COMPLETE, 2, 0.5 + 0.1 * i, 0.011, curve, (0.5,)) for i in (0, 1)]
        ids = np.arange(2, dtype="<i4")
        ledger.begin(Round(0, 2, np.zeros((2, 1), "<f4"), ids * 0 - 1, ids), Trials.of(trials))
        ledger.finish(0, Trials.of(trials), np.float32([0.5, 0.625]), 1.0)
        ledger.event("warning", text=value)
        ledger.set_meta("finished", "yes")
        result = Result.of(ledger, metric, "max", space=space)
        record = RunRecord(
            name, None, manifest(space, metric), result, space, ledger.rounds(), ledger.events(), {}, "too few trials"
        )
    return result, page(record)


class Seen(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.words, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.words += [value for _, value in attrs if value]

    def handle_data(self, data):
        self.words.append(data)


TAGS = set(Seen(run_of("lr", "a", "accuracy")[1]).tags)


@settings(max_examples=40)
@given(names, names, names)
@example("recall[macro]", "[/x]", "$\\foo$")
def test_they_are_text_in_table_summary_and_page(name, value, metric):
    result, written = run_of(name, value, metric)
    table, summary = result.table(), result.summary()
    assert not acts(table)
    assert not acts(summary)
    assert table.count("\n") == 3
    head, first = table.splitlines()[:2]
    assert plain(metric) in head
    assert plain(name) in head
    assert plain(value) in first
    assert f"{plain(name)}={plain(value)}" in summary
    assert not acts(repr(result))
    notebook = Seen(result._repr_html_())
    assert not acts("".join(notebook.words))
    assert set(notebook.tags) <= NOTEBOOK
    assert {plain(name), plain(value), plain(metric)} <= set(notebook.words)
    written.encode()
    seen = Seen(written)
    assert not acts("".join(seen.words[:-1]).replace("\t", ""))
    assert set(seen.tags) == TAGS
    assert any(plain(metric) in word for word in seen.words)
    assert any(word == plain(name) for word in seen.words)


@settings(max_examples=20)
@given(names, names, names)
@example("recall[macro]", "[/x]", "\x1b[2J")
def test_they_are_text_in_the_display(name, value, metric):
    drafts = Trials.of([Trial(0, {name: value})])
    for terminal in (False, True):
        text = io.StringIO()
        console = Console(file=text, width=4000, height=50, force_terminal=terminal, color_system=None, _environ={})
        with Display(4, metric, console=console) as display:
            display.observe(Noted(value))
            display.observe(RoundBegan(0, 1, 1, drafts))
            display.observe(Progressed(drafts.trial_id, np.float32([0.5]), 1, 4, 1.0, True, 0))
            display.observe(RoundFinished(0, Trials.of([Trial(0, {name: value}, 0, Status.COMPLETE, 1, 0.5)]), False))
        # but for what the live display itself sends
        shown = re.sub(r"\x1b\[(\?25[lh]|\d*[AK]|[\d;]*m)|\r", "", text.getvalue())
        assert not acts(shown)
        assert plain(value) in shown
        assert plain(metric) in shown


@settings(max_examples=2)
@given(names, names, names)
@example("$\\foo$", "$x^$", "$\\frac{$")
def test_they_are_text_in_the_picture(tmp_path_factory, name, value, metric):
    result, _ = run_of(name, value, metric)
    path = draw_curves(result.trials, metric, tmp_path_factory.mktemp("picture") / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_they_are_text_in_the_table_of_importance():
    share = Share(0.5, 0.1)
    found = Importance({"\x1b[2J": share}, {"\x1b[2J": share}, {}, share, {}, 20, 2, None)
    assert not acts(str(found))
    assert "\\x1b[2J" in str(found)


@pytest.mark.parametrize("name", ["\x1b[31mred", "\udcff", "two\nlines"])
def test_they_are_text_where_the_command_line_names_a_file(name, tmp_path, capsys):
    from jaxhp.cli import main

    assert main(["show", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert not acts(told)
    assert told.count("\n") == 1
    assert plain(name) in told
