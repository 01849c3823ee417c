"""Watching outputs of a step for values that are not finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dovetail.errors import NanLossError, ParamsError, nearest
from dovetail.hooks.arguments import texts, whole
from dovetail.run.hooks import Hook, Run


class NanWatch(Hook):
    """Ends the run when a named output is not finite, and names the first that was not.

    The loss is watched in any case (`RunConfig.finite_checks`); this watches what the loss may
    hide: a prediction, a summary. Costs one pass over each watched tensor at each step (10
    microseconds for a small one); on an accelerator its result is fetched every `every_steps`
    steps, so that no step waits.

    Args:
      names: `loss`, summaries and predictions, in the order in which they are looked at. None:
        all summaries of images, histograms and scalars in the order in which model_fn recorded
        them, then the predictions, then the loss. Summaries are recorded at summary steps.
      fail: raise NanLossError; False ends the run as `request_stop` does, with its state saved.
      every_steps: how often an accelerator's results are fetched; 50. The CPU's are at once.

    Raises:
      ParamsError: an argument is out of range; at a summary step, a name that is not there.
      NanLossError: a value is not finite, when the hook runs; the tensor and step are named.

    Example:
      >>> NanWatch(["gate", "logits"], fail=False).names
      ('gate', 'logits')
    """

    def __init__(
        self,
        names: Iterable[str] | str | None = None,
        *,
        fail: bool = True,
        every_steps: int = 50,
    ) -> None:
        self.names = texts("NanWatch", "names", names)
        self.fail = fail
        self.every_steps = whole("NanWatch", "every_steps", every_steps, 1)
        self._waiting: list[tuple[int, list[tuple[str, list[int], int]], Tensor]] = []

    def begin(self, run: Run) -> None:
        self._waiting.clear()

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        watched = self._watched(run, output)
        if not watched:
            return
        counts = torch.stack([torch.sum(~torch.isfinite(tensor)) for tensor in watched.values()])
        described = [(name, list(t.shape), t.numel()) for name, t in watched.items()]
        self._waiting.append((run.step, described, counts))
        if counts.device.type == "cpu" or len(self._waiting) >= self.every_steps:
            self._look(run)

    def after_save(self, run: Run, path: Any) -> None:
        self._look(run)

    def end(self, run: Run) -> None:
        self._look(run)

    def _look(self, run: Run) -> None:
        waiting, self._waiting = self._waiting, []
        for step, described, counts in waiting:
            for (name, shape, size), count in zip(described, counts.tolist(), strict=True):
                if count:
                    self._found(run, step, name, shape, size, count)
                    return

    def _found(
        self, run: Run, step: int, name: str, shape: list[int], size: int, count: int
    ) -> None:
        message = (
            f"'{name}' of shape {shape} is not finite at step {step}: {count} of its {size} values "
            "are nan or infinite."
        )
        if self.fail:
            raise NanLossError(
                f"{message} It is the first of what hooks.NanWatch looks at. RunConfig("
                "finite_checks='all') finds the layer that it came from.",
                step,
            )
        if not run.stopping:
            run.note(f"NanWatch: {message} The run ends.")
        run.request_stop(f"NanWatch: {message}")

    def _watched(self, run: Run, output: dict[str, Any]) -> dict[str, Tensor]:
        there: dict[str, Tensor] = {}
        for key, value in output.get("summaries", {}).items():
            kind, _, name = key.partition("/")
            if kind != "text":
                there[name] = value
        there |= output.get("predictions", {})
        if "loss" in output:
            there["loss"] = output["loss"]
        floating = {
            name: value
            for name, value in there.items()
            if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
        }
        if self.names is None:
            return floating
        for name in self.names:
            if name not in there and run.program.network.summary_step:
                raise ParamsError(
                    f"hooks.NanWatch: there is no '{name}' in what step {run.step} gave."
                    f"{nearest(name, there)} There are: {', '.join(there)}. Record another tensor "
                    "in model_fn with summary.histogram(name, tensor)."
                )
        return {name: floating[name] for name in self.names if name in floating}
