"""`result.plot`: what stands on the Axes is what was recorded, whatever it is called; else one line says why not."""

import json
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from recorded import front, made
from small_search import search

import jaxhp as hp
from jaxhp.report.painting import BLUE, RED
from jaxhp.report.rounds import round_scores
from jaxhp.store.ledger import Ledger
from jaxhp.trials import Status

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LONG = "<b>$\\frac{x}$ 學習率\x1b[2J" + "long_" * 40
EVIL = hp.Space(
    **{LONG: hp.LogUniform(1e-5, 1.0), "$_{": hp.Choice(["<i>" + "語" * 200, "$x$"]), "n": hp.IntUniform(1, 3)}
)
NAMES = ("curves", "slices", "contour", "parallel", "rungs", "importance", "finalists")


def recorded(directory, rungs=((27, 3), (9, 9), (2, 9)), **options):
    made(directory, **options)
    with Ledger(directory, write=True) as ledger:
        ledger.set_meta("rungs", json.dumps(rungs))
        ledger.set_meta("finished", "yes")
    return hp.Result.load(directory)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("axes") / "run")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    return hp.Result.load(front(tmp_path_factory.mktemp("axes") / "run"))


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def points(ax, color, marker_size=None):
    """What is drawn in a colour by `scatter`, as pairs."""
    found = [c for c in ax.collections if len(c.get_facecolor()) and to_hex(c.get_facecolor()[0]) == color.lower()]
    return {tuple(np.float32(pair).tolist()) for c in found for pair in np.asarray(c.get_offsets())}


def test_curves_are_those_of_the_best_with_the_chosen_in_front(result):
    ax = result.plot.curves(top=4)
    best = result.best
    drawn = [line.get_ydata() for line in ax.lines]
    front = next(line for line in ax.lines if line.get_label() == "valid")
    np.testing.assert_allclose(front.get_ydata(), best.curve["valid_accuracy"])
    assert to_hex(front.get_color()) == BLUE.lower()
    others = [trial for trial in result.trials[:4] if trial.trial_id != best.trial_id]
    assert len(drawn) == len(others) + 2
    for trial in others:
        assert any(np.array_equal(trial.curve["valid_accuracy"], np.float32(y), equal_nan=True) for y in drawn)
    assert ax.get_ylabel() == "accuracy"
    assert f"chosen: trial {best.trial_id}" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_slice_has_every_finished_trial_and_says_which_diverged(result):
    ax = result.plot.slices("lr")
    finished = [trial for trial in result.trials if trial.status is not Status.RUNNING]
    want = {(trial.config["lr"], trial.score) for trial in finished if trial.status is Status.COMPLETE}
    assert {tuple(np.float32(pair).tolist()) for pair in want} <= points(ax, BLUE) | points(ax, "#ffffff")
    (lost,) = (trial for trial in finished if trial.status is Status.DIVERGED)
    ((x, y),) = points(ax, RED)
    assert x == np.float32(lost.config["lr"])
    assert ax.get_ylim()[0] < y < min(trial.score for trial in finished if trial.score == trial.score)
    ((x, y),) = points(ax, "#ffffff")
    assert (x, y) == (np.float32(result.best.config["lr"]), np.float32(result.best.score))
    assert ax.get_xscale() == "log"


def test_all_slices_are_panels_on_one_scale(result):
    ax = result.plot.slices()
    assert [panel.get_xlabel() for panel in ax.child_axes] == list(result.space.parameters)
    assert len({panel.get_ylim() for panel in ax.child_axes}) == 1


def test_the_other_pictures_show_what_was_found(result):
    surface = result.plot.contour("lr", "width")
    assert (surface.get_xscale(), surface.get_yscale()) == ("log", "log")
    assert len(points(surface, "#000000")) == 26  # one of 27 diverged, none is in training
    lines = [line for line in result.plot.parallel().lines if len(line.get_xdata()) > 2]
    assert len(lines) == 27
    absent = [trial for trial in result.trials if trial.status is not Status.RUNNING and "momentum" not in trial.config]
    assert sum(np.isnan(line.get_ydata()[:-1]).any() for line in lines) == len(absent)
    with Ledger(result.directory) as ledger:
        scores = [np.nanmax(r.scores) for r in ledger.rounds() if r.scores is not None]
    best = next(line for line in result.plot.rungs().lines if line.get_label() == "best")
    np.testing.assert_allclose(best.get_ydata(), np.maximum.accumulate(scores))
    found = result.importance()
    widths = {round(bar.get_width(), 9) for bar in result.plot.importance().patches}
    assert widths >= {round(share.share, 9) for share in (*found.score.values(), *found.top.values(), found.rest)}
    ax = result.plot.finalists()
    means = {float(np.float32(scores.mean())) for scores in result.finals.values()}
    drawn = {x for c in ax.collections for x, _ in np.float32(c.get_offsets()).tolist()}
    assert means | {float(np.float32(result.estimate.mean)), result.raw_best.score} == drawn
    assert [label.get_text() for label in ax.get_yticklabels()][-2:] == ["estimate", "raw best"]


