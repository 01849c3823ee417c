"""Values as YAML and JSON know them, for what is recorded and compared."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

from dovetail.run.warm_start import WarmStart


def plain(value: object) -> Any:
    """Return a value as YAML and JSON know it.

    Functions and classes become "module:name"; numbers of numpy and torch become Python's; a
    `WarmStart` becomes its fields; what is left becomes its repr.

    >>> plain({"act": len, "size": (2, 3)})
    {'act': 'builtins:len', 'size': [2, 3]}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        # The base type: an enum's member or a subclass is not YAML's.
        kind = next(k for k in (type(None), bool, int, float, str) if isinstance(value, k))
        return value if type(value) is kind else kind(value)  # type: ignore[call-arg]
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if isinstance(value, WarmStart):
        return plain(dataclasses.asdict(value))
    if isinstance(value, os.PathLike):
        return str(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', None) or '?'}:{value.__qualname__}"
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return plain(value.item())  # type: ignore[attr-defined]
    return repr(value)


def finite(value: Any) -> Any:
    """Make numbers that JSON has not, nan and infinities, text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return value
