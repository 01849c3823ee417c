"""A pipeline as a batch in a worker process sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from dovetail.data.pipeline.worker_job import Job
from dovetail.errors import ParamsError, nearest


class Elsewhere:
    """What a batch in a worker process has for its pipeline: it may read, and no more.

    Args:
      job: as it was when the pass began.
      locks: by name, shared with the other workers and the main process.
    """

    def __init__(self, job: Job, locks: Mapping[str, AbstractContextManager[Any]]) -> None:
        self.dataset = job.dataset
        self.config: Mapping[str, Any] = job.config
        self.variables: Mapping[str, Any] = job.variables
        self._locks = locks

    def get_variable(
        self, name: str, default: Any = ..., *, init: Callable[[], Any] | None = None
    ) -> Any:
        """Give a variable as it was when the pass began."""
        if name in self.variables:
            return self.variables[name]
        if default is ... and init is None:
            raise ParamsError(
                f"The pipeline had no variable '{name}' when the pass began."
                f"{nearest(str(name), self.variables)}"
            )
        return self.set_variable(name, default)

    def has_variable(self, name: str) -> bool:
        """Say whether there was a variable of that name when the pass began."""
        return name in self.variables

    def set_variable(self, name: str, value: Any) -> NoReturn:
        """Refuse."""
        raise ParamsError(
            f"The variable '{name}' can't be written in a worker process: the pipeline, and the "
            "other workers, would not see it. Give the batch a component and add the step "
            f"update_variable('{name}', Component(...)), which is done in the main process; or "
            "prefetch with threads: target='threads'."
        )

    def change_variable(self, name: str, value: Any, mode: str) -> NoReturn:
        """Refuse."""
        self.set_variable(name, value)

    def delete_variable(self, name: str) -> NoReturn:
        """Refuse."""
        self.set_variable(name, None)

    def get_model_by_name(self, name: str, batch: Any = None) -> NoReturn:
        """Refuse."""
        raise ParamsError(
            f"The model '{name}' lives in the main process, and this action is done in a worker "
            f"process. Declare that the action needs it, as in @action(model='{name}'): from "
            "there on all is done in the main process; or prefetch with threads: "
            "target='threads'."
        )

    def model_for(self, batch: Any, wanted: Any) -> NoReturn:
        """Refuse: a batch of another class than the data set's may need one."""
        self.get_model_by_name(getattr(wanted, "name", wanted))

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Give the lock of that name, which all workers of the pass share."""
        if name not in self._locks:
            raise ParamsError(
                f"There is no lock '{name}' in the worker processes: there are those that actions "
                f"of the batch class declare by use_lock ({', '.join(self._locks) or 'none'})."
            )
        return self._locks[name]

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"'{name}' of a pipeline is not to be had in a worker process: only its config, and "
            "its variables, to be read. Prefetch with threads: target='threads'."
        )
