"""Averages of the parameters over the steps of training, to evaluate and predict with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averages:
    """Exponential moving averages of the trained parameters.

    After each update `average = decay average + (1 - decay) parameter`; an average begins as the
    parameter's value when this is made. Parameters that are not trained, and buffers, have none:
    running statistics are averages already, and are used as they are. Those of parameters in half
    precision are kept in float32, where small changes are not lost.

    Source: Polyak and Juditsky 1992, in the form of TensorFlow's `ExponentialMovingAverage`.

    Args:
      decay: the share of the average that each step keeps, between 0 and 1.
      named_parameters: pairs of (dotted name, parameter).

    Example:
      >>> weight = nn.Parameter(torch.zeros(1))
      >>> averages = Averages(0.75, [("weight", weight)])
      >>> weight.data += 1
      >>> averages.update()
      >>> averages.state()
      {'weight': tensor([0.2500])}
    """

    def __init__(self, decay: float, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        self.decay = decay
        kept = [(n, p) for n, p in named_parameters if p.requires_grad and p.is_floating_point()]
        self.parameters: list[Tensor] = [p for _, p in kept]
        self.tensors = {name: _wide(p).clone() for name, p in kept}
        self._listed = list(self.tensors.values())
        self._alike = all(
            a.dtype == p.dtype for a, p in zip(self._listed, self.parameters, strict=True)
        )

    @torch.no_grad()
    def update(self) -> None:
        """Take the present parameters into the averages."""
        parameters = self.parameters if self._alike else [_wide(p) for p in self.parameters]
        # As torch.optim.swa_utils does it: one call for all, which has no public name.
        torch._foreach_lerp_(self._listed, parameters, 1.0 - self.decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def restart(self) -> None:
        """Begin again from the present parameters."""
        for average, parameter in zip(self._listed, self.parameters, strict=True):
            average.copy_(parameter)

    def state(self) -> dict[str, Tensor]:
        """Return the averages by parameter name: the tensors themselves, as `Program.state`."""
        return {name: average.detach() for name, average in self.tensors.items()}

    @torch.no_grad()
    def load(self, saved: Mapping[str, Tensor]) -> list[str]:
        """Take averages that `state` gave.

        Returns:
          The names of those that `saved` lacks; they are left as they were.
        """
        for name, average in self.tensors.items():
            if name in saved:
                average.copy_(saved[name])
        return [name for name in self.tensors if name not in saved]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages where the parameters are, for the length of a `with` block.

        Only the pointers of the parameters change: nothing is copied, and whoever copies the
        parameters' own values meanwhile goes on doing so undisturbed.
        """
        own = [parameter.data for parameter in self.parameters]
        for parameter, average in zip(self.parameters, self._listed, strict=True):
            parameter.data = average.to(parameter.dtype)
        try:
            yield
        finally:
            for parameter, values in zip(self.parameters, own, strict=True):
                parameter.data = values


def _wide(parameter: Tensor) -> Tensor:
    half = parameter.dtype in (torch.float16, torch.bfloat16)
    return parameter.detach().float() if half else parameter.detach()
