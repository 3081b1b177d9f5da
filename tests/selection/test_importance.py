from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_search import search

import jaxhp as hp
from jaxhp.report.result import Result
from jaxhp.selection.edges import best_at_edges
from jaxhp.selection.importance import importance
from jaxhp.trials import Status, Trial

CUBE = {d: hp.Space(**{f"x{i}": hp.Uniform(0.0, 1.0) for i in range(d)}) for d in (2, 3, 4)}


def points(dim, count, seed=0):
    return np.random.default_rng(seed).random((count, dim)).astype(np.float32)


def trials(space, unit, scores, epochs=1):
    return [
        Trial(i, config, status=Status.COMPLETE if np.isfinite(score) else Status.DIVERGED, epochs=epochs, score=score)
        for i, (config, score) in enumerate(zip(space.configs(unit), map(float, scores), strict=True))
    ]


def split(function, dim, count=256, noise=0.0):
    unit = points(dim, count)
    scores = function(unit.astype(np.float64).T) + noise * np.random.default_rng(1).normal(size=count)
    return importance(CUBE[dim], trials(CUBE[dim], unit, scores), "max", "accuracy")


def ishigami(x):
    a, b, c = -np.pi + 2 * np.pi * x[:3]
    return np.sin(a) + 7 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a)


def sobol_g(x):
    return np.prod([(np.abs(4 * v - 2) + a) / (1 + a) for v, a in zip(x, (0, 1, 4.5), strict=True)], axis=0)


G = [1 / 3 / (1 + a) ** 2 for a in (0, 1, 4.5)]
G_VARIANCE = np.prod([1 + v for v in G]) - 1

KNOWN = {
    "linear": (lambda x: 3 * x[0] + x[1], 3, {"x0": 0.9, "x1": 0.1}),
    "ishigami": (ishigami, 3, {"x0": 0.3139, "x1": 0.4424, "x0 x2": 0.2437}),
    "sobol g": (
        sobol_g,
        3,
        {f"x{i}": G[i] / G_VARIANCE for i in range(3)}
        | {f"x{i} x{j}": G[i] * G[j] / G_VARIANCE for i in range(3) for j in range(i + 1, 3)},
    ),
    "product": (lambda x: (x[0] - 0.5) * (x[3] - 0.5), 4, {"x0 x3": 1.0}),
    "bowl": (lambda x: -((x[0] - 0.4) ** 2) - 0.3 * (x[1] - 0.7) ** 2, 4, {"x0": 0.835, "x1": 0.165}),
}


@pytest.mark.parametrize(("function", "dim", "truth"), KNOWN.values(), ids=KNOWN)
def test_known_shares(function, dim, truth):
    found = split(function, dim)
    shares = found.score | {" ".join(pair): share for pair, share in found.pairs.items()}
    for name, (share, _) in shares.items():
        assert share == pytest.approx(truth.get(name, 0.0), abs=0.05), name
        if name not in truth:
            assert share < 0.02
    assert sum(share for share, _ in shares.values()) + found.rest.share == pytest.approx(1)


def test_an_irrelevant_parameter_has_no_share_under_noise():
    found = split(lambda x: x[0], 3, noise=0.2)
    assert found.score["x0"].share == pytest.approx((1 / 12) / (1 / 12 + 0.04), abs=0.05)
    assert found.rest.share == pytest.approx(0.04 / (1 / 12 + 0.04), abs=0.05)
    assert max(found.score["x1"].share, found.score["x2"].share, found.pairs["x1", "x2"].share) < 0.02


def test_the_standard_error_tells_how_far_a_share_is_off():
    truth = (1 / 12) / (1 / 12 + 0.09)
    errors = []
    for seed in range(12):
        unit = points(2, 128, seed)
        scores = unit[:, 0] + 0.3 * np.random.default_rng(seed).normal(size=128)
        share, stderr = importance(CUBE[2], trials(CUBE[2], unit, scores), "max", "accuracy").score["x0"]
        errors.append((share - truth) / stderr)
    assert 0.5 < np.std(errors) < 2


