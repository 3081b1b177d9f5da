"""All 60,000 images of MNIST, or of Fashion-MNIST by way of TensorFlow Datasets, with 256 networks at once.

    python experiments/full_mnist.py idx FOLDER     the four IDX files of MNIST, plain or .gz
    python experiments/full_mnist.py tfds FOLDER    Fashion-MNIST, prepared by TFDS from its original files in FOLDER

Prints the ranked table and, from summary.json, the time, the speed and the peak memory.

Result on 2 cores that other work shared: 256 networks 784-100-100-10, two epochs on 50,000 images each and an
evaluation of all 60,000 after each, in 474 s and 2.07 GiB; the chosen one's validation accuracy is 0.964.
"""

import argparse
import tempfile
from pathlib import Path

import jaxhp as hp
from jaxhp.store.files import read_json

SPACE = hp.Space(
    lr=hp.LogUniform(1e-3, 1.0),
    weight_decay=hp.LogUniform(1e-8, 1e-3),
    momentum=hp.Uniform(0.0, 0.95),
)


def load(kind: str, folder: Path) -> hp.data.Dataset:
    if kind == "idx":
        return hp.data.idx(folder)
    return hp.data.tfds("fashion_mnist", data_dir=tempfile.mkdtemp(), manual_dir=folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", nargs="?", choices=("idx", "tfds", "sample"), default="sample")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--population", type=int, default=256)
    parser.add_argument("--smoke", action="store_true", help="a few networks on the bundled sample")
    arguments = parser.parse_args()
    if arguments.kind == "sample" and not arguments.smoke:
        parser.error("name the kind of data and its folder")
    data = hp.data.mnist_sample() if arguments.smoke else load(arguments.kind, arguments.folder)
    task = hp.tasks.mlp(data, hidden=(100,) * 2, optimizer="momentum", valid=10_000 if not arguments.smoke else 0.2)
    print(f"{task.n_train:,} training and {task.n_valid:,} validation examples")
    population = 8 if arguments.smoke else arguments.population
    with tempfile.TemporaryDirectory() as directory:
        result = hp.search(task, SPACE, hp.Sobol(population), epochs=2, finals=hp.Finals(2, 4), dir=directory)
        summary = read_json(Path(directory) / "summary.json")
    print(result.table(5), result.summary(), sep="\n")
    rate = summary["epochs_trained"] * (task.n_train / summary["step_s"])
    print(
        f"{summary['members']} networks x 2 epochs: {summary['step_s']:.1f} s of training, {rate:,.0f} examples a "
        f"second, compiled in {summary['compile_s']:.1f} s, peak {summary['measured']['peak_bytes'] / 2**30:.2f} GiB"
    )


if __name__ == "__main__":
    main()
