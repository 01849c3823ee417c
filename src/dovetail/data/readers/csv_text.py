"""What the text of a column stands for: whole numbers, numbers, truth values, or text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # made when it is imported, so pyright does not see its functions

# 007 and 0x1F are names or codes more often than numbers, and their zeros would be lost.
_CODE = r"^[+-]?0[0-9xX]"
# Whole numbers that float64 might round: those of 16 digits or more.
_TOO_LONG = r"^[+-]?[0-9]{16,}$"
_TRUTH = r"^(?i:true|false)$"
_LONG = 10**15


@dataclass
class TextKind:
    """What all text of a column seen so far stands for.

    >>> kind = TextKind()
    >>> kind.add(pa.array(["1", "2.5", None]))
    >>> kind.dtype
    'float64'
    >>> kind.add(pa.array(["007"]))
    >>> kind.dtype
    'string'

    Attributes:
      dtype: "int64", "float64", "bool" or "string"; None while there was no text at all.
      has_empty: whether there was a null.
    """

    dtype: str | None = None
    has_empty: bool = False
    _long: bool = False  # some whole number might be rounded as a float64

    def add(self, text: pa.Array) -> None:
        """Take in more of the column's text, without spaces around it; nulls count for nothing."""
        self.has_empty |= text.null_count > 0
        if self.dtype == "string" or text.null_count == len(text):
            return
        kind = self._kind(text)
        if self.dtype is None or kind == self.dtype:
            self.dtype = kind
        elif {kind, self.dtype} == {"int64", "float64"} and not self._long:
            self.dtype = "float64"
        else:
            self.dtype = "string"

    def _kind(self, text: pa.Array) -> str:
        numbers = parsed(text, "int64")
        if numbers is not None and not _any(text, _CODE):
            ends = pc.min_max(numbers).as_py()
            self._long |= max(-ends["min"], ends["max"]) >= _LONG
            return "int64"
        if numbers is None and parsed(text, "float64") is not None:
            return "string" if _any(text, _CODE) or _any(text, _TOO_LONG) else "float64"
        return "bool" if parsed(text, "bool") is not None else "string"


def parsed(text: pa.Array, dtype: str) -> pa.Array | None:
    """Turn text into numbers or truth values; None if some of it does not stand for one.

    Args:
      text: without spaces around it; nulls stay nulls.
      dtype: "int64", "uint64", "float64" or "bool" (true and false, in any case).

    >>> parsed(pa.array(["1e3", None]), "float64").to_pylist()
    [1000.0, None]
    """
    if dtype == "bool" and _any(text, _TRUTH, wanted=False):
        return None
    if dtype != "bool":
        text = pc.replace_substring_regex(text, r"^\+([0-9.])", r"\1")
    try:
        return text.cast(pa.bool_() if dtype == "bool" else pa.type_for_alias(dtype))
    except pa.ArrowInvalid:
        return None


def first_unparsed(text: pa.Array, dtype: str) -> int:
    """Return the first row of a column, of which some does not stand for a value, that does not."""
    low, high = 0, len(text)  # all before low do; some before high does not
    while high - low > 1:
        middle = (low + high) // 2
        if parsed(text.slice(low, middle - low), dtype) is None:
            high = middle
        else:
            low = middle
    return low


def _any(text: pa.Array, pattern: str, *, wanted: bool = True) -> bool:
    """Whether some text matches a pattern, or, if not `wanted`, does not."""
    matches = pc.match_substring_regex(text, pattern)
    return bool((pc.any(matches) if wanted else pc.any(pc.invert(matches))).as_py())