def test_among_the_best_tenth_only_what_makes_good_counts():
    # Anything below 0.8 is useless; above it x1 decides who is among the best tenth: x1 > 0.5.
    found = split(lambda x: 10 * (x[0] > 0.8) + (x[0] > 0.8) * (x[1] > 0.5), 3, count=1024)
    alone = {"x0": 0.5**2 * 0.2 - 0.01, "x1": 0.2**2 * 0.5 - 0.01}  # variances of P(top | x)
    assert found.top["x0"].share == pytest.approx(alone["x0"] / sum(alone.values()), abs=0.05)
    assert found.top["x2"].share < 0.02
    assert sum(share for share, _ in found.top.values()) == pytest.approx(1)
    assert found.score["x1"].share < 0.02


def test_marginals_and_their_uncertainty():
    found = split(lambda x: (x[0] - 0.4) ** 2 + x[1] + x[0] * x[2], 3, noise=0.1)
    one = found.marginal("x0")
    x = np.asarray(one.values[0])
    error = one.mean - ((x - 0.4) ** 2 + 0.5 + 0.5 * x)
    assert np.abs(error).max() < 0.1
    assert 0.3 < np.sqrt(np.mean((error / one.stderr) ** 2)) < 2.5
    two = found.marginal("x2", "x0")
    c, a = np.meshgrid(*map(np.asarray, two.values), indexing="ij")
    assert two.mean.shape == two.stderr.shape == (25, 25)
    assert np.sqrt(np.mean((two.mean - ((a - 0.4) ** 2 + 0.5 + a * c)) ** 2)) < 0.05
    assert found.top_pair == ("x0", "x2")


def test_choices_and_integers():
    space = hp.Space(
        kind=hp.Choice(["a", "b", "c"]), depth=hp.IntUniform(1, 4), x=hp.Uniform(0.0, 1.0), only=hp.Choice([1])
    )
    unit = points(4, 256)
    effect = {"a": 0.0, "b": 1.0, "c": 5.0}
    scores = [effect[c["kind"]] + c["depth"] for c in space.configs(unit)]
    found = importance(space, trials(space, unit, scores), "max", "accuracy")
    variances = {"kind": np.var([0, 1, 5]), "depth": np.var([1, 2, 3, 4]), "x": 0.0, "only": 0.0}
    for name, variance in variances.items():
        assert found.score[name].share == pytest.approx(variance / sum(variances.values()), abs=0.05)
    kind = found.marginal("kind")
    assert kind.values == (["a", "b", "c"],)
    assert kind.mean - kind.mean[0] == pytest.approx([0, 1, 5], abs=0.2)
    assert found.marginal("depth", "kind").values == ([1, 2, 3, 4], ["a", "b", "c"])


def test_where_training_stops_being_stable():
    space = hp.Space(lr=hp.LogUniform(1e-4, 1.0), wd=hp.LogUniform(1e-6, 1e-2))
    unit = points(2, 200)
    scores = [np.nan if c["lr"] > 0.1 else c["lr"] for c in space.configs(unit)]
    found = importance(space, trials(space, unit, scores), "max", "accuracy")
    edge = found.edges["lr"]
    assert list(found.edges) == ["lr"]
    assert edge.low <= 0.1 <= edge.high
    assert edge.value == pytest.approx(0.1, rel=0.1)
    assert "trials diverge above lr = 0.1" in str(found)


def test_trials_given_up_early_are_compared_where_all_have_a_score():
    unit = points(2, 64)
    early = unit[:, 0]  # after the first epoch
    full = unit[:, 0] + 10
    stopped = [
        Trial(
            i,
            CUBE[2].config(unit[i]),
            status=Status.COMPLETE if early[i] > 0.7 else Status.STOPPED,
            epochs=3 if early[i] > 0.7 else 1,
            score=float(full[i] if early[i] > 0.7 else early[i]),
            curve={"valid_accuracy": np.asarray([early[i], 5.0, full[i]])},
        )
        for i in range(64)
    ]
    found = importance(CUBE[2], stopped, "max", "accuracy")
    assert found.epochs == 1
    assert found.score["x0"].share == pytest.approx(1, abs=0.001)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 100), st.floats(-50, 50), st.booleans())
