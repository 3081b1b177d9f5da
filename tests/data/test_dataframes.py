"""Tables of any library become the arrays that NumPy and scikit-learn make of them, and nothing is guessed silently."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

import jaxhp as hp

ROWS = {
    "age": [20.0, None, 40.0, 60.0],
    "sold": [1, 2, 3, 6],
    "new": [True, False, True, True],
    "town": ["Rome", "Oslo", None, "Rome"],
    "buys": ["no", "yes", "no", "yes"],
}
PANDAS = pd.DataFrame(ROWS)


def polars(columns):
    return pytest.importorskip("polars", reason="needs polars: pip install polars").DataFrame(columns)


def csv(columns, folder):
    pd.DataFrame(columns).to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def parquet(columns, folder):
    pa.parquet.write_table(pa.table(columns), folder / "rows.parquet")
    return str(folder / "rows.parquet")


SOURCES = {
    "pandas": lambda columns, _: pd.DataFrame(columns),
    "pandas categories": lambda columns, _: pd.DataFrame(columns).astype({"town": "category", "buys": "category"}),
    "pandas nullable": lambda columns, _: pd.DataFrame(columns).convert_dtypes(),
    "polars": lambda columns, _: polars(columns),
    "polars categories": lambda columns, _: polars(columns).cast({"town": __import__("polars").Categorical}),
    "arrow": lambda columns, _: pa.table(columns),
    "arrow categories": lambda columns, _: pa.table(columns | {"town": pa.array(columns["town"]).dictionary_encode()}),
    "dict": lambda columns, _: columns,
    "csv": csv,
    "parquet": parquet,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_each_source_gives_the_same_arrays(kind, tmp_path):
    source = SOURCES[kind](ROWS, tmp_path)
    prepared = hp.data.table(source, label="buys")
    found = prepared(source)
    # by hand: ages 20, 40, 60 have mean 40 and variance 800 / 3; 1, 2, 3, 6 have mean 3 and variance 14 / 4; of the
    # booleans the mean is 3 / 4 and the variance 3 / 16
    age, sold, new = np.array([-20, 0, 0, 20]) / (800 / 3) ** 0.5, np.array([-2, -1, 0, 3]) / 3.5**0.5, 3**0.5
    expected = np.stack([age, sold, np.array([1 / new, -new, 1 / new, 1 / new]), [0, 1, 0, 0]], 1)
    np.testing.assert_allclose(found["numeric"], expected, rtol=1e-6)
    assert found["numeric"].dtype == np.float32
    assert prepared.names == ("age", "sold", "new", "age missing")
    assert prepared.categories["town"] == ("Oslo", "Rome", None)
    assert found["categorical"].tolist() == [[2], [1], [3], [2]]
    assert prepared.sizes == (4,)
    assert prepared.classes == ("no", "yes")
    assert found["buys"].tolist() == [0, 1, 0, 1]
    assert {name: leaf.dtype.name for name, leaf in found.items()}["buys"] == "int32"

    other = {"age": [50.0], "sold": [3], "new": [True], "town": ["Bonn"], "more": [datetime.date(2000, 1, 1)]}
    features = prepared.features(other)
    np.testing.assert_allclose(features["numeric"], [[10 / (800 / 3) ** 0.5, 0, 1 / new, 0]], rtol=1e-6)
    assert features["categorical"].tolist() == [[0]]  # none of the towns
    assert hp.split(found, valid=1, stratify=None)[0]["numeric"].shape == (3, 4)


def test_what_is_learned_is_learned_from_the_rows_that_are_given_alone():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(3, 5, (50, 4)), columns=list("abcd")).assign(y=rng.integers(0, 2, 50))
    train, valid = hp.split(frame, valid=0.3, seed=1, stratify="y")
    prepared = hp.data.table(train, "y")
    scaler = StandardScaler().fit(train[list("abcd")])
    for part in (train, valid):
        np.testing.assert_allclose(
            prepared(part)["numeric"], scaler.transform(part[list("abcd")]), rtol=2e-6, atol=1e-6
        )
        np.testing.assert_array_equal(prepared(part)["y"], part["y"])
    raw = hp.data.table(frame, "y", scale=False)(valid)
    np.testing.assert_array_equal(raw["numeric"], valid[list("abcd")].to_numpy(np.float32))


def test_a_transformer_of_scikit_learn():
    columns = [("scaled", StandardScaler(), ["sold"]), ("towns", OneHotEncoder(handle_unknown="ignore"), ["town"])]
    transformer = ColumnTransformer(columns)
    for source in (PANDAS, pa.table(ROWS), ROWS):
        prepared = hp.data.table(source, "buys", prepare=transformer)
        found = prepared(source)
        expected = ColumnTransformer(columns).fit_transform(PANDAS.drop(columns="buys"))
        np.testing.assert_allclose(found["numeric"], expected, rtol=1e-6)
        assert prepared.names[0] == "scaled__sold"
        assert found["buys"].tolist() == [0, 1, 0, 1]
    assert not hasattr(transformer, "transformers_")  # a copy was fitted
    with pytest.raises(ValueError, match="got None") as caught:
        hp.data.table(PANDAS, "buys", prepare=ColumnTransformer([("t", TargetEncoder(), ["town"])]))
    assert caught.value.__notes__ == ["in prepare=, which is fitted without labels"]
    with pytest.raises(hp.Error, match=r"prepare: expected a transformer of scikit-learn, got 3"):
        hp.data.table(PANDAS, "buys", prepare=3)
    with pytest.raises(hp.Error, match="prepare: expected neither numeric"):
        hp.data.table(PANDAS, "buys", prepare=transformer, numeric=["age"])
    with pytest.raises(hp.Error, match="numeric 0: expected finite values of float32, got nan in row 1"):
        hp.data.table(PANDAS, "buys", prepare=ColumnTransformer([("a", "passthrough", ["age"])]))(PANDAS)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_tables_are_split_as_their_columns_are(kind, tmp_path):
    n = 60
    rng = np.random.default_rng(0)
    site = rng.integers(0, 12, n)
    columns = {"x": rng.normal(size=n), "site": [f"s{i:02d}" for i in site], "day": rng.permutation(n)}
    frame = SOURCES[kind](columns, tmp_path)
    numbers = {"x": columns["x"], "site": site, "day": columns["day"]}
    for options in ({}, {"stratify": "site"}, {"groups": "site"}, {"order": "day"}):
        expected = hp.split(numbers, 20, 3, **options)
        for found, part in zip(hp.split(frame, 20, 3, **options), expected, strict=True):
            assert type(found) is type(frame)
            np.testing.assert_array_equal(found["x"].to_numpy(), part["x"])
    days = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=10)[::-1]})
    train, valid = hp.split(days, 2, order="when")
    assert train["when"].max() < valid["when"].min()
    with pytest.raises(hp.Error, match="groups: expected a column of the table"):
        hp.split(frame, groups="patient")
    with pytest.raises(hp.Error, match="groups: expected no missing value, got one in row 1"):
        hp.split(pd.DataFrame({"g": ["a", None, "b"]}), groups="g")


def test_kept_columns_serve_for_groups():
    frame = PANDAS.assign(patient=["p1", "p2", "p1", "p3"], when=[5, 6, 7, 8], weight=0.5)
    prepared = hp.data.table(frame, "buys", keep=["patient", "when", "weight"])
    found = prepared(frame)
    assert found["patient"].tolist() == [0, 1, 0, 2]
    assert found["when"].tolist() == [5, 6, 7, 8]
    assert found["weight"].tolist() == [0.5] * 4
    assert prepared.names == ("age", "sold", "new", "age missing")
    with pytest.raises(hp.Error, match=r"keep 'patient': expected values of the rows that .* got 'p9'"):
        prepared(frame.assign(patient="p9"))


def test_labels_of_numbers_stay_what_they_are():
    for values, dtype in (([1.5, 2.5], np.float32), ([3, 7], np.int32), ([True, False], np.int32)):
        frame = {"x": [0.0, 1.0], "y": np.array(values)}
        found = hp.data.table(frame, "y")(frame)["y"]
        assert found.dtype == dtype
        assert found.tolist() == values


def test_a_constant_column_becomes_zeros():
    frame = {"x": [0.1] * 7, "z": [1, 2, 3, 4, 5, 6, 7]}
    assert (hp.data.table(frame)(frame)["numeric"][:, 0] == 0).all()


def learn(**options):
    source = options.pop("source", PANDAS)
    return hp.data.table(source, **({"label": "buys"} | options))


DAY = PANDAS.assign(day=pd.Timestamp("2020-01-01"))
CASES = {
    "no table": (lambda _: learn(source=3), "source: expected a table of pandas, polars or Arrow, a dict of"),
    "no rows": (lambda _: learn(source=PANDAS[:0]), "source: expected columns and rows, got 5 columns and no row"),
    "names that are none": (lambda _: learn(source=pd.DataFrame([[1, 2]])), "source: expected columns named by texts"),
    "a name twice": (
        lambda _: learn(source=pd.DataFrame([[1, 2]], columns=["a", "a"])),
        "source: expected columns of different names, got 'a' 2 times",
    ),
    "columns of unequal length": (
        lambda _: learn(source={"a": [1, 2], "b": [1]}, label=None),
        "column 'b': expected one value for each of 2 rows, got shape (1,)",
    ),
    "no such column": (
        lambda _: learn(label="sells"),
        "label 'sells': expected a column of the table (age, sold, new, town, buys), got none of that name",
    ),
    "a text for a list": (lambda _: learn(numeric="age"), "numeric: expected a list of names of columns, got 'age'"),
    "named twice": (
        lambda _: learn(numeric=["age"], keep=["age"]),
        "'age': expected a column to be named once among label, numeric, categorical and keep",
    ),
    "dates": (lambda _: learn(source=DAY), "column 'day': expected numbers, booleans or texts, got datetime64"),
    "lists": (
        lambda _: learn(source=pa.table({"buys": [1, 2], "ids": [[1], [2]]})),
        "column 'ids': expected numbers, booleans or texts alone, got ndarray",
    ),
    "objects": (
        lambda _: learn(source=PANDAS.assign(mixed=["a", 1, 2.0, None])),
        "column 'mixed': expected numbers, booleans or texts alone, got float, int, str",
    ),
    "texts as numbers": (lambda _: learn(numeric=["town"]), "numeric 'town': expected numbers or booleans, got texts"),
    "nothing there": (lambda _: learn(source=PANDAS.assign(age=np.nan)), "numeric 'age': expected a value, got none"),
    "no features": (
        lambda _: learn(numeric=[], categorical=[]),
        "source: expected columns of numbers or categories beside the label and kept ones, got none",
    ),
    "infinite": (
        lambda _: learn(source=PANDAS.assign(age=np.inf)),
        "numeric 'age': expected finite values, got inf",
    ),
    "missing label": (
        lambda _: learn(label="age"),
        "label 'age': expected no missing value, got one in row 1",
    ),
    "missing of no number": (
        lambda _: learn(missing=["town"]),
        "missing: expected numeric columns (age, sold, new), got",
    ),
    "missing refused": (
        lambda _: learn(missing=[])(PANDAS),
        "numeric 'age': expected no missing value, got one in row 1: name it in missing=",
    ),
    "missing where none was": (
        lambda _: learn()(PANDAS.assign(sold=[1, 2, None, 4])),
        "numeric 'sold': expected no missing value, got one in row 2: name it in missing=",
    ),
    "another kind": (
        lambda _: learn()(PANDAS.assign(town=[1, 2, 3, 4])),
        "categorical 'town': expected texts, as in the rows that the table was learned from, got numbers",
    ),
    "a label never seen": (
        lambda _: learn()(PANDAS.assign(buys="maybe")),
        "label 'buys': expected values of the rows that the table was learned from, got 'maybe'",
    ),
    "too much for float32": (
        lambda _: learn(scale=False)(PANDAS.assign(age=1e300)),
        "numeric 'age': expected finite values of float32, got 1e+300 in row 0",
    ),
    "wide label": (
        lambda _: learn(source=PANDAS.assign(id=2**40), label="id")(PANDAS.assign(id=2**40)),
        "label 'id': expected integers within int32, got 1099511627776",
    ),
    "another ending": (lambda p: learn(source=touched(p / "rows.txt")), "source: expected a file named .csv"),
    "a damaged file": (lambda p: learn(source=touched(p / "rows.parquet")), "source: "),
}


def touched(path):
    path.write_text("a,b")
    return path


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_named(case, tmp_path):
    call, message = CASES[case]
    with pytest.raises(hp.Error) as caught:
        call(tmp_path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"source: expected a CSV or Parquet file, got 'none\.csv'"):
        hp.data.table("none.csv")
