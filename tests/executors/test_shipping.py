"""What reaches workers as bytes: large arrays apart and once, and what no worker could import by value."""

import importlib
import site
import sys
import types

import jax
import numpy as np
import pytest

from jaxhp.executors import shipping
from jaxhp.executors.shipping import import_from, packed, script_folder, unpacked
from jaxhp.values import Error


def travel(value, kept):
    def put(content):
        kept[digest := f"{hash(content)}"] = content
        return digest

    def get(digest):
        import io

        return np.load(io.BytesIO(kept[digest]))

    content = packed(value, put)
    return content, unpacked(content, get)


def test_large_arrays_travel_apart_and_stay_one_where_they_were_one():
    large = np.arange(40_000, dtype=np.float32).reshape(200, 200)
    kept = {}
    value = {"a": large, "b": [large, large.T], "half": large.astype("bfloat16"), "small": np.ones(3)}
    content, found = travel(value, kept)
    assert len(kept) == 3  # the transposed one lies otherwise
    assert len(content) < 10_000
    assert found["a"] is found["b"][0]
    for name in ("a", "half", "small"):
        np.testing.assert_array_equal(found[name], value[name])
    np.testing.assert_array_equal(found["b"][1], large.T)
    assert found["half"].dtype == value["half"].dtype


def test_arrays_and_keys_of_jax_travel():
    key = jax.random.key(3)
    _, found = travel((key, jax.numpy.arange(20_000)), {})
    assert jax.random.key_data(found[0]).tolist() == jax.random.key_data(key).tolist()
    np.testing.assert_array_equal(found[1], np.arange(20_000))


def test_functions_of_a_module_that_no_import_finds_travel_by_value(tmp_path, monkeypatch):
    module = types.ModuleType("experiment_of_this_test")
    module.__file__ = str(tmp_path / "experiment.py")
    exec("scale = 3\ndef times(x): return scale * x", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    content = packed(module.times, lambda _: "")
    monkeypatch.delitem(sys.modules, module.__name__)
    assert unpacked(content, lambda _: np.zeros(0))(2) == 6


def test_modules_beside_a_script_are_those_of_the_script_that_is_served(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    for number, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "beside_a_script.py").write_text(f"number = {number}")
        import_from(str(tmp_path / name))
        assert importlib.import_module("beside_a_script").number == number
    import_from("")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("beside_a_script")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "a" / "train.py"), raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert script_folder() == str(tmp_path / "a")


def test_what_a_worker_had_imported_before_a_script_came_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path / "home" / "library"), *sys.path])
    for name in ("home/library/in_a_library.py", "home/of_a_script.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    before = importlib.import_module("in_a_library")
    import_from(str(tmp_path / "home"))
    importlib.import_module("of_a_script")
    sys.path.remove(str(tmp_path / "home"))
    import_from("")
    assert sys.modules.pop("in_a_library") is before
    assert "of_a_script" not in sys.modules
    of_the_user = types.ModuleType("of_the_user")
    of_the_user.__file__ = f"{site.getusersitepackages()}/of_the_user.py"
    assert not shipping._is_in(of_the_user, "/")


def test_what_cannot_travel_is_named():
    with pytest.raises(Error, match=r"executor: expected a task that can be sent.*generator"):
        packed((x for x in range(3)), lambda _: "")
