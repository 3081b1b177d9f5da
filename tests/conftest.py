"""Two CPU devices on every machine; warnings are errors (see pyproject.toml)."""

import os

os.environ["JAX_NUM_CPU_DEVICES"] = "2"
