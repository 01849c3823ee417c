"""What to say of an error that a step raised: which batch it was, and what was in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from dovetail.data.feed import Fed
from dovetail.errors import DataError
from dovetail.run.inputs import Input

_OUT_OF_RANGE = ("out of bounds", "out of range")


@contextmanager
def explained(when: str, source: Input, fed: Fed) -> Iterator[None]:
    """Say of an error that a block raises from which batch it came.

    Args:
      when: such as "training step 12".
      source: where the batch is from.
      fed: the batch.

    Raises:
      DataError: where a label or an index is out of range; other errors get a note.
    """
    try:
        yield
    except Exception as error:
        explain(error, when, source, fed)
        raise


def explain(error: Exception, when: str, source: Input, fed: Fed) -> None:
    """Say of an error that was caught, and will be raised again, from which batch it came.

    Args and errors are those of `explained`, for where its cost counts.
    """
    batch = source.describe(fed.position_after - fed.count, fed.count)
    held = f"features: {_described(fed.features)}; labels: {_described(fed.labels)}"
    if isinstance(error, IndexError) and any(text in str(error) for text in _OUT_OF_RANGE):
        ranges = "; ".join(_ranges("features", fed.features) + _ranges("labels", fed.labels))
        raise DataError(
            f"{str(error).rstrip('.')} in {when}, on the batch of {batch}. Its whole numbers are: "
            f"{ranges or 'none'}. Labels of n classes, and indices of n embeddings, must be from "
            "0 to n - 1: correct the data, or make the model's number of classes larger."
        ) from error
    error.add_note(f"This was in {when}, on the batch of {batch} ({held}).")


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_described(v)}" for k, v in value.items()) + "}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None:
        return type(value).__name__
    return f"{list(shape)} {str(dtype).removeprefix('torch.')}"


def _ranges(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for key, item in value.items() for text in _ranges(f"{name}['{key}']", item)]
    if not hasattr(value, "dtype") or 0 in value.shape:
        return []
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            return []
        value = value.detach().cpu().numpy()
    if getattr(value.dtype, "kind", "") not in "iu":
        return []
    return [f"{name} from {value.min()} to {value.max()}"]
