"""Every experiment says what it is and how it is run, and its small version runs."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    file
    for file in (ROOT / "experiments").rglob("*.py")
    if "__main__" in file.read_text() or "search =" in file.read_text()
)


def loaded(name):
    """The experiment as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"experiments/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_its_docstring_holds_the_command(file):
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert re.search(rf"(python|jaxhp run) {file.relative_to(ROOT)}", text)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_its_small_version_runs(file, tmp_path):
    is_search = re.search(r"^search = ", file.read_text(), re.M)
    command = ["-m", "jaxhp", "run", str(file), "--dir", str(tmp_path / "run")] if is_search else [str(file)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command, "--smoke"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    missing = re.search(r"ModuleNotFoundError: No module named '(\w+)'", done.stderr)
    if missing:
        pytest.skip(f"{file.name} needs {missing[1]}: pip install 'jaxhp[bench]'")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("name", ["AUC", "F1", "R2"])
def test_intervals_of_metrics_of_the_whole_set_hold_the_truth(name):
    """A small version of its table: 0.95 of 150 samples are at least 133 but for one time in 1,000."""
    found = loaded("whole_set_metrics").line(name, 300, 4, 150)
    assert found.covers >= 133 / 150
    assert abs(found.bias) < 0.3
    assert 0.8 < found.error < 1.25


def test_the_entropy_of_the_source_is_that_of_its_texts():
    """Its own mean nats of 1,000 texts are within 4 standard errors of the entropy rate, and each letter seen helps."""
    transformer_lm = loaded("transformer_lm")
    source = transformer_lm.source()
    texts = source.draw(1000, 5)["text"]
    nats = -np.log(source.after[texts[:, :-2], texts[:, 1:-1], texts[:, 2:]]).mean(1)
    none, one, two = np.log(source.perplexities)
    assert none > one + 0.1 > two + 0.2
    assert abs(nats.mean() - two) < 4 * nats.std(ddof=1) / 1000**0.5
    for at in (0, 24):  # the texts begin, and go on, as the stationary distribution has it
        assert np.bincount(texts[:, at], minlength=6) / 1000 == pytest.approx(
            source.pairs.sum(0), abs=4 * 0.5 / 1000**0.5
        )


def test_the_second_derivative_is_that_of_finite_differences():
    pinn = loaded("pinn")
    draw = np.random.default_rng(0)
    shapes = {"w0": 4, "b0": 4, "w1": (4, 4), "b1": 4, "w2": 4, "b2": ()}
    net = {name: draw.normal(size=shape) for name, shape in shapes.items()}

    def u(x):
        return np.tanh(np.tanh(x[:, None] * net["w0"] + net["b0"]) @ net["w1"] + net["b1"]) @ net["w2"] + net["b2"]

    x, h = np.linspace(0.0, 1.0, 7), 1e-4
    right = (u(x + h) - 2 * u(x) + u(x - h)) / h**2
    assert np.asarray(jax.jit(pinn.second)(net, x)) == pytest.approx(right, rel=1e-3, abs=1e-3)


def test_the_divergence_of_a_vae_is_that_of_many_draws():
    """KL(q, N(0, 1)) as a mean of log q(z) - log p(z), with a decoder that says 1/2 of each pixel whatever z is."""
    vae = loaded("vae")
    mean, log_variance = np.array([0.7, -1.2]), np.array([-0.5, 0.4])
    zero = {"w": jnp.zeros((2, 784)), "b": jnp.zeros(784)}
    params = {
        "in": {"w": jnp.zeros((784, 3)), "b": jnp.zeros(3)},
        "to_latent": {"w": jnp.zeros((3, 4)), "b": jnp.concatenate([mean, log_variance])},
        "from_latent": {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)},
        "out": zero,
    }
    said = jax.jit(vae.negative_elbo)(params, jnp.ones((1, 784)), jnp.zeros((1, 2)))[0] - 784 * np.log(2)
    z = mean + np.exp(log_variance / 2) * np.random.default_rng(0).normal(size=(200_000, 2))
    ratio = (-((z - mean) ** 2) / np.exp(log_variance) - log_variance + z**2).sum(1) / 2
    assert abs(float(said) - ratio.mean()) < 4 * ratio.std() / len(z) ** 0.5 + 1e-3
