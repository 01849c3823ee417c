"""Numbers of a step by the names that the user knows them by."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from dovetail.definition.metrics import MetricOp, MetricSet
from dovetail.definition.modes import ModeKeys
from dovetail.errors import ParamsError, nearest
from dovetail.run.hooks import Run


class Values:
    """Reads what a step gave: loss, learning rate, metrics of the batch, summaries, predictions.

    A name is looked for among `loss`, `learning_rate`, `position` and `examples_per_sec` (since the
    last time it was read), then the metrics, what `dovetail.summary` recorded, the predictions, and
    the parameters and buffers of the program.
    Reading waits for the device; only what is asked for is computed.

    Args:
      hook: the name of whose it is, for messages.
      names: what to read; None: the loss, the learning rate, and every metric and scalar summary.
      tensors: whether a value may have more than one element.
      clock: seconds, never going back.
    """

    def __init__(
        self,
        hook: str,
        names: tuple[str, ...] | None,
        *,
        tensors: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hook = hook
        self.names = names
        self.tensors = tensors
        self._ops: Mapping[str, MetricOp] = {}
        self._metrics: MetricSet | None = None
        self._noted: set[str] = set()
        self._clock = clock
        self._since = clock(), 0

    def begin(self, run: Run) -> None:
        """Forget an earlier run."""
        self._since = self._clock(), run.position
        self._ops, self._metrics = {}, None
        self._noted.clear()

    def read(self, run: Run, output: Mapping[str, Any]) -> dict[str, Any]:
        """Return name -> number, or tensor on the CPU where those are let through.

        A metric or summary is there at summary steps, and may be left out at others: then it is
        left out here, which is said once.

        Raises:
          ParamsError: there is no such name, or its value is no number; what there is is listed.
        """
        values: dict[str, Any] = {}
        if "loss" in output:
            values["loss"] = output["loss"]
        if run.config is not None:
            values["learning_rate"] = run.program.learning_rate
        metrics = self._wanted_metrics(run, output)
        recorded = _summaries(output)
        if self.names is None:
            more = {k: v for k, v in metrics.items() if isinstance(v, float)}
            more |= {
                k: v for (kind, k), v in recorded.items() if kind == "scalar" and k not in more
            }
            values |= {k: v for k, v in more.items() if k not in values}
            return {name: _number(value) for name, value in values.items()}
        named = {k: v for (kind, k), v in recorded.items() if kind != "text"}
        values = {**output.get("predictions", {}), **named, **metrics, **values}
        values["position"] = run.position
        if "examples_per_sec" in self.names:
            values["examples_per_sec"] = self._rate(run)
        found = {}
        for name in self.names:
            value = values.get(name)
            if value is None:
                value = run.program.state().get(name)
            if value is None:
                self._absent(run, name, values)
            else:
                found[name] = self._checked(name, value)
        return found

    def _wanted_metrics(self, run: Run, output: Mapping[str, Any]) -> dict[str, Any]:
        tensors: Mapping[str, Any] = output.get("metrics", {})
        ops = run.program.statics(_mode(run)).metrics
        wanted = {k: op for k, op in ops.items() if self.names is None or self._is_asked(k)}
        if not wanted or not wanted.keys() <= tensors.keys():
            return {}
        if self._metrics is None or self._ops is not ops:
            self._ops, self._metrics = ops, MetricSet(wanted)
        self._metrics.reset()
        self._metrics.update({name: tensors[name] for name in wanted}, weight=run.count or 1)
        return self._metrics.compute()

    def _rate(self, run: Run) -> float:
        now, (then, position) = self._clock(), self._since
        self._since = now, run.position
        return (run.position - position) / max(now - then, 1e-9)

    def _is_asked(self, metric: str) -> bool:
        # A metric that gives a dict is laid out as "metric/key".
        return any(name == metric or name.startswith(f"{metric}/") for name in self.names or ())

    def _checked(self, name: str, value: Any) -> Any:
        if isinstance(value, Tensor) and value.numel() != 1:
            if self.tensors:
                return value.detach().cpu()
            raise ParamsError(
                f"hooks.{self.hook}: '{name}' has shape {list(value.shape)}; it takes numbers. "
                f"Record one in model_fn, such as summary.scalar('{name}_mean', ...mean())."
            )
        if isinstance(value, list):
            if self.tensors:
                return value
            raise ParamsError(
                f"hooks.{self.hook}: the metric '{name}' is a list of {len(value)} values; it "
                "takes numbers."
            )
        return _number(value)

    def _absent(self, run: Run, name: str, values: Mapping[str, Any]) -> None:
        if run.program.network.summary_step:
            state = run.program.state()
            metrics = run.program.statics(_mode(run)).metrics
            given = list(dict.fromkeys([*values, *metrics]))
            known = [*given, *state]
            raise ParamsError(
                f"hooks.{self.hook}: there is no '{name}' in what step {run.step} gave."
                f"{nearest(name, known)} There are: {', '.join(given)}; and the parameters "
                f"{', '.join(state)}."
            )
        if name not in self._noted:
            self._noted.add(name)
            every = run.config.save_summary_steps if run.config is not None else 1
            run.note(
                f"hooks.{self.hook}: '{name}' was not among what step {run.step} gave. Metrics and "
                f"summaries are there at summary steps (1 and each multiple of {every}): let "
                "every_steps be a multiple of save_summary_steps."
            )


def step_of_evaluation(metrics: Mapping[str, Any], run: Run) -> int:
    """Return the global step that an evaluation was of."""
    return int(metrics.get("global_step", run.step))


def numbers_of(metrics: Mapping[str, Any], name: str) -> dict[str, float]:
    """Return an evaluation's numbers by tag: `eval/accuracy`, or `eval_<name>/accuracy`.

    >>> numbers_of({"loss": 0.5, "global_step": 10, "per_class": [1.0, 0.0]}, "test")
    {'eval_test/loss': 0.5}
    """
    prefix = f"eval_{name}" if name else "eval"
    return {f"{prefix}/{key}": v for key, v in metrics.items() if isinstance(v, float)}


def _mode(run: Run) -> str:
    """Return the mode of the run's steps; an evaluation beside training leaves its own behind."""
    return ModeKeys.TRAIN if run.config is not None else run.program.network.mode


def _summaries(output: Mapping[str, Any]) -> dict[tuple[str, str], Tensor]:
    keys = {tuple(key.split("/", 1)): value for key, value in output.get("summaries", {}).items()}
    return {(kind, name): value for (kind, name), value in keys.items()}


def _number(value: Any) -> float:
    return float(value)
