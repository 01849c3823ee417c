"""The states of several metrics, which a program keeps while it evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dovetail.errors import DataError, DefinitionError, DovetailError, nearest

if TYPE_CHECKING:
    from dovetail.definition.metrics import MetricOp


class MetricSet:
    """Several metrics by name: made once from their descriptions, updated with every batch.

    Args:
      ops: the metrics by name; only their static half (factory and kwargs) is read.

    Raises:
      DefinitionError: a metric could not be made.

    >>> from dovetail.definition import metrics
    >>> op = metrics.from_value(torch.tensor([1.0, 0.0]), "right")
    >>> states = MetricSet({"right": op})
    >>> states.update({"right": {"values": torch.tensor([1.0, 0.0, 1.0, 1.0])}}, weight=4)
    >>> states.compute()
    {'right': 0.75}
    """

    def __init__(self, ops: Mapping[str, MetricOp]) -> None:
        self._batches = 0
        self._states: dict[str, Any] = {}
        self._devices: dict[str, torch.device] = {}
        for name, op in ops.items():
            try:
                self._states[name] = op.build()
            except (DovetailError, TypeError, ValueError) as error:
                raise DefinitionError(f"Metric {name!r} could not be made: {error}") from error

    def __len__(self) -> int:
        return len(self._states)

    def update(
        self, tensors: Mapping[str, Mapping[str, Tensor]], weight: int | None = None
    ) -> None:
        """Add one batch; nothing waits for the device.

        Args:
          tensors: for every metric, its tensors by argument name (`MetricOp.tensors`).
          weight: the number of examples in the batch, which a scalar metric counts for.

        Raises:
          DefinitionError: a metric's tensors are absent or do not fit it.
        """
        for name in tensors:
            if name not in self._states:
                raise DefinitionError(
                    f"Metric {name!r} was not there when the program was built; the metrics are "
                    f"{list(self._states)}.{nearest(name, self._states)}"
                )
        with torch.no_grad():
            for name, state in self._states.items():
                self._update(name, state, tensors, weight)
        self._batches += 1

    def compute(self) -> dict[str, Any]:
        """Return every metric over all batches since the last reset.

        Returns:
          name -> float; a list where the value is a vector; a metric that gives a dict is laid
          out as "name/key".

        Raises:
          DataError: there was no batch, or labels were out of range.
        """
        if self._batches == 0 and self._states:
            raise DataError(
                f"No batch was evaluated, so {', '.join(self._states)} have no value; the input "
                "is empty (see input_fn, steps, or the records given)."
            )
        values: dict[str, Any] = {}
        for name, state in self._states.items():
            try:
                value = state.compute()
            except DovetailError as error:
                raise type(error)(f"Metric {name!r}: {error}") from error
            values.update(_plain(name, value))
        return values

    def reset(self) -> None:
        """Forget all batches."""
        self._batches = 0
        for state in self._states.values():
            state.reset()

    def _update(
        self,
        name: str,
        state: Any,
        tensors: Mapping[str, Mapping[str, Tensor]],
        weight: int | None,
    ) -> None:
        if name not in tensors:
            raise DefinitionError(
                f"Metric {name!r} got no tensors for this batch; eval_metric_ops must hold the "
                f"same names at every step, and held {list(tensors)}."
            )
        given: dict[str, Any] = dict(tensors[name])
        device = next((t.device for t in given.values()), torch.device("cpu"))
        if self._devices.get(name) != device:
            _place(state, device)
            self._devices[name] = device
        if getattr(state, "weighs_examples", False):
            given["examples"] = weight
        try:
            state.update(**given)
        except torch.OutOfMemoryError:
            raise
        except (DovetailError, TypeError, ValueError, RuntimeError) as error:
            shown = getattr(state, "shown", str)
            shapes = {shown(key): list(t.shape) for key, t in tensors[name].items()}
            held = (
                "" if isinstance(error, DovetailError) else f" (given tensors of shapes {shapes})"
            )
            raise DefinitionError(f"Metric {name!r}: {error}{held}") from error


def _place(state: Any, device: torch.device) -> None:
    """Move a state to the device of its tensors and make its sums as wide as that allows."""
    if not isinstance(state, torch.nn.Module):
        return
    from torchmetrics import Metric

    wide = torch.float32 if device.type == "mps" else torch.float64
    for metric in state.modules():
        # A metric that holds a network (FID, say) is left as it is: its speed is the network's.
        if isinstance(metric, Metric) and not any(True for _ in metric.parameters()):
            _widen(metric, wide)
    state.to(device)


def _widen(metric: Any, dtype: torch.dtype) -> None:
    """Set the dtype of a metric's floating-point states, leaving its integer counts as they are."""
    counts = {
        name: default.dtype
        for name, default in metric._defaults.items()
        if isinstance(default, Tensor) and not default.is_floating_point()
    }
    metric.set_dtype(dtype)
    for name, kind in counts.items():  # set_dtype takes these along
        metric._defaults[name] = metric._defaults[name].to(kind)
        setattr(metric, name, getattr(metric, name).to(kind))


def _plain(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        parts = [_plain(f"{name}/{key}", part) for key, part in value.items()]
        return {key: number for part in parts for key, number in part.items()}
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return {name: float(value) if value.numel() == 1 else value.tolist()}
    if isinstance(value, (int, float)):
        return {name: float(value)}
    if hasattr(value, "tolist"):
        return {name: value.tolist()}  # type: ignore[attr-defined]
    return {name: value}
