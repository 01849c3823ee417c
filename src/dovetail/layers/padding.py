"""TensorFlow's padding: SAME and VALID.

SAME makes `ceil(size / stride)` outputs. Where the zeros that takes are odd in number, the odd one
goes after the inputs. Torch's own padding is the same on both sides, so this is computed here.
Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
"""

from __future__ import annotations

from dovetail.errors import DefinitionError
from dovetail.layers.calls import call_site


def is_same(padding: str) -> bool:
    """Return whether `padding` is SAME (else it is VALID)."""
    if padding == "SAME" or padding == "VALID":
        return padding == "SAME"
    if isinstance(padding, str) and padding.upper() in ("SAME", "VALID"):
        return padding.upper() == "SAME"
    raise DefinitionError(f"{call_site()}: padding must be 'SAME' or 'VALID'; it is {padding!r}.")


def same_padding(size: int, kernel: int, stride: int, rate: int = 1) -> tuple[int, int]:
    """Return how many zeros SAME puts before and after `size` inputs.

    Args:
      size: number of inputs along the dimension.
      kernel: number of weights along it.
      stride: inputs from one window to the next.
      rate: inputs from one weight to the next within a window.

    Example:
      >>> same_padding(5, kernel=3, stride=2), same_padding(6, kernel=3, stride=2)
      ((1, 1), (0, 1))
    """
    window = (kernel - 1) * rate + 1
    # With stride 1 the size plays no part: then it may stay unknown, as in an export.
    total = window - 1 if stride == 1 else max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2
