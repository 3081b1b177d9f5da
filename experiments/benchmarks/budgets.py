"""How many bytes and kernels does a step take on an H200? Compiled for one, without one.

    python experiments/benchmarks/budgets.py [--json] [--smoke] [--network NAME ...] [--dtype NAME ...]
                                             [--optimizer NAME] [--tile N] [--train-examples N]

On a GPU the time of a step is what it moves through memory (see `accelerator.py`), so before a change is measured on a
card, it is judged here. XLA compiles for a GPU without one, given a description of it and the two wheels that hold its
compiler, of the version that `jax` has. They load no driver, but a JAX that finds them among its packages looks for a
GPU whenever it starts, so put them into a folder of their own:

    V=$(python -c "import jax; print(jax.__version__)")
    pip install --no-deps --target cuda jax-cuda13-pjrt==$V jax-cuda13-plugin==$V
    PYTHONPATH=cuda:. python experiments/benchmarks/budgets.py

`tests/test_gpu_budgets.py` does the same with the folder that JAXHP_CUDA_WHEELS names, and asserts budgets.

A row is one network in a tile as a search takes it, and one step of it: `update` is its minibatch alone, `step` has its
share of the epoch besides, most of which is the evaluation of the validation data and of as many training examples (or
`--train-examples` of them). Minibatches of 100, 4,000 training and 1,000 validation images of MNIST. The options are
those that a search compiles with; products are cuBLAS's. Kernels are those of an update.

Result (jax 0.12 on Python 3.13; 0.10.2 on 3.11 gives the same bytes and one kernel more), SGD: MB a network and step,
in brackets with all 4,000 training examples evaluated; and kernels. Before: products with JAX's own gradient, window
positions added one after another; ready-made networks had no bfloat16.

                    before                 float32                bfloat16
    book MLP    6.37  [7.14]  48       5.97  [6.74]  43       5.71  [6.24]  63
    CNN        125.2 [149.4]  39       96.9 [121.0]  34       51.5  [63.7]  43

In tiles of 64 the book's network moves as much for each (5.97; 41 kernels), so a tile's time is that of launching its
kernels and that of its members: see `default_tile`. With AdamW 8.05. Its widths of 100 and 10 do not suit bfloat16: XLA
pads every matrix to multiples of eight in kernels of their own. A ReLU whose derivative selects, rather than multiplies
by the sign, moves as much in float32 and .4 MB less of the CNN's 43 in bfloat16, but is counted as keeping more for the
backward pass, which halves the tile of the book's network; and on CPUs it is slow.
"""

from __future__ import annotations

import argparse
import importlib
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from machine import show
from peak import CONFIG, OPTIMIZERS
from traffic import Program

import jaxhp as hp
from jaxhp.engine.examples import examples_of
from jaxhp.engine.layout import arrange
from jaxhp.engine.population import _rules as rules_of
from jaxhp.engine.runtime import compiler_options
from jaxhp.engine.sizes import default_tile
from jaxhp.engine.tile import abstract_state, train_tiles
from jaxhp.engine.tiling import Capacity, Tiling, places_of
from jaxhp.search.groups import spec_of
from jaxhp.tasks.task import Task, curve_examples

NETWORKS = {"book MLP": hp.tasks.mlp, "CNN": hp.tasks.cnn}
DTYPES = {"float32": None, "bfloat16": "bfloat16"}
EPOCHS = 3
H200 = """
gpu_device_info {
  name: "NVIDIA H200" device_vendor: "NVIDIA Corporation" cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 threads_per_warp: 32 device_address_bits: 64
  device_memory_size: 151397597184 memory_bandwidth: 4800000000000 l2_cache_size: 52428800
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H200"
"""


def program(task: Task, tile: int | None) -> tuple[Program, int, int]:
    """Compiles the training of one tile for an H200.

    Returns:
      the program, members of a tile, and steps of an epoch.
    """
    (device,) = topologies.get_topology_desc("h200", "cuda", target_config=H200, topology="1x1x1").devices
    gpu: Any = SimpleNamespace(platform="gpu")
    spec = spec_of(task, {}, dict.fromkeys(CONFIG, np.float32))
    tile = tile or default_tile(spec.shapes, gpu)
    tiling = Tiling(Capacity(tile, 1, tile, 1, EPOCHS), [gpu])
    examples = examples_of(task.train, task.valid, partial(curve_examples, task))
    rules = rules_of(spec, tiling, examples, True)
    configs = {name: np.full(tile, value, np.float32) for name, value in CONFIG.items()}
    places = places_of(spec.traced, tiling, configs, np.arange(tile), arrange(np.zeros(tile), [0], tile), 0, EPOCHS)
    on_gpu = SingleDeviceSharding(device)

    def here(s: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=on_gpu)

    with mock.patch.object(Tiling, "sharded", on_gpu):
        state = abstract_state(spec.shapes, tiling)
    given = jax.tree.map(here, (state, places, np.int32(1), examples, jax.eval_shape(lambda: jax.random.key(0))))
    with mock.patch.object(jax, "default_backend", return_value="gpu"):  # see `nn.conv.rows_at_once`
        lowered = jax.jit(lambda *args: train_tiles(rules, *args), donate_argnums=0).lower(*given)
    options: dict[str, Any] = compiler_options(gpu)
    return Program(lowered.compile(options).as_text() or ""), tile, rules.steps


def measure(
    network: str, dtype: str, optimizer: str, tile: int | None, seen: int | None, smoke: bool
) -> dict[str, Any]:
    """The row of one network."""
    images = 250 if smoke else 5000
    data, seen = hp.data.mnist_sample(images), seen or images // 5
    task = NETWORKS[network](data, optimizer=optimizer, train_examples=seen, dtype=DTYPES[dtype])
    compiled, tile, steps = program(task, tile)
    (update,) = (body for body, trips in compiled.loops if trips == steps)
    epoch = min((compiled.kernels(body) for body, trips in compiled.loops if trips is None), key=len)

    def mega(kernels: list[Any]) -> float:
        return sum(kernel.bytes * kernel.times for kernel in kernels) / tile / 1e6

    kernels = compiled.kernels(update)
    return {
        "network": network,
        "dtype": dtype,
        "optimizer": optimizer,
        "tile": tile,
        "MB an update": round(mega(kernels), 3),
        "MB a step": round(mega(epoch) / steps, 3),
        "kernels": len(kernels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--dtype", nargs="*", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    parser.add_argument("--tile", type=int, help="networks of a tile; by default what a search would take")
    parser.add_argument("--train-examples", type=int, help="that are evaluated; by default as many as for validation")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="one network and a few images")
    args = parser.parse_args()
    importlib.import_module("jax_plugins.xla_cuda13")  # the compiler's wheels, see above
    jax.config.update("jax_platforms", "cpu")  # so that the compiler's wheels do not look for a GPU
    cases = [(network, dtype) for network in args.network for dtype in args.dtype]
    rows = [
        measure(network, dtype, args.optimizer, args.tile, args.train_examples, args.smoke)
        for network, dtype in cases[: 1 if args.smoke else None]
    ]
    show("A step on an H200, as compiled", {}, rows, args.json)


if __name__ == "__main__":
    main()
