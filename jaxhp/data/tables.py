"""Tables as arrays for networks: what is needed for it is learned from some rows, and applied to any.

>>> people = {"age": [20.0, 40.0, None], "town": ["Rome", "Oslo", "Rome"], "buys": [True, False, True]}
>>> prepared = table(people, label="buys")
>>> prepared({"age": [30.0], "town": ["Bonn"], "buys": [True]})["categorical"].tolist()
[[0]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxhp.data.frames import Values, columns, opened, rows, values
from jaxhp.values import Error

_MANY = 2**31  # int32 ends before it


@dataclass(frozen=True, eq=False)
class Table:
    """How tables become arrays, as `hp.data.table` learned it from the rows that it was given.

    Attributes:
      numeric: names of the columns of numbers.
      categorical: names of the columns of categories.
      label, keep: the names that were given.
      names: the columns of the array "numeric", of which "age missing" is 1 where "age" is missing and else 0.
      categories: the values of each column of categories, by code from 1 on; 0 is any other value. None is among them,
        the last, where a value was missing. Also those of the label and of kept columns, by code from 0 on, if texts.
      sizes: how many codes each categorical column has, for tables of embeddings. Code 0 is not in the rows that were
        learned from, so that its embedding stays what it was made: make it zeros.
      classes: the values of the label by code; () of numbers.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    label: str | None
    keep: tuple[str, ...]
    names: tuple[str, ...]
    categories: Mapping[str, tuple[Any, ...]]
    _kinds: Mapping[str, str] = field(repr=False)
    _center: np.ndarray = field(repr=False)
    _scale: np.ndarray = field(repr=False)
    _indicated: tuple[str, ...] = field(repr=False)
    _prepare: Any = field(repr=False, default=None)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Count the codes of each categorical column."""
        return tuple(len(self.categories[name]) + 1 for name in self.categorical)

    @property
    def classes(self) -> tuple[Any, ...]:
        """Return the label's classes by code; () where the label is a number."""
        return self.categories.get(self.label or "", ())

    def __call__(self, source: Any) -> dict[str, np.ndarray]:
        """Make the arrays of a table, which may have further columns.

        Args:
          source: as for `hp.data.table`.

        Returns:
          {"numeric": f32[n, F], "categorical": i32[n, C], label: [n], ...}: without what there is none of. The label
          and kept columns have their own names; numbers stay what they are, booleans become 0 and 1, texts codes.

        Raises:
          Error: a column is missing or of another kind, a number is missing where none was among the rows that were
            learned from, or is not finite in float32, or a label or kept column has a value that they had not.
        """
        frame = opened(source, "source")
        found = self.features(frame)
        for name in (*((self.label,) if self.label is not None else ()), *self.keep):
            found[name] = self._kept(frame, name)
        return found

    def features(self, source: Any) -> dict[str, np.ndarray]:
        """Make the arrays of a table without its label and kept columns, which it need not have."""
        frame = opened(source, "source")
        if self._prepare is not None:
            return {"numeric": _transformed(self._prepare, _without(frame, (self.label, *self.keep)))}
        found = {}
        if self.numeric:
            found["numeric"] = self._numbers(frame)
        if self.categorical:
            codes = [self._codes(name, self._values(frame, name, "categorical"), 1) for name in self.categorical]
            found["categorical"] = np.stack(codes, 1)
        return found

    def _values(self, frame: Any, name: str, what: str) -> Values:
        found = values(frame, name, f"{what} {name!r}")
        if found.kind != self._kinds[name] and not found.missing.all():
            expected = f"{self._kinds[name]}s, as in the rows that the table was learned from"
            raise Error(f"{what} {name!r}: expected {expected}, got {found.kind}s")
        return found

    def _numbers(self, frame: Any) -> np.ndarray:
        made, absent = np.zeros((rows(frame), len(self.numeric))), []
        for i, name in enumerate(self.numeric):
            found = self._values(frame, name, "numeric")
            made[~found.missing, i] = (found.present.astype(np.float64) - self._center[i]) / self._scale[i]
            if name in self._indicated:
                absent.append(found.missing)
            elif found.missing.any():
                raise Error(
                    f"numeric {name!r}: expected no missing value, got one in row {int(found.missing.argmax())}: name "
                    "it in missing= to have a column that says so, or fill it in"
                )
        made = np.concatenate([made, np.array(absent, float).reshape(-1, len(made)).T], 1)
        return _single(made, self.names)

    def _codes(self, name: str, found: Values, first: int) -> np.ndarray:
        """Return i32[n], codes from `first` on, and first - 1 for what is none of the categories."""
        known = {value: code for code, value in enumerate(self.categories[name], first)}
        gone = known.get(None, first - 1)
        pairs = zip(found.array.tolist(), found.missing.tolist(), strict=True)
        return np.array([gone if absent else known.get(v, first - 1) for v, absent in pairs], np.int32)

    def _kept(self, frame: Any, name: str) -> np.ndarray:
        what = "label" if name == self.label else "keep"
        found = self._values(frame, name, what)
        if found.missing.any():
            raise Error(f"{what} {name!r}: expected no missing value, got one in row {int(found.missing.argmax())}")
        if name not in self.categories:
            return _number(found, what, name)
        codes = self._codes(name, found, 0)
        if (codes < 0).any():
            other = found.array[int(codes.argmin())]
            raise Error(f"{what} {name!r}: expected values of the rows that the table was learned from, got {other!r}")
        return codes