def test_another_metric_and_several_objectives(several):
    ax = several.plot.slices("lr", metric="size")
    sizes = several.objectives.values(several.trials, "size")
    at = several.trials.config["lr"]
    known = several.trials.healthy()
    want = {tuple(np.float32(pair).tolist()) for pair in zip(at[known], sizes[known], strict=True)}
    assert points(ax, BLUE) | points(ax, "#ffffff") >= want
    assert ax.get_ylabel() == "size"
    ax = several.plot.front()
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("accuracy", "size")
    names = [label.get_text() for label in several.plot.finalists(metric="latency").get_yticklabels()]
    assert names == [f"trial {one.trial_id}" for one in several.measured]
    assert to_hex(several.plot.curves(metric="latency").lines[-1].get_color()) == BLUE.lower()


def test_rounds_are_those_of_the_ledger(result):
    with Ledger(result.directory) as ledger:
        known = [r for r in ledger.rounds() if r.scores is not None]
    found = round_scores(result.trials, result.stage.rungs[:2], "accuracy", "max")
    assert [epochs for epochs, _ in found] == [r.epochs for r in known]
    for (_, scores), r in zip(found, known, strict=True):
        np.testing.assert_array_equal(np.sort(scores), np.sort(np.float64(r.scores)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "epoch"), [("random", "last"), ("halving", "last"), ("pbt", "last"), ("halving", "best")]
)
def test_so_they_are_after_a_search(kind, epoch, tmp_path):
    result = search(kind, epoch=epoch).run(tmp_path, quiet=True)
    with Ledger(tmp_path) as ledger:
        known = ledger.rounds()
    found = round_scores(result.trials, result.stage.rungs, "error", "min")
    for (epochs, scores), r in zip(found, known, strict=True):
        assert epochs == r.epochs
        np.testing.assert_array_equal(np.sort(np.float32(scores)), np.sort(r.scores))


def test_they_are_drawn_where_one_asks(result):
    figure, ax = plt.subplots(figsize=(4, 3))
    for name in NAMES:
        ax.clear()
        assert getattr(result.plot, name)(ax=ax) is ax
    assert plt.get_fignums() == [figure.number]


def test_no_name_acts_or_breaks_a_picture(tmp_path):
    result = recorded(tmp_path / "run", space=EVIL, metric="acc$^{<b>" + "m" * 200)
    for name in NAMES:
        ax = getattr(result.plot, name)()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            ax.figure.canvas.draw()  # mathtext would raise here
        for text in ax.figure.findobj(matplotlib.text.Text):
            assert "$" not in text.get_text() or not text.get_parse_math()
            assert len(text.get_text()) <= 44
            assert "\x1b" not in text.get_text()


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda r: r.plot.curves(metric="loss"), "curves: expected a metric that was recorded (accuracy), got 'loss'"),
        (lambda r: r.plot.slices("lrr"), "slices: expected a parameter of kind, lr, momentum, width, got 'lrr'"),
        (
            lambda r: r.plot.contour("lr"),
            "contour: expected two parameters of kind, lr, momentum, width, got lr",
        ),
        (lambda r: r.plot.finalists(metric="x"), "finalists: expected a metric that the finals measured (accuracy)"),
        (lambda r: r.plot.curves(ax=3), "ax: expected matplotlib's Axes or None, got int"),
        (lambda r: r.plot.front(), "front: expected a search with several objectives, got one with 'accuracy' alone"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(draw, said, result):
    with pytest.raises(hp.Error) as error:
        draw(result)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_what_a_search_does_not_have_is_said_in_a_line(tmp_path):
    space = hp.Space(lr=hp.LogUniform(1e-3, 1.0))
    begun = made(tmp_path / "few", size=9, space=space)
    few, bare, part = hp.Result.load(begun), hp.Result.load(begun, curves=False), hp.Result.load(begun, top=5)
    said = {
        few.plot.importance: "importance: expected at least 16 finished trials, got 9",
        few.plot.contour: "contour: expected two parameters of lr, got none",
        few.plot.rungs: "rungs: expected a result with its rounds and learning curves of accuracy, got one without",
        part.plot.importance: "importance: expected a result with all trials, got one loaded with top=",
        part.plot.rungs: "rungs: expected a result with all trials, got one loaded with top=",
        bare.plot.curves: "curves: expected a result with learning curves of accuracy, got one without",
    }
    for draw, line in said.items():
        with pytest.raises(hp.Error, match="expected") as error:
            draw()
        assert str(error.value) == line
