"""Two CPU devices on every machine, and programs compiled once a session; warnings are errors, see pyproject.toml.

Shapes and dtypes are checked at every call of the modules in `checked.py`, by jaxtyping with beartype.

The workers of pytest-xdist are started by a process that has read this file, and share its folder of compiled programs.
Property tests try the same examples in every run, however long a busy machine takes for one; new ones with
`--hypothesis-profile=new`.
"""

import atexit
import os
import shutil
import tempfile

from checked import CHECKED
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

for _name, _same in (("same", True), ("new", False)):
    settings.register_profile(_name, derandomize=_same, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="jaxhp-tests-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
install_import_hook(CHECKED, "beartype.beartype")  # before anything imports jaxhp
