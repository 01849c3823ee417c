"""What a model's descriptor must be for the ready model actions: something with three steps."""

from __future__ import annotations

from typing import Any, Protocol

from dovetail.errors import DefinitionError


class Steppable(Protocol):
    """What can be trained, evaluated and asked for predictions, a batch at a time.

    A `dovetail.build(...)` program is one; any object with these methods is. They take arrays or
    dicts of arrays, batch first, and give dicts.
    """

    def train_step(self, features: Any, labels: Any = None) -> Any:
        """Take one step; the dict has `loss`, and maybe `predictions` and `metrics`."""
        ...

    def eval_step(self, features: Any, labels: Any = None) -> Any:
        """Measure and change nothing; the dict has `loss`, maybe `predictions` and `metrics`."""
        ...

    def predict_step(self, features: Any) -> Any:
        """Give a dict with `predictions`: a value, or a dict of values by name."""
        ...


def steppable(descriptor: Any, name: str, step: str) -> Any:
    """Return a descriptor that has a step.

    Raises:
      DefinitionError: it has not.
    """
    if callable(getattr(descriptor, step, None)):
        return descriptor
    raise DefinitionError(
        f"The model '{name}' is a {type(descriptor).__name__}, which has no {step}. The ready "
        "actions on models take what has train_step, eval_step and predict_step, such as a "
        f"dovetail.build(...) program. For other models write an action: @action(model='{name}')."
    )
