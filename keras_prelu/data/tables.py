"""Data sets in CSV and Parquet files, read by pandas."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from keras_prelu.data.columns import ColumnRoles, dataset_of_columns
from keras_prelu.data.containers import column_values
from keras_prelu.data.dataset import Dataset
from keras_prelu.errors import DataError, reason_of
from keras_prelu.utils.suggestions import similar_file

__all__ = ["TABLES", "table_dataset"]

TABLES = {".csv": ",", ".tsv": "\t", ".parquet": None}
"""The suffixes of tables, with the separator of those that are text."""


def table_dataset(source: str, path: Path, kind: str, roles: ColumnRoles) -> Dataset:
    """Return the data set of a table, a row for each sample.

    Args:
        source: Str. Name of the data set.
        path: `pathlib.Path` of the file.
        kind: Str. A key of `TABLES`.
        roles: `ColumnRoles`.

    Raises:
        DataError: There is no such file, it can't be read, or pandas is not installed.
    """
    if not path.is_file():
        raise DataError(f"No such file: '{path}'.{similar_file(path)}")
    frame = _read(path, kind)
    if not len(frame):
        raise DataError(f"'{path}' has no rows.")
    columns = {str(name): column_values(frame[name]) for name in frame.columns}
    return dataset_of_columns(source, columns, None, roles)


def _read_text(path: Path, separator: str) -> Any:
    """Return the frame of a text file.

    Raises:
        ValueError: Rows have more fields than the header, columns have the same name, or there is
            no header: pandas would take the first fields for an index, rename columns, or take the
            first row for names.
    """
    import pandas

    # An empty field is missing; words such as "None" are text that people write.
    options: dict[str, Any] = {"sep": separator, "keep_default_na": False, "na_values": [""]}
    header = pandas.read_csv(path, header=None, nrows=1, dtype=str, **options).iloc[0]
    if _are_values(header):
        raise ValueError(
            "its first line holds values, where the names of the columns should be. Add a line of"
            " names"
        )
    twice = header[header.duplicated()].dropna()
    if len(twice):
        raise ValueError(f"two columns are named '{twice.iloc[0]}'")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            return pandas.read_csv(path, index_col=False, **options)
        except pandas.errors.ParserWarning:
            raise ValueError(
                f"rows have more fields than the header, which has {len(header)}; numbers with a"
                " decimal comma have two fields"
            ) from None


def _are_values(header: Any) -> bool:
    """Return whether the fields of a first line are a sample's values, and no names.

    Names may be numbers too, such as those of pixels, years and quantiles, which go up.
    """
    import pandas

    numbers = pandas.to_numeric(header, errors="coerce").dropna()
    goes_up = bool((numbers.diff().dropna() > 0).all())
    has_fractions = bool((numbers % 1 != 0).any())
    if len(numbers) == len(header):
        return has_fractions or not goes_up
    return has_fractions and not goes_up


def _read(path: Path, kind: str) -> Any:
    try:
        import pandas
    except ImportError as error:
        raise DataError(f"'{path}' needs pandas: pip install 'keras-prelu[data]'.") from error
    separator = TABLES[kind]
    try:
        if separator is None:
            return pandas.read_parquet(path)
        return _read_text(path, separator)
    except ImportError as error:
        raise DataError(f"'{path}' needs pyarrow: pip install 'keras-prelu[data]'.") from error
    except Exception as error:  # Those of pandas and pyarrow.
        raise DataError(f"'{path}' can't be read as {kind[1:]}: {reason_of(error)}.") from error
