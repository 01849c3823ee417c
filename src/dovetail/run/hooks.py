"""What may look on while a run goes, and end it: hooks, and listeners to saved checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dovetail.errors import ParamsError
from dovetail.program.program import Program


@dataclass
class Run:
    """What a hook sees of a run.

    Attributes:
      program: the live program.
      model_dir: where the run is kept.
      step: the number of finished steps.
      stopping: whether the run ends after this step.
    """

    program: Program
    model_dir: Path
    step: int = 0
    stopping: bool = False

    def request_stop(self) -> None:
        """End the run after the current step; its state is saved."""
        self.stopping = True


class Hook:
    """Something that is called while a run goes. Every method does nothing until it is given.

    Example:
      >>> class StopAt(Hook):
      ...     def __init__(self, loss):
      ...         self.loss = loss
      ...     def after_step(self, run, output):
      ...         if float(output["loss"]) < self.loss:
      ...             run.request_stop()
    """

    def begin(self, run: Run) -> None:
        """Called once, before the first step, when the program is built and restored."""

    def before_step(self, run: Run) -> None:
        """Called before each step."""

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        """Called after each step with what `train_step` returned."""

    def end(self, run: Run) -> None:
        """Called once, after the last step, when the last checkpoint is saved."""


class SavingListener(Protocol):
    """Is told of every checkpoint that was saved."""

    def after_save(self, path: Path, step: int) -> None:
        """Called when the checkpoint at `path`, of `step` finished steps, is whole on disk."""
        ...


def each(hooks: Sequence[Hook], method: str, run: Run, *args: Any) -> None:
    """Call a method of every hook, in order; an error says which hook it came from."""
    for hook in hooks:
        try:
            getattr(hook, method)(run, *args)
        except Exception as error:
            error.add_note(f"This was in {type(hook).__qualname__}.{method}, at step {run.step}.")
            raise


def tell(listeners: Sequence[SavingListener], path: Path, step: int) -> None:
    """Tell every listener of a checkpoint, in order; an error says which it came from."""
    for listener in listeners:
        try:
            listener.after_save(path, step)
        except Exception as error:
            error.add_note(
                f"This was in {type(listener).__qualname__}.after_save, at step {step}; the "
                f"checkpoint {path} is saved."
            )
            raise


def checked(given: Iterable[Any] | None, methods: Sequence[str], argument: str) -> tuple[Any, ...]:
    """Return hooks or listeners as a tuple.

    Raises:
      ParamsError: one lacks a method, as a class does that was given instead of its instance.
    """
    if given is not None and not isinstance(given, Iterable):
        raise ParamsError(f"{argument} must be a list; it is a {type(given).__name__}.")
    taken = tuple(given or ())
    for one in taken:
        missing = [name for name in methods if not callable(getattr(one, name, None))]
        if isinstance(one, type) or missing:
            lacks = f" without {', '.join(missing)}" if missing else ""
            what = f"the class {one.__qualname__}" if isinstance(one, type) else repr(one)
            raise ParamsError(
                f"{argument} holds {what}{lacks}; it must hold objects with "
                f"{', '.join(methods)}, such as an instance of a subclass of "
                f"dovetail.run.hooks.{'Hook' if argument == 'hooks' else 'SavingListener'}."
            )
    return taken


HOOK_METHODS = ("begin", "before_step", "after_step", "end")
