"""One value into the dtype and shape of its field, or a refusal: nothing is lost in silence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.errors import DataError, nearest

if TYPE_CHECKING:
    from dovetail.data.schema import Field

NUMERIC_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
DTYPES = (*NUMERIC_DTYPES, "string", "bytes")


def dtype_name(dtype: object, where: str) -> str:
    """Give the one name of a dtype: numpy's for numbers, else "string" or "bytes".

    Args:
      dtype: a name, a numpy or torch dtype, a Python type, or anything with a `name`, such as
        TensorFlow's dtypes.
      where: what the dtype belongs to, for the message.

    Raises:
      DataError: if values of that dtype can't be stored.

    >>> dtype_name(np.float32, "x"), dtype_name("torch.int64", "x"), dtype_name(str, "x")
    ('float32', 'int64', 'string')
    """
    if str(dtype).startswith("torch."):
        name = str(dtype).removeprefix("torch.")
    elif isinstance(dtype, str | type | np.dtype) and dtype not in DTYPES:
        try:
            found = np.dtype(dtype)
            name = {"U": "string", "S": "bytes"}.get(found.kind, found.name)
        except (TypeError, ValueError):
            name = str(dtype)
    else:
        name = str(getattr(dtype, "name", dtype))
    if name not in DTYPES:
        cure = " Store float32." if name == "bfloat16" else nearest(name, DTYPES)
        raise DataError(
            f"{where}: values of dtype {name!r} can't be stored; use one of {', '.join(DTYPES)}."
            f"{cure}"
        )
    return name


def convert_value(value: Any, field: Field, where: str) -> np.ndarray | str | bytes:
    """Convert one value to its field's dtype and shape, as a fresh copy; see `Schema.convert`.

    >>> from dovetail.data.schema import Field
    >>> convert_value(np.uint8(7), Field("x", (1,), "float32"), "a.csv")
    array([7.], dtype=float32)
    """
    if not field.is_numeric:
        return _convert_text(value, field, where)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise _refusal(field, where, f"a value that is not an array ({error})") from error
    array = _convert_shape(array, field, where)
    if array.dtype == field.dtype:
        return np.array(array, field.dtype, order="C")  # a reader may use its buffer again
    rounds = isinstance(value, float | list | tuple) and not isinstance(value, np.generic)
    return _convert_dtype(array, field, where, rounds=rounds)


def _convert_text(value: Any, field: Field, where: str) -> np.ndarray | str | bytes:
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    array = np.empty((), object)
    if isinstance(value, str | bytes):
        array[()] = value
    else:
        try:
            array = np.array(value, object)
        except ValueError as error:
            raise _refusal(field, where, f"a value that is not an array ({error})") from error
    array = _convert_shape(array, field, where)
    kind: type = str if field.dtype == "string" else bytes
    for index, one in enumerate(array.flat):
        if not isinstance(one, kind):
            cure = {str: " Encode it first.", bytes: " Decode it first."}.get(type(one), "")
            raise _refusal(field, where, f"{type(one).__name__} {_short(one)}.{cure}")
        if isinstance(one, str):
            try:
                one.encode()
            except UnicodeEncodeError as error:
                raise _refusal(field, where, f"text that UTF-8 can't hold ({error})") from error
        array.flat[index] = kind(one)  # numpy's own str and bytes become plain ones
    return array[()] if field.shape == () else array


def _convert_shape(array: np.ndarray, field: Field, where: str) -> np.ndarray:
    """Accept the field's shape, or one that differs from it by sizes of one alone."""
    shape = field.shape
    if len(shape) == array.ndim:
        if all(want is None or want == have for want, have in zip(shape, array.shape, strict=True)):
            return array
    elif None not in shape and (
        [size for size in shape if size != 1] == [size for size in array.shape if size != 1]
    ):
        return array.reshape(tuple(size or 0 for size in shape))
    raise _refusal(field, where, f"shape {list(array.shape)}")


def _convert_dtype(array: np.ndarray, field: Field, where: str, *, rounds: bool) -> np.ndarray:
    """Convert numbers whose values stay the same; `rounds` lets floats round to a float type."""
    target = field.numpy_dtype
    if array.dtype.kind not in "biuf":
        raise _refusal(field, where, f"{array.dtype} {_short(array)}")
    # numpy calls 64-bit integers to float64 safe, though it rounds those beyond 2**53.
    rounding = array.dtype.kind in "iu" and target.kind == "f" and array.dtype.itemsize == 8
    if np.can_cast(array.dtype, target, "safe") and not rounding:
        return array.astype(target, order="C")
    with np.errstate(all="ignore"):  # what overflows is found by the comparisons below
        result = array.astype(target, order="C")
        same = _same_values(array.ravel(), result.ravel())
        if rounds and target.kind == "f":
            same |= np.isfinite(result.ravel())
    if not same.all():
        first = array.ravel()[~same][0]
        cure = ""
        if target.kind == "f" and array.dtype.kind == "f":
            cure = f" If rounding is meant, return the value as {target} (.astype)."
        raise _refusal(field, where, f"{array.dtype} with the value {first}, which changes.{cure}")
    return result


def _same_values(array: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Compare a row of numbers, each exactly, with its conversion to another type."""
    source, target = array.dtype.kind, result.dtype.kind
    if source == "f" and target == "f":
        return (result.astype(array.dtype) == array) | (np.isnan(array) & np.isnan(result))
    if target == "b":
        return (array == 0) | (array == 1)
    if source == "f":
        info = np.iinfo(result.dtype)
        # Both bounds are powers of two (or zero), so they are exact as floats.
        wide = array.astype(np.float64)
        inside = (wide >= float(info.min)) & (wide < math.ldexp(1.0, info.bits - (info.min < 0)))
        return inside & (np.trunc(wide) == wide)
    if target == "f":
        # Every integer up to 2**digits is a float exactly; larger ones are asked one by one.
        digits = np.finfo(result.dtype).nmant + 1
        same = (array <= 2**digits) & (array >= (-(2**digits) if source == "i" else 0))
        for index in np.flatnonzero(~same):
            number = float(result[index])
            same[index] = math.isfinite(number) and int(number) == int(array[index])
        return same
    info = np.iinfo(result.dtype)
    have = np.iinfo(array.dtype)
    return (array >= max(info.min, have.min)) & (array <= min(info.max, have.max))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refusal(field: Field, where: str, arrived: str) -> DataError:
    return DataError(f"{where}: field {field} was expected; got {arrived}")
