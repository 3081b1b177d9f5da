"""What the ready-made networks' steps may move through the memory of a GPU, compiled for one without one.

Needs the wheels of XLA's compiler for NVIDIA GPUs, of jaxlib's version (tried: jax 0.10.2 on Python 3.11 and 0.12 on
3.13, from a plain `pip install --no-deps --target FOLDER jax-cuda13-pjrt==V jax-cuda13-plugin==V`), in the folder that
JAXHP_CUDA_WHEELS names. Among a virtual environment's packages every start of JAX would look for a GPU.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1]
WHEELS = os.environ.get("JAXHP_CUDA_WHEELS", "")
MEGABYTES = {("book MLP", "float32"): 6.2, ("CNN", "float32"): 110, ("CNN", "bfloat16"): 60}  # a network and step
KERNELS = 46


@pytest.mark.slow
@pytest.mark.parametrize(("network", "dtype"), MEGABYTES)
def test_a_step_keeps_to_its_budget(network, dtype):
    found = {d.version for d in importlib.metadata.distributions(name="jax-cuda13-pjrt", path=[WHEELS])}
    if found != {jax.__version__}:
        pytest.skip(f"needs jax-cuda13-pjrt and jax-cuda13-plugin {jax.__version__} in $JAXHP_CUDA_WHEELS")
    script = ROOT / "experiments/benchmarks/budgets.py"
    done = subprocess.run(
        [sys.executable, str(script), "--json", "--network", network, "--dtype", dtype],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([WHEELS, str(ROOT)]), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert row["MB a step"] <= MEGABYTES[network, dtype]
    assert row["kernels"] <= KERNELS


PROGRAM = """
%slices (p.0: f32[8,100], p.1: s32[]) -> f32[100] {
  %p.0 = f32[8,100]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f32[1,100]{1,0} dynamic-slice(%p.0, %p.1, %zero), dynamic_slice_sizes={1,100}
  ROOT %flat = f32[100]{0} bitcast(%row)
}

%body (arg: (s32[], f32[8,100], f32[100])) -> (s32[], f32[8,100], f32[100]) {
  %arg = (s32[], f32[8,100]{1,0}, f32[100]{0}) parameter(0)
  %n = s32[] get-tuple-element(%arg), index=0
  %all = f32[8,100]{1,0} get-tuple-element(%arg), index=1
  %one = f32[100]{0} fusion(%all, %n), kind=kLoop, calls=%slices
  %product = (bf16[100,2]{1,0}, s8[4096]{0}) custom-call(%one, %all), custom_call_target="__cublas$lt$matmul"
  ROOT %out = (s32[], f32[8,100]{1,0}, f32[100]{0}) tuple(%n, %all, %one)
}

ENTRY %main (x: (s32[], f32[8,100], f32[100])) -> (s32[], f32[8,100], f32[100]) {
  %x = (s32[], f32[8,100]{1,0}, f32[100]{0}) parameter(0)
  ROOT %w = (s32[], f32[8,100]{1,0}, f32[100]{0}) while(%x), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"7"}}
}
"""  # noqa: E501


def test_bytes_and_kernels_are_read_off_a_program():
    spec = importlib.util.spec_from_file_location("traffic", ROOT / "experiments/benchmarks/traffic.py")
    traffic = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(traffic)
    program = traffic.Program(PROGRAM)
    assert program.loops == [("body", 7)]
    slices = 4 + 400 + 400  # the index, one row of eight, and the same written
    product = 400 + 3200 + 400  # operands, and 200 values of two bytes; not the room to work in
    assert [(k.bytes, k.times) for k in program.kernels("body")] == [(slices, 1), (product, 1)]
    assert [(k.bytes, k.times) for k in program.kernels("main")] == [(slices, 7), (product, 7)]