def table(
    source: Any,
    label: str | None = None,
    *,
    numeric: Sequence[str] | None = None,
    categorical: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    missing: Sequence[str] | None = None,
    scale: bool = True,
    prepare: Any = None,
) -> Table:
    """Learn from rows of a table how tables become arrays: give it training rows alone.

        train, valid = hp.split(frame, valid=0.2, stratify="buys")
        prepared = hp.data.table(train, label="buys")
        task = hp.Task(..., train=prepared(train), valid=prepared(valid), label="buys")

    With folds the data is shared by the networks of all folds, so what is learned is learned from the rows of all of
    them: the mean, standard deviation and categories of a column include those of rows that a fold is validated on. No
    label is used, so what leaks is how features are distributed: with n rows a mean that is off by about sd / sqrt(n).
    With `scale=False` numbers stay what they are, and nothing but lists of categories is learned.

    Args:
      source: a DataFrame of pandas or polars, an Arrow table, a dict of columns, or the path of a CSV or Parquet file.
      label: the column to predict; None: there is none.
      numeric: columns of numbers and booleans; None: all that are not named elsewhere.
      categorical: columns of texts, numbers or booleans that are categories; None: those of texts, and of the table's
        own kind of categories.
      keep: columns that are neither, but stay in the data by their names, for `groups=`, `order=` or a weight.
      missing: numeric columns where a value may be missing: it becomes 0 (with `scale` the mean), and a further column
        says so. None: those where one is missing in `source`. Any other is refused by name when it comes.
      scale: subtract the mean of a numeric column and divide by its standard deviation, of values that are not missing.
      prepare: a transformer of scikit-learn, such as a `ColumnTransformer`, in place of numeric, categorical, missing
        and scale: a copy is fitted to all columns but the label and the kept ones, without labels; what it makes is
        the array "numeric".

    Raises:
      Error: there is no such column, one is named twice or is of no use (dates, all values missing), or the file
        cannot be read.
      FileNotFoundError: there is no such file.
    """
    frame = opened(source, "source")
    for argument, names in {"numeric": numeric, "categorical": categorical, "keep": keep, "missing": missing}.items():
        if isinstance(names, str) or (names is not None and not all(isinstance(name, str) for name in names)):
            raise Error(f"{argument}: expected a list of names of columns, got {names!r}")
    if label is not None and not isinstance(label, str):
        raise Error(f"label: expected the name of a column, got {label!r}")
    kept = (*((label,) if label is not None else ()), *keep)
    named = [*kept, *(numeric or ()), *(categorical or ())]
    for name in named:
        if named.count(name) > 1:
            raise Error(f"{name!r}: expected a column to be named once among label, numeric, categorical and keep")
    described = {name: values(frame, name, f"{'label' if name == label else 'keep'} {name!r}") for name in kept}
    for name, found in described.items():
        if found.missing.any():
            what = "label" if name == label else "keep"
            raise Error(f"{what} {name!r}: expected no missing value, got one in row {int(found.missing.argmax())}")
    coded = {n: _categories(v) for n, v in described.items() if v.kind == "text" or v.categories}
    kinds = {name: found.kind for name, found in described.items()}
    if prepare is not None:
        if numeric is not None or categorical is not None or missing is not None:
            raise Error("prepare: expected neither numeric, categorical nor missing beside it")
        fitted, made = _fitted(prepare, _without(frame, kept))
        return Table((), (), label, tuple(keep), made, coded, kinds, np.zeros(0), np.zeros(0), (), fitted)
    numbers, classes = _chosen(frame, numeric, categorical, kept)
    for name, found in (numbers | classes).items():
        if found.missing.all():
            raise Error(f"{'numeric' if name in numbers else 'categorical'} {name!r}: expected a value, got none")
    indicated = tuple(n for n, v in numbers.items() if v.missing.any()) if missing is None else tuple(missing)
    for name in indicated:
        if name not in numbers:
            raise Error(f"missing: expected numeric columns ({', '.join(numbers) or 'none'}), got {name!r}")
    moments = [_moments(found, name, scale) for name, found in numbers.items()]
    indicated = tuple(name for name in numbers if name in indicated)
    return Table(
        numeric=tuple(numbers),
        categorical=tuple(classes),
        label=label,
        keep=tuple(keep),
        names=(*numbers, *(f"{name} missing" for name in indicated)),
        categories=coded | {name: _categories(found) for name, found in classes.items()},
        _kinds=kinds | {name: found.kind for name, found in (numbers | classes).items()},
        _center=np.array([center for center, _ in moments]),
        _scale=np.array([spread for _, spread in moments]),
        _indicated=indicated,
    )