def test_shares_do_not_depend_on_scale_direction_or_order(seed, scale, shift, diverging):
    rng = np.random.default_rng(seed)
    unit = points(2, 40, seed)
    scores = unit[:, 0] + unit[:, 1] ** 2 + 0.2 * rng.normal(size=40)
    if diverging:
        scores[unit[:, 1] > 0.9] = np.nan
    ran = trials(CUBE[2], unit, scores)
    found = importance(CUBE[2], ran, "max", "accuracy")
    mirrored = trials(CUBE[2], unit, shift - scale * scores)
    other = importance(CUBE[2], [mirrored[i] for i in rng.permutation(40)], "min", "accuracy")
    for name in ("x0", "x1"):
        assert other.score[name].share == pytest.approx(found.score[name].share, abs=1e-6)
        assert other.top[name].share == pytest.approx(found.top[name].share, abs=1e-6)
    parts = [*found.score.values(), *found.pairs.values(), found.rest]
    assert all(0 <= share <= 1 for share, _ in parts)
    assert sum(share for share, _ in parts) == pytest.approx(1)
    assert other.marginal("x0").mean == pytest.approx(shift - scale * found.marginal("x0").mean, abs=1e-6 * scale)


def test_of_a_search_and_of_its_directory(tmp_path):
    result = search("random").run(tmp_path, quiet=True)
    found = result.importance()
    assert str(found) == str(Result.load(tmp_path).importance())
    assert str(found).startswith("18 trials at epoch 9")
    assert found.score["lr"].share > 0.2
    assert (found.top_pair, found.pairs) == (None, {})
    with pytest.raises(ValueError, match="importance: expected a result with its space and all trials"):
        Result.load(tmp_path, top=3).importance()


def test_what_does_not_fit_says_so():
    unit = points(2, 16)
    with pytest.raises(ValueError, match="importance: expected at least 16 finished trials, got 15"):
        importance(CUBE[2], trials(CUBE[2], unit, unit[:, 0])[:15], "max", "accuracy")
    with pytest.raises(ValueError, match="importance: expected trials with different scores"):
        importance(CUBE[2], trials(CUBE[2], unit, [0.5] * 15 + [np.nan]), "max", "accuracy")
    found = importance(CUBE[2], trials(CUBE[2], unit, unit[:, 0]), "max", "accuracy")
    for names in ((), ("x0", "x0"), ("lr",)):
        with pytest.raises(ValueError, match="marginal: expected one or two of x0, x1, got"):
            found.marginal(*names)


def test_who_inherited_weights_says_nothing_about_its_last_config():
    """Heirs that did best where x1 is large, which did not matter to whoever was trained with one config."""
    unit = points(2, 128)
    alone = trials(CUBE[2], unit[:64], unit[:64, 0])
    heirs = trials(CUBE[2], unit[64:], 5 + unit[64:, 1])
    every = alone + [replace(heir, trial_id=64 + heir.trial_id, parent=heir.trial_id) for heir in heirs]
    found, expected = (importance(CUBE[2], who, "max", "accuracy") for who in (every, alone))
    assert (found.trials, found.score, found.top) == (64, expected.score, expected.top)
    assert found.score["x0"].share > 0.95
    assert best_at_edges(CUBE[2], every, "max") == best_at_edges(CUBE[2], alone, "max") == {"x0": 1}
    with pytest.raises(hp.Error, match="expected at least 16 finished trials that inherited no weights, got 15"):
        importance(CUBE[2], every[49:], "max", "accuracy")
