"""The values of an Arrow column, one a row, and refusal of those that are not there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from dovetail.errors import DataError

pc: Any = pyarrow.compute  # made when it is imported, so pyright does not see its functions

# What a column gives for its rows: an array whose first dimension counts them, or a list.
Values = np.ndarray | list[Any]


def values_of(array: pa.Array, where: str) -> Values:
    """Take the values out of a column without nulls, exactly as they are.

    Args:
      array: of any type that `type_of` takes.
      where: the file and column, for messages.

    Returns:
      numbers and fixed-size lists of them as one array [rows, ...]; lists as a list of arrays;
      text and bytes as a list, in lists as arrays of objects.

    Raises:
      DataError: naming the row: lists of lists are not of one length within it.

    >>> values_of(pa.array([[1, 2], [3]]), "a.parquet, column 'x'")
    [array([1, 2]), array([3])]
    """
    kind = array.type
    if isinstance(array, pa.FixedShapeTensorArray):
        return array.to_numpy_ndarray()
    if isinstance(kind, pa.BaseExtensionType):
        return values_of(array.storage, where)
    if kinds.is_dictionary(kind):
        return values_of(array.dictionary_decode(), where)
    if kinds.is_run_end_encoded(kind):
        return values_of(pc.run_end_decode(array), where)
    if kinds.is_fixed_size_list(kind):
        inner = values_of(array.flatten(), where)
        items = _objects(inner) if isinstance(inner, list) else inner
        return items.reshape(len(array), kind.list_size, *items.shape[1:])
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        inner = values_of(array.flatten(), where)
        bounds = array.offsets.to_numpy().astype(np.int64)
        bounds = (bounds - bounds[0]).tolist()
        return [
            inner[low:high] if isinstance(inner, np.ndarray) else _stacked(inner[low:high], where)
            for low, high in itertools.pairwise(bounds)
        ]
    if kinds.is_temporal(kind):
        whole = pa.int32() if kind.bit_width == 32 else pa.int64()
        return array.cast(whole).to_numpy().astype(np.int64)
    if kinds.is_boolean(kind):
        return array.to_numpy(zero_copy_only=False)
    if kinds.is_integer(kind) or kinds.is_floating(kind):
        return array.to_numpy()
    return array.to_pylist()


def first_null(array: pa.Array) -> int | None:
    """Return the first row that is null, or holds a null in a list; None if there is none.

    >>> first_null(pa.array([[1], [2, None]]))
    1
    """
    if array.null_count:
        return int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
    if isinstance(array.type, pa.BaseExtensionType):
        return first_null(array.storage)
    if kinds.is_dictionary(array.type):
        return first_null(array.dictionary_decode()) if array.dictionary.null_count else None
    if kinds.is_run_end_encoded(array.type):
        return first_null(pc.run_end_decode(array))
    if kinds.is_nested(array.type):
        inside = first_null(array.flatten())
        if inside is None:
            return None
        if kinds.is_fixed_size_list(array.type):
            return inside // array.type.list_size
        ends = array.offsets.to_numpy()[1:] - array.offsets[0].as_py()
        return int(np.searchsorted(ends, inside, side="right"))
    return None


def _objects(values: Sequence[Any]) -> np.ndarray:
    """An array of these objects, whatever they are."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _stacked(values: list[Any], where: str) -> np.ndarray:
    """One value made of a list's entries: text, or arrays of one shape."""
    if not values or not isinstance(values[0], np.ndarray):
        return _objects(values)
    if len({value.shape for value in values}) > 1:
        sizes = sorted({value.shape[0] for value in values})
        raise DataError(
            f"{where} holds lists whose own lists differ in length within a row ({sizes[0]} and "
            f"{sizes[-1]}). Store them flat, with their lengths in another column."
        )
    return np.stack(values)