def _chosen(
    frame: Any, numeric: Sequence[str] | None, categorical: Sequence[str] | None, kept: Sequence[str]
) -> tuple[dict[str, Values], dict[str, Values]]:
    """Return the columns of numbers and those of categories."""
    numbers = {name: values(frame, name, f"numeric {name!r}") for name in numeric or ()}
    classes = {name: values(frame, name, f"categorical {name!r}") for name in categorical or ()}
    for name, found in numbers.items():
        if found.kind == "text":
            raise Error(f"numeric {name!r}: expected numbers or booleans, got texts")
    if numeric is None or categorical is None:
        for name in columns(frame):
            if name in kept or name in numbers or name in classes:
                continue
            found = values(frame, name, f"column {name!r}")
            if found.kind == "text" or found.categories:
                if categorical is None:
                    classes[name] = found
            elif numeric is None:
                numbers[name] = found
    if not numbers and not classes:
        raise Error("source: expected columns of numbers or categories beside the label and kept ones, got none")
    return numbers, classes


def _categories(found: Values) -> tuple[Any, ...]:
    present = sorted(set(found.present.tolist()))
    return (*present, None) if found.missing.any() else tuple(present)


def _moments(found: Values, name: str, scale: bool) -> tuple[float, float]:
    present = found.present.astype(np.float64)
    if not np.isfinite(present).all():
        raise Error(f"numeric {name!r}: expected finite values, got {present[~np.isfinite(present)][0]}")
    if not scale:
        return 0.0, 1.0
    if present.min() == present.max():
        return float(present[0]), 1.0
    return float(present.mean()), float(present.std())


def _number(found: Values, what: str, name: str) -> np.ndarray:
    array = found.array
    if found.kind == "boolean":
        return array.astype(np.int32)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise Error(f"{what} {name!r}: expected finite values, got {array[~np.isfinite(array)][0]}")
        return array.astype(np.float32) if what == "label" else array
    if not -_MANY <= array.min() <= array.max() < _MANY:
        raise Error(f"{what} {name!r}: expected integers within int32, got {array.min()} to {array.max()}")
    return array.astype(np.int32)


def _single(array: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return float32, if it holds the values."""
    with np.errstate(over="ignore"):
        made = array.astype(np.float32)
    if not (finite := np.isfinite(made)).all():
        row, i = (int(at) for at in np.argwhere(~finite)[0])
        name = names[i] if i < len(names) else i
        raise Error(f"numeric {name!r}: expected finite values of float32, got {array[row, i]} in row {row}")
    return made


def _without(frame: Any, left_out: Sequence[str | None]) -> Any:
    """Return a DataFrame for scikit-learn, of all columns but some."""
    if isinstance(frame, Mapping) or hasattr(frame, "column_names"):
        try:
            import pandas
        except ImportError as error:
            raise Error("prepare: scikit-learn needs a DataFrame, so pandas: pip install pandas") from error
        frame = pandas.DataFrame(frame) if isinstance(frame, Mapping) else frame.to_pandas()
    return frame[[name for name in frame.columns if name not in left_out]]


def _fitted(prepare: Any, frame: Any) -> tuple[Any, tuple[str, ...]]:
    """Fit a copy of a transformer; return it and the names of what it makes."""
    if not (hasattr(prepare, "fit") and hasattr(prepare, "transform")):
        raise Error(f"prepare: expected a transformer of scikit-learn, got {prepare!r}")
    from sklearn.base import clone  # whose transformer it is

    fitted: Any = clone(prepare)
    try:
        fitted.fit(frame)
    except Exception as error:
        error.add_note("in prepare=, which is fitted without labels")
        raise
    made = _transformed(fitted, frame)
    names = fitted.get_feature_names_out() if hasattr(fitted, "get_feature_names_out") else range(made.shape[1])
    return fitted, tuple(map(str, names))


def _transformed(prepare: Any, frame: Any) -> np.ndarray:
    made = prepare.transform(frame)
    made = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
    if made.ndim != 2 or made.dtype.kind not in "biuf":
        raise Error(f"prepare: expected it to make numbers [n, F], got {made.dtype.name}{list(made.shape)}")
    return _single(made.astype(np.float64), ())
