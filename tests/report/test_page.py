"""The page in a real browser: from a file, without a network, with names that try to be code; and what it says."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import PROGRAM, Browser
from recorded import front, made

import jaxhp as hp
from jaxhp.report.page import write_report
from jaxhp.report.summary import with_interval
from jaxhp.report.table import settings, show_value
from jaxhp.store.files import write_json
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Status, Trial, Trials

EVIL = "<script>alert(1)</script>"
CODE = hp.Space(
    **{
        EVIL: hp.LogUniform(1e-5, 1.0),
        '"><img src=x onerror=alert(2)>': hp.Choice([EVIL, "' onmouseover='alert(3)", "</style></svg>" + EVIL]),
        "javascript:alert(4)": "</title><script>alert(5)</script>",
    }
)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no chromium: apt-get install chromium")


class Text(HTMLParser):
    """What a reader sees, the words of each element apart; and the names of the elements."""

    def __init__(self, page: str):
        super().__init__()
        self.words, self.tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("report") / "search")


@pytest.fixture(scope="module")
def page(run):
    return write_report(run)


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    directory = made(tmp_path_factory.mktemp("report") / EVIL.replace("/", ""), space=CODE, metric=EVIL, strategy=EVIL)
    with Ledger(directory, write=True) as ledger:
        ledger.event("warning", text=EVIL)
        ledger.event(EVIL, **{EVIL: [EVIL]})
    return write_report(directory)


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


def told(page) -> str:
    return re.sub(r"\s+", " ", " ".join(Text(page.read_text()).words))


def test_it_tells_the_choice_what_it_is_worth_and_what_is_biased(run, page):
    result, text = hp.Result.load(run), told(page)
    assert f"trial {result.best.trial_id}, complete, 9 epochs" in text
    assert (
        f"Raw best accuracy {result.raw_best.score:.3f} (trial {result.raw_best.trial_id}): the best score at 9 epochs"
        in text
    )
    assert "29 trials, 1 diverged" in text
    assert "in training, or killed: 2 rounds finished, round 3 under way" in text
    assert {"Best-1", "Best-20", "Edge of stability: "} - set(Text(page.read_text()).words) == {"Edge of stability: "}
    assert "a checkpoint of round 1 is of no use" in text
    assert "out of memory round 2; rows_before 8; rows_now 4" in text  # rounds are counted from 1
    assert "1 trial in round 2: " in text
    assert f"digest {result.digest}" in text


def test_the_page_has_the_very_sentences_of_the_summary(run, page, tmp_path):
    e = hp.Result.load(run).estimate
    assert e is not None
    interval = f"accuracy {e.mean:.3f}, 95% interval {e.low:.3f} to {e.high:.3f} ("  # half the interval is 0.025
    wider = "search beyond it, such as in IntUniform(4, 256, log=True)"
    test = "accuracy 0.823, 95% interval 0.790 to 0.850 (trial "
    for start in (interval, f"width: the best lie at the upper end of its range; {wider}", test):
        assert start in hp.Result.load(run).summary()
    for directory, path in ((run, page), (front(tmp_path), write_report(tmp_path))):
        result = hp.Result.load(directory)
        read = html.unescape(re.sub("<[^>]*>", "", path.read_text()))
        written = read.replace("\n", "")
        names = set()
        for name, sentence in result.lines():
            if name not in ("chosen", "measured"):  # which are tables there
                assert sentence in written, name
            names.add(name)
        assert {"chosen", "estimate", "raw best", "edge"} < names
        assert all(f"{name}{text}" in written for name, text in settings(result.best.config).items())
        for one in result.measured:
            assert all(with_interval(e) in written for e in one.estimates.values())
    assert {"front", "measured"} < names


def test_it_tells_how_the_search_went_what_it_cost_and_how_to_run_it_again(tmp_path):
    run = made(tmp_path / "run")
    write_json(run / "summary.json", {"planned": {"flops": 2e12}, "measured": {"flops": 1.5e12}})
    page, result = write_report(run), hp.Result.load(run)
    text, source = told(page), page.read_text()
    assert "Rungs At each budget trials are compared" in text
    assert "9 of 27" in text  # went on from 3 epochs to 9
    assert "work 1.5 TFLOP, 75% of the plan" in text
    assert "time in all 12.5 s training 8.0 s compiling 3.2 s" in text
    assert "command jaxhp run small.py seed 7 versions jaxhp 0.1.0, jaxlib 0.10.2" in text
    lr = [t.config["lr"] for t in result.trials if t.round == 0]
    quarter, middle, three = np.quantile(lr, [0.25, 0.5, 0.75], method="nearest")
    assert f"round 1: lr {show_value(quarter)} to {show_value(three)}, median {show_value(middle)}" in text
    assert source.count('class="line valid"><title>trial ') + source.count('class="line train"><title>trial ') == 10
    assert f"<title>trial {result.best.trial_id}: accuracy" in source


@pytest.mark.parametrize(
    "damaged", ["[]", "{", '{"planned": {"flops": "x"}, "measured": {"flops": 1}}', '{"planned": 1}']
)
def test_a_damaged_summary_leaves_out_what_it_would_have_told(damaged, tmp_path):
    run = made(tmp_path / "run")
    (run / "summary.json").write_text(damaged)
    text = told(write_report(run))
    assert "of the plan" not in text
    assert "time in all 12.5 s" in text


def test_without_finals_test_or_curves_it_says_so(tmp_path):
    with Ledger(tmp_path, write=True) as ledger:
        write_json(
            tmp_path / "manifest.json",
            {"metric": "loss", "mode": "min", "space": hp.Space(lr=hp.Uniform(0, 1)).to_json()},
        )
        ids = np.arange(2, dtype=np.int32)
        drafts = [Trial(i, {"lr": 0.25 * i}) for i in range(2)]
        ledger.begin(Round(0, 1, np.zeros((2, 1), np.float32), ids * 0 - 1, ids), Trials.of(drafts))
        text = told(write_report(tmp_path))  # nothing is measured yet
        assert "Not known: expected at least 16 finished trials, got 0" in text
        nan = float("nan")
        ends = [Trial(0, {"lr": 0.0}, 0, Status.COMPLETE, 1, 0.5), Trial(1, {"lr": 0.25}, 0, Status.DIVERGED, 1, nan)]
        ledger.finish(0, Trials.of(ends), np.float32([0.5, nan]), 0.1)
    text = told(write_report(tmp_path, tmp_path / "other.html"))
    assert "So far status in training, or killed: 1 round finished best yet trial 0: lr=0" in text
    with Ledger(tmp_path, write=True) as ledger:
        ledger.set_meta("finished", "yes")
    text = told(write_report(tmp_path, tmp_path / "other.html"))
    assert "Estimate none , so nothing corrects the choice: no finals were run." in text
    assert "Test data sealed: never opened." in text
    assert "Raw best loss 0.5000 (trial 0)" in text


@pytest.mark.parametrize(
    ("parameter", "where", "beyond"),
    [
        (hp.Choice(["small", "large"], ordered=True), "last of its values", "add a value after it"),
        (
            hp.Choice([8, 16, 32], ordered=True),
            "last of its values",
            "such as in Choice([8, 16, 32, 64], ordered=True)",
        ),
        (hp.Normal(0.0, 2.0, low=-1.0, high=1.0), "upper end of its range", "such as in Normal(0, 2, low=-1, high=2)"),
        (hp.Uniform(0.0, 2.0, step=0.5), "upper end of its range", "such as in Uniform(0, 3, step=0.5)"),
    ],
)
def test_an_edge_names_what_to_try_beyond_it_where_that_is_known(parameter, where, beyond, tmp_path):
    run = made(tmp_path / "run", space=hp.Space(lr=hp.Uniform(0.0, 1.0), size=parameter))  # best near the last's end
    result, text = hp.Result.load(run), told(write_report(run))
    assert result.edges == {"size": 1}
    (sentence,) = (sentence for name, sentence in result.lines() if name == "edge")
    assert sentence.startswith(f"size: the best lie at the {where}; ")
    assert sentence.endswith(beyond)
    assert f"{sentence}." in text


def test_a_test_that_was_opened_again_is_no_longer_one(tmp_path):
    run = made(tmp_path / "run")
    with Ledger(run, write=True) as ledger:
        ledger.event("test opened", trial_id=3)
    assert "Test opened 2 times, 1 without a result." in told(write_report(run))


def test_what_is_not_shown_is_said(tmp_path):
    text = told(write_report(made(tmp_path / "run", size=2400)))
    assert "The best 300 of 2,402 trials; 2,102 are left out here. All are written by jaxhp export" in text
    assert "Drawn are 1,450 of 2,400: the best 500 and one in 2 of the others." in text
    assert "From 2,000 trials, drawn at random from 2,400" not in text
    assert "from 2,000 trials, drawn at random from 2,400, at epoch 3" in text


def test_no_name_becomes_a_tag(page, evil):
    plain, coded = Text(page.read_text()), Text(evil.read_text())
    assert set(coded.tags) == set(plain.tags)
    assert coded.tags.count("script") == 1
    assert "onerror" not in re.sub(r"&quot;&gt;&lt;img src=x onerror=alert\(2\)&gt;", "", evil.read_text())
    assert sum(EVIL in word for word in coded.words) > 20


@needs_browser
@pytest.mark.parametrize("name", ["page", "evil"])
def test_it_opens_from_a_file_without_errors_network_or_dialogs(name, browser, request):
    file = request.getfixturevalue(name)
    browser.open(file)
    browser.run("document.querySelectorAll('*').forEach(e => e.dispatchEvent(new MouseEvent('mouseover')))")
    assert browser.messages("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
    assert browser.messages("Page.javascriptDialogOpening") == []
    requested = {message["request"]["url"] for message in browser.messages("Network.requestWillBeSent")}
    assert requested == {file.absolute().as_uri()}
    assert browser.run("document.title") == f"{file.parent.name} · jaxhp"
    assert browser.run("document.scripts.length") == 1
    assert (
        browser.run("document.querySelectorAll('img, iframe, a, form, [onerror], [onmouseover], [style]').length") == 0
    )


@needs_browser
def test_its_policy_stops_a_script_that_got_in(page, browser, tmp_path):
    """The second line of defence: even if a name became a tag, it would not run."""
    broken = tmp_path / "broken.html"
    broken.write_text(
        page.read_text().replace("<main>", "<main><script>window.ran = 1</script><img src=x onerror='ran = 2'>")
    )
    browser.open(broken)
    assert browser.run("window.ran ?? 'no'") == "no"
    assert browser.messages("Log.entryAdded")


@needs_browser
def test_the_table_sorts_by_any_column_and_keeps_what_is_empty_last(run, page, browser):
    browser.open(page)

    def column(name: str) -> list[str]:
        return browser.run(
            f"(() => {{ const table = document.querySelector('[aria-label=\"Ranked trials\"] table');"
            f" const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === '{name}');"
            " return [...table.tBodies[0].rows].map(r => r.cells[at].dataset.value ?? r.cells[at].textContent) })()"
        )

    def press(name: str) -> str:
        return browser.run(
            f"(() => {{ const b = [...document.querySelectorAll('th button')].find(b => b.textContent === '{name}');"
            " b.click(); return b.parentElement.getAttribute('aria-sort') })()"
        )

    assert column("rank") == [str(i) for i in range(1, 30)]
    for name in ("lr", "momentum"):
        known = sorted(t.config[name] for t in hp.Result.load(run).trials if name in t.config)
        empty = [""] * (29 - len(known))
        assert press(name) == "ascending"
        assert column(name) == [*map(repr, known), *empty]
        assert press(name) == "descending"
        assert column(name) == [*map(repr, known[::-1]), *empty]
    assert press("status") == "ascending"
    assert column("status") == sorted(column("status"))
    assert press("rank") == "ascending"
    assert column("rank") == [str(i) for i in range(1, 30)]


CONTRAST = """(() => {  // the least contrast between a text and what lies behind it, and that text
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (e) => {
    const colour = parse(getComputedStyle(e).backgroundColor);
    return colour[3] === 0 ? behind(e.parentElement) : colour;
  };
  const contrast = (e) => {
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(e.ownerSVGElement ? style.fill : style.color)), light(behind(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const texts = [...document.querySelectorAll('main *:not(title)')].filter(
    e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  return texts.map(e => [contrast(e), e.textContent]).sort((a, b) => a[0] - b[0])[0];
})()"""
UNNAMED = "[...document.querySelectorAll('svg:not([aria-label]):not([aria-hidden])')].length"


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_readable_on_any_screen(scheme, width, page, browser):
    browser.open(page, width=width, scheme=scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width  # tables scroll within themselves
    contrast, text = browser.run(CONTRAST)
    assert contrast >= 4.5, text
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")
    assert browser.run(UNNAMED) == 0


@pytest.mark.slow
def test_a_hundred_thousand_trials_give_a_page_of_sane_size(tmp_path):
    size, rounds = 1000, 100
    rng = np.random.default_rng(0)
    with Ledger(tmp_path, write=True) as ledger:
        space = hp.Space(lr=hp.LogUniform(1e-6, 1e-2), weight_decay=hp.LogUniform(1e-8, 1e-4))
        write_json(tmp_path / "manifest.json", {"metric": "accuracy", "mode": "max", "space": space.to_json()})
        for number in range(rounds):
            ids = np.arange(number * size, (number + 1) * size, dtype=np.int32)
            unit = rng.random((size, 2), dtype=np.float32)
            configs = space.configs(unit)
            curves = rng.random((size, 10), dtype=np.float32)
            trials = [
                Trial(
                    int(i),
                    c,
                    number,
                    Status.COMPLETE,
                    10,
                    float(v[-1]),
                    0.01,
                    {"train_accuracy": v, "valid_accuracy": v},
                )
                for i, c, v in zip(ids, configs, curves, strict=True)
            ]
            ledger.begin(Round(number, 10, unit, ids * 0 - 1, ids), Trials.of(trials))
            ledger.finish(number, Trials.of(trials), curves[:, -1], 1.0)
    page = write_report(tmp_path)
    assert page.stat().st_size < 5e6
