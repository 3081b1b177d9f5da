"""Networks trained by plain NumPy, from the same weights and minibatches, agree with members; the book's is slow."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from populations import train

import jaxhp as hp
from jaxhp.engine.streams import Keys, key_of

SEED, EPOCHS, BATCH = 3, 50, 100  # 4 steps an epoch: 200 steps
CONFIGS = {
    "sgd": [{"lr": 0.01, "weight_decay": 1e-2}, {"lr": 0.003, "weight_decay": 1e-5}],
    "momentum": [{"lr": 0.002, "weight_decay": 1e-2}, {"lr": 0.001, "weight_decay": 1e-5}],
    "adamw": [{"lr": 0.0005, "weight_decay": 1e-1}, {"lr": 0.0002, "weight_decay": 1e-5}],
}


def shuffled(n: int, epoch: int) -> np.ndarray:
    """The documented order: ranks of the upper 31 bits of random words, from keys folded by identity."""
    key = jax.random.fold_in(key_of(jax.random.key(SEED), Keys.ORDER, 0), epoch)
    return np.argsort(np.asarray(jax.random.bits(key, (n,))) >> 1, kind="stable")


def gradients(params: list[dict[str, np.ndarray]], x: np.ndarray, label: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Backpropagation through affine and ReLU layers, and softmax with cross-entropy, written out."""
    inputs = [x]
    for layer in params[:-1]:
        inputs.append(np.maximum(inputs[-1] @ layer["w"].T + layer["b"], 0))
    scores = inputs[-1] @ params[-1]["w"].T + params[-1]["b"]
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    delta = (p - np.eye(p.shape[1])[label]) / len(x)
    found = []
    for layer, h in zip(params[::-1], inputs[::-1], strict=True):
        found.append({"w": delta.T @ h, "b": delta.sum(0)})
        delta = (delta @ layer["w"]) * (h > 0)
    return found[::-1]


def reference(task: hp.Task, optimizer: str, config: dict[str, float], epochs: int) -> list[dict[str, np.ndarray]]:
    key = key_of(jax.random.key(SEED), Keys.INIT, 0)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), task.init(key, config))
    pixels = task.train["image"].reshape(task.n_train, -1)
    x, label = (pixels * np.float32(1 / 255)).astype(np.float64), task.train["label"]
    first, second = (jax.tree.map(np.zeros_like, params) for _ in range(2))
    lr, decay, step = config["lr"], config["weight_decay"], 0
    for epoch in range(epochs):
        order = shuffled(task.n_train, epoch)
        for start in range(0, task.n_train, BATCH):
            rows, step = order[start : start + BATCH], step + 1
            for layer, grads, m, v in zip(params, gradients(params, x[rows], label[rows]), first, second, strict=True):
                for name, g in grads.items():
                    own = decay if name == "w" else 0.0
                    if optimizer == "adamw":
                        m[name] = 0.9 * m[name] + 0.1 * g
                        v[name] = 0.999 * v[name] + 0.001 * g * g
                        by = (m[name] / (1 - 0.9**step)) / (np.sqrt(v[name] / (1 - 0.999**step)) + 1e-8)
                        layer[name] = layer[name] - lr * (by + own * layer[name])
                    else:
                        keep = 0.9 if optimizer == "momentum" else 0.0
                        m[name] = keep * m[name] + g + own * layer[name]
                        layer[name] = layer[name] - lr * m[name]
    return params


def distance(task: hp.Task, optimizer: str, config: dict[str, float], epochs: int, got: Any) -> float:
    """The largest distance of a leaf from the reference's, relative to the way that it was trained."""
    expected = reference(task, optimizer, config, epochs)
    key = key_of(jax.random.key(SEED), Keys.INIT, 0)
    leaves = zip(*map(jax.tree.leaves, (got, expected, task.init(key, config))), strict=True)
    return max(np.linalg.norm(g - want) / np.linalg.norm(want - np.asarray(begun)) for g, want, begun in leaves)


def network(optimizer: str, hidden: tuple[int, ...]) -> hp.Task:
    return hp.tasks.mlp(hp.data.mnist_sample(500), hidden=hidden, optimizer=optimizer)


BOOK = (100,) * 6
BOOKS = [pytest.param(name, BOOK, id=f"{name}-book", marks=pytest.mark.slow) for name in CONFIGS]
one_quickly = pytest.mark.parametrize(("optimizer", "hidden"), [("momentum", (30, 20)), *BOOKS])


@pytest.mark.slow
@one_quickly
def test_a_member_agrees_with_plain_numpy_after_200_steps(optimizer, hidden):
    task, configs = network(optimizer, hidden), CONFIGS[optimizer]
    assert (task.n_train, task.n_valid, task.batch_size) == (400, 100, BATCH)
    with jax.enable_x64(True):  # the arithmetic without its rounding
        found = train(task, configs, EPOCHS, tile=2, seed=SEED, dtype=np.float64)
        for params, config in zip(found.params, configs, strict=True):
            assert distance(task, optimizer, config, EPOCHS, params) < 1e-7


@one_quickly
def test_in_float32_it_agrees_for_an_epoch(optimizer, hidden):
    """Then a ReLU near 0 falls to the other side, and from there on the networks part."""
    task, configs = network(optimizer, hidden), CONFIGS[optimizer][:1]
    found = train(task, configs, 1, tile=2, seed=SEED)
    assert distance(task, optimizer, configs[0], 1, found.params[0]) < 1e-3
