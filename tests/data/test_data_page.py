"""The page about data works: its blocks run one after another, but those whose library is not there."""

import re
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def test_its_blocks_run():
    names: dict = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)):
        if all(find_spec(library) for library in ("tensorflow", "torch") if f"import {library}" in block):
            exec(compile(block, f"data.md block {number + 1}", "exec"), names)
    assert names["prepared"].names == ("age", "age missing")
    assert names["prepared"].sizes == (4,)
    assert names["prepared"].classes == ("no", "yes")
    assert names["data"]["length"].tolist() == [3, 1]
    each, labels = np.array([1.0, 3.0], np.float32), np.array([0, 1])
    found = jax.jit(names["weighted"])(each, {"label": labels})
    assert float(found) == pytest.approx((10 / 18 * 1 + 5 * 3) / 2, rel=1e-6)
    assert abs(names["weights"] - [10 / 18, 5]).max() < 1e-6
