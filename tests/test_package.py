"""What is published: what is in it, that it runs without the checkout, and what is said about it."""

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path

import pytest

import jaxhp as hp

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
BUILD = pytest.mark.skipif(not (find_spec("build") and find_spec("hatchling")), reason="needs jaxhp[package]")


def run(*command: object, cwd: Path) -> str:
    """What a command prints; a failure shows all of it."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A folder with the sdist and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=ROOT)
    return folder


@BUILD
@pytest.mark.slow
def test_the_wheel_has_the_package_and_nothing_else(dist):
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = [name for name in names if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in inside} == {"jaxhp"}
    here = {str(file.relative_to(ROOT)) for file in (ROOT / "jaxhp").rglob("*") if file.is_file()}
    assert set(inside) == {name for name in here if "__pycache__" not in name}
    for wanted in ("py.typed", "report/page.css", "report/page.js"):
        assert f"jaxhp/{wanted}" in inside
    assert any(name.startswith("jaxhp/data/") and not name.endswith(".py") for name in inside)  # the sample of MNIST
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 5e6


@BUILD
@pytest.mark.slow
def test_the_sdist_has_what_the_wheel_is_made_of(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "jaxhp/__init__.py", "jaxhp/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests", "docs", "experiments", "runs", "site"))]


@BUILD
@pytest.mark.slow
def test_the_readmes_example_runs_from_the_wheel_outside_of_the_checkout(dist, tmp_path):
    """In an environment of its own, which has the wheel and sees what is installed here, but not this checkout."""
    venv.create(tmp_path / "env", with_pip=False)
    python = next((tmp_path / "env").glob("[bS]*/python*"))
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    block = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)[0]
    asked = "\nimport numpy\nassert numpy.isfinite(result.best.score)\nprint(hp.__file__, hp.__version__)\n"
    (tmp_path / "example.py").write_text(block + asked)
    out = run(python, "-I", "example.py", cwd=tmp_path)
    where, which = out.splitlines()[-1].split()
    assert Path(where).is_relative_to(site)
    assert which == PROJECT["version"]
    assert "estimate" in out


def test_the_extras_are_there():
    wanted = {"flax", "equinox", "haiku", "optuna", "ray", "dask", "mlflow", "wandb", "docs", "all"}
    assert wanted <= set(EXTRAS)
    (everything,) = EXTRAS["all"]
    named = set(re.findall(r"[\w-]+", everything.partition("[")[2]))
    assert wanted - {"docs", "all"} <= named <= set(EXTRAS)


def test_a_package_has_the_same_lower_bound_wherever_it_is_named():
    bounds: dict[str, set[str]] = {}
    for line in [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]:
        name, _, bound = line.partition(">=")
        bounds.setdefault(name.partition("[")[0], set()).add(bound)
    assert not {name: found for name, found in bounds.items() if len(found) > 1}


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning_and_has_every_public_name(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    run(sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site", cwd=ROOT)
    packed = (tmp_path / "site" / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]
    found = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    missing = {name for name in hp.__all__ if f"jaxhp.{name}" not in found}
    assert missing <= {
        "data",
        "executors",
        "nn",
        "optuna",
        "search",
        "strategies",
        "tasks",
        "watch",
    }  # whose names stand alone
    pages = "".join(page.read_text() for page in (tmp_path / "site").rglob("*.html"))
    assert not re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?https?://(?!jaxhp)[^"'> ]+""", pages)
