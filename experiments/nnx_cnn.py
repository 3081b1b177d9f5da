"""A convolutional network of flax's nnx on MNIST: batch norm, dropout, images shifted and turned, chosen honestly.

    python experiments/nnx_cnn.py ../shared/data/mnist     the folder with MNIST's four IDX files
    python experiments/nnx_cnn.py --smoke                  a few networks on the bundled sample

Needs `pip install 'jaxhp[flax]'`.

Result on 55,000 images: nine networks for one epoch, three for three, one for twelve, chosen by 5,000 other images, in
540 s of CPU, and the test in as much again (31 minutes on 2 cores that others shared). Chosen are a learning rate of
0.0017, a dropout of 0.15 and a weight decay of 0.0008, with 0.991 on the images that chose. Trained anew on all 60,000
with two seeds it has 0.9917 (0.9900 to 0.9934) on the 10,000 test images. That is short of the 0.994 that such networks
reach: this one has 12 and 24 filters and 12 epochs, since a network and image cost .2 ms of CPU. Without finals nothing
is said of the choice before the sealed test, which is honest without them.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jaxhp as hp


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, config: dict):
        more = {"use_bias": False, "conv_general_dilated": hp.nn.conv_general_dilated, "rngs": rngs}
        self.first, self.second = nnx.Conv(1, 12, (3, 3), **more), nnx.Conv(12, 24, (3, 3), **more)
        self.norms = nnx.List([nnx.BatchNorm(12, rngs=rngs), nnx.BatchNorm(24, rngs=rngs)])
        self.hidden, self.out = nnx.Linear(7 * 7 * 24, 64, rngs=rngs), nnx.Linear(64, 10, rngs=rngs)
        self.rate, self.rngs, self.deterministic = config["dropout"], rngs.fork(), False

    def __call__(self, x: jax.Array) -> jax.Array:
        for convolution, norm in zip((self.first, self.second), self.norms, strict=True):
            x = hp.nn.max_pool(hp.nn.relu(norm(convolution(x))), (2, 2), (2, 2))
        h = hp.nn.relu(self.hidden(x.reshape(len(x), -1)))
        return self.out(h if self.deterministic else hp.nn.dropout(self.rngs(), h, self.rate))


def moved(key: jax.Array, images: jax.Array) -> jax.Array:
    """Turn each image by at most 10 degrees and shift it by at most 2 pixels, between pixels."""
    turn, shift = jax.random.split(key)
    angle = jnp.deg2rad(jax.random.uniform(turn, (len(images), 1, 1), minval=-10.0, maxval=10.0))
    dy, dx = jax.random.uniform(shift, (2, len(images), 1, 1), minval=-2.0, maxval=2.0)
    y, x = jnp.mgrid[:28, :28] - 13.5
    at_y = jnp.cos(angle) * y - jnp.sin(angle) * x + 13.5 + dy
    at_x = jnp.sin(angle) * y + jnp.cos(angle) * x + 13.5 + dx
    found, row = jnp.zeros(images.shape), jnp.arange(len(images))[:, None, None]
    for oy in (0, 1):
        for ox in (0, 1):
            py, px = jnp.floor(at_y) + oy, jnp.floor(at_x) + ox
            inside = (py >= 0) & (py < 28) & (px >= 0) & (px < 28)
            weight = (1 - jnp.abs(at_y - py)) * (1 - jnp.abs(at_x - px)) * inside
            found += weight * images[row, py.clip(0, 27).astype(int), px.clip(0, 27).astype(int)]
    return found


def loss(model: Net, batch: dict, key: jax.Array, config: dict) -> jax.Array:
    images = moved(key, batch["image"].astype(jnp.float32) / 255)
    return optax.softmax_cross_entropy_with_integer_labels(model(images[..., None]), batch["label"]).mean()


def evaluate(model: Net, batch: dict, config: dict) -> dict[str, jax.Array]:
    scores = model(batch["image"].astype(jnp.float32)[..., None] / 255)
    return {"accuracy": scores.argmax(-1) == batch["label"]}


def optimizer(config: dict, *, steps: jax.Array) -> optax.GradientTransformation:
    return optax.adamw(hp.schedules.cosine(config["lr"], steps), weight_decay=config["weight_decay"])


SPACE = hp.Space(lr=hp.LogUniform(1e-3, 2e-2), weight_decay=hp.LogUniform(1e-5, 1e-1), dropout=hp.Uniform(0.0, 0.6))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--population", type=int, default=9, help="of the first epoch; a third goes on, then one")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--examples", type=int, default=55_000, help="training images of the 55,000")
    parser.add_argument("--dir", type=Path, help="run directory; the same command goes on with it")
    parser.add_argument("--smoke", action="store_true", help="a few networks on the bundled sample")
    arguments = parser.parse_args()
    if arguments.smoke:
        data = hp.data.mnist_sample(300)
    elif arguments.folder is not None:
        data = hp.data.idx(arguments.folder)
    else:
        parser.error("name the folder of MNIST's files")
    train, valid = hp.split(data.train, 0.2 if arguments.smoke else 5000, 0)
    train = {name: column[: arguments.examples] for name, column in train.items()}
    task = hp.tasks.nnx(
        Net, loss, evaluate, optimizer, train=train, valid=valid, test=data.test, batch_size=100, train_examples=0
    )
    began = time.time()
    population, epochs = (4, 1) if arguments.smoke else (arguments.population, arguments.epochs)
    search = hp.Search(task, SPACE, hp.Halving(population), epochs=epochs, finals=None)
    result = search.run(arguments.dir)
    print(result.table(5), result.summary(), sep="\n")
    print(f"{time.time() - began:.0f} s of search, {time.process_time():.0f} s of CPU")
    print(result.test(seeds=2))
    print(f"{time.time() - began:.0f} s in all, {time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
