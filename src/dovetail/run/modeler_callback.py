"""A callback with the four moments of a modeler's runner, as a hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dovetail.definition.signature import Matched
from dovetail.run.hooks import Hook, Run

METHODS = ("before_run", "before_step", "after_step", "after_run")


class ModelerCallback(Hook):
    """Calls an object's before_run, before_step, after_step and after_run.

    Each is given `run`, and `after_step` the step's `output` too, as far as it declares them, under
    any names. What `after_step` returns is shown: a text as it is, a dict as names and values, None
    not at all. A number in it that is on a device is fetched, which waits for the step.

    Args:
      callback: the object, with some of the four.
      place: who gave it, for messages.

    Raises:
      DefinitionError: a method can't be called with what there is.

    Example:
      >>> class Count:
      ...     def before_run(self):
      ...         self.steps = 0
      ...
      ...     def after_step(self, run):
      ...         self.steps += 1
      >>> hook, run = ModelerCallback(Count(), "callbacks"), Run(None, None)
      >>> hook.begin(run)
      >>> hook.after_step(run, {})
      >>> hook.callback.steps
      1
    """

    def __init__(self, callback: Any, place: str) -> None:
        self.callback = callback
        self._place = place
        self._matched: dict[str, Matched] = {}
        for name, moment, call in (
            ("before_run", "begin", self._before_run),
            ("before_step", "before_step", self._before_step),
            ("after_step", "after_step", self._after_step),
            ("after_run", "end", self._after_run),
        ):
            method = getattr(callback, name, None)
            if callable(method):
                offered = ("run", "output") if name == "after_step" else ("run",)
                what = f"{place} gave {type(callback).__qualname__}.{name}"
                self._matched[name] = Matched(method, offered, positional=len(offered), what=what)
                setattr(self, moment, call)  # a run calls only what a hook has

    def _before_run(self, run: Run) -> None:
        self._call("before_run", {"run": run})

    def _before_step(self, run: Run) -> None:
        self._call("before_step", {"run": run})

    def _after_step(self, run: Run, output: dict[str, Any]) -> None:
        told = self._call("after_step", {"run": run, "output": output})
        if told is not None:
            run.note(_text(told, run.step))

    def _after_run(self, run: Run) -> None:
        self._call("after_run", {"run": run})

    def _call(self, name: str, values: dict[str, Any]) -> Any:
        try:
            return self._matched[name](values)
        except Exception as error:
            error.add_note(f"{type(self.callback).__qualname__}.{name} is of {self._place}.")
            raise


def _text(told: Any, step: int) -> str:
    """Return what is shown of what `after_step` returned.

    >>> _text({"loss": 0.123456, "seen": 64}, 3)
    'step 3: loss 0.1235  seen 64'
    """
    if not isinstance(told, Mapping):
        return str(told)
    return f"step {step}: {'  '.join(f'{name} {_shown(value)}' for name, value in told.items())}"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
