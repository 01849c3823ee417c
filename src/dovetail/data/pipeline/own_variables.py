"""The methods of a pipeline on its variables, and its locks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Self

from dovetail.data.pipeline.locks import Locks
from dovetail.data.pipeline.parts import PipelineParts
from dovetail.data.pipeline.variables import Declared, Variables


class VariablesOfPipeline(PipelineParts):
    """Variables, which each pipeline object has for itself."""

    def init_variable(
        self, name: str, default: Any = None, *, init: Callable[[], Any] | None = None
    ) -> Self:
        """Declare a variable, which each pipeline made from this one has for itself.

        Args:
          name: of the variable.
          default: its first value. A list, dict or set is copied for each pipeline; other objects
            are shared.
          init: makes the first value anew for each pipeline.
        """
        return self._with(_declared={**self._declared, name: Declared(default, init)})

    @property
    def variables(self) -> Variables:
        """The variables of this pipeline object."""
        live = self._live
        with live.lock:
            if live.variables is None:
                live.variables = Variables(self._declared)
            return live.variables

    def get_variable(
        self, name: str, default: Any = ..., *, init: Callable[[], Any] | None = None
    ) -> Any:
        """Give a variable's value; one that is not there begins with `default` if that is given."""
        if default is ... and init is None:
            return self.variables[name]
        return self.variables.get(name, None if default is ... else default, init)

    def set_variable(self, name: str, value: Any) -> Self:
        """Write a variable of this pipeline object, now."""
        self.variables[name] = value
        return self

    def change_variable(self, name: str, value: Any, mode: str) -> None:
        """Write into a variable, now; see `update_variable`."""
        self.variables.change(name, value, mode)

    def has_variable(self, name: str) -> bool:
        """Say whether there is a variable of that name."""
        return name in self.variables

    def delete_variable(self, name: str) -> Self:
        """Delete a variable of this pipeline object, now."""
        del self.variables[name]
        return self

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Give the lock of that name, made at the first call."""
        return self._live.locks.get(name)

    @property
    def locks(self) -> Locks:
        """The locks of this pipeline object."""
        return self._live.locks
