"""What bits depend on is recorded, and compared before a search goes on."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxhp as hp
from jaxhp.engine import bits
from jaxhp.engine.environment import environment
from jaxhp.engine.runtime import folder_for
from jaxhp.report.bits import depends_on
from jaxhp.search.manifest import FORMAT, claim
from jaxhp.store import files
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Trial, Trials

X86 = """processor\t: 0
model name\t: A CPU
flags\t\t: fpu smep sse sse2 ssse3 fma avx avx2 bmi1 {more}

processor\t: 1
flags\t\t: amx_tile
"""


@pytest.fixture
def system(monkeypatch):
    """Lets this machine have other files than its own."""

    def of(**told: str) -> dict[str, str]:
        known = {"/proc/cpuinfo": told.get("cpuinfo", ""), "/sys/devices/system/cpu/cpu0/cache/index0/size": "48K\n"}
        monkeypatch.setattr(bits, "_read", lambda path: known[path])
        bits.cpu.cache_clear()
        return bits.cpu()

    yield of
    bits.cpu.cache_clear()


def test_the_first_cpus_instruction_sets_by_family(system):
    found = system(cpuinfo=X86.format(more="avx512f avx512bw"))
    assert {name: found[name] for name in found if name != "machine"} == {
        "model": "A CPU", "l1": "48K", "sse": "sse sse2", "ssse": "ssse3", "fma": "fma", "avx": "avx avx2",
        "avx512": "avx512bw avx512f",
    }  # fmt: skip
    arm = system(cpuinfo="processor : 0\nFeatures : fp asimd asimddp sve2 sme i8mm crc32\n")
    assert {arm.get(name) for name in ("asimd", "sve", "sme", "i8mm")} == {"asimd asimddp", "sve2", "sme", "i8mm"}
    assert set(system()) == {"machine", "model", "l1"}  # where the system does not tell


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="not Linux")
def test_this_machine():
    words = set(re.findall(r"^(?:flags|Features)\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M)[0].split())
    found = bits.cpu()
    assert ("avx2" in words) == ("avx2" in found.get("avx", "").split())
    assert ("avx512f" in words) == ("avx512f" in found.get("avx512", "").split())
    assert ("asimd" in words) == ("asimd" in found.get("asimd", "").split())


@pytest.fixture
def begun(tmp_path):
    """A directory with a trained trial, and what resumes it: returns what is noted."""
    one, ids = np.ones(1, np.float32), np.zeros(1, np.int32)
    manifest = {"format": FORMAT, "environment": environment(jax.local_devices())}
    with Ledger(tmp_path / "run", write=True) as ledger:
        claim(ledger, manifest, accept_environment=False)
        ledger.begin(Round(0, 1, one[:, None], ids - 1, ids), Trials.of([Trial(0, {"lr": 1.0})]))
        ledger.finish(0, Trials.of([Trial(0, {"lr": 1.0}, score=1.0, replicate_scores=(1.0,))]), one, 1.0)

    def resume(accept: bool = False) -> list[str]:
        now = {"format": FORMAT, "environment": environment(jax.local_devices())}
        with Ledger(tmp_path / "run", write=True) as ledger:
            return claim(ledger, now, accept_environment=accept)

    assert files.read_json(tmp_path / "run" / "manifest.json") == manifest
    assert resume() == []
    return resume


def test_another_instruction_set_is_refused_and_another_model_noted(begun, monkeypatch):
    mine = bits.cpu()
    monkeypatch.setattr("jaxhp.engine.environment.cpu", lambda: mine | {"model": "Another"})
    (note,) = begun()
    assert "its cpu.model is" in note
    assert "results stay the same" in note
    monkeypatch.setattr("jaxhp.engine.environment.cpu", lambda: mine | {"avx512": "avx512zz"})
    with pytest.raises(hp.Error, match=r"was begun elsewhere: its cpu\.avx512 is .*, now it is 'avx512zz'"):
        begun()
    assert "may differ in its last bits" in begun(accept=True)[0]


@pytest.mark.parametrize("name", ["NVIDIA_TF32_OVERRIDE", "ONEDNN_MAX_CPU_ISA", "NPY_DISABLE_CPU_FEATURES"])
def test_a_variable_is_compared(name, begun, monkeypatch):
    monkeypatch.setenv(name, "0")
    with pytest.raises(hp.Error, match=rf"its flags\.{name} is None, now it is '0'"):
        begun()


def test_an_option_of_jax_is_compared(begun):
    before = jax.config.values["jax_disable_most_optimizations"]
    try:
        jax.config.update("jax_disable_most_optimizations", not before)
        with pytest.raises(hp.Error, match=r"its flags\.jax_disable_most_optimizations is"):
            begun()
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def test_a_file_of_flags_is_what_it_holds(begun, tmp_path, monkeypatch):
    file, folders = tmp_path / "flags", set()
    monkeypatch.setenv("XLA_FLAGS", str(file))
    for flag in ("SSE4_2", "AVX2"):
        file.write_text(f"--xla_cpu_max_isa={flag}\n--xla_force_host_platform_device_count=3\n")
        with pytest.raises(hp.Error, match=rf"its flags\.XLA_FLAGS is .*, now it is '.*--xla_cpu_max_isa={flag}'"):
            begun()
        folders.add(folder_for(jax.local_devices()[0]))
    assert len(folders) == 2  # of compiled programs
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    assert begun() == []


def test_what_is_unusual_is_shown(monkeypatch):
    def shown() -> str:
        return depends_on({"environment": {"flags": bits.flags()}})

    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert shown() == "what is not recorded"
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    before = jax.config.values["jax_disable_most_optimizations"]
    try:
        jax.config.update("jax_disable_most_optimizations", True)
        assert shown() == "jax_disable_most_optimizations=True, XLA_FLAGS=--xla_cpu_max_isa=AVX2"
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
