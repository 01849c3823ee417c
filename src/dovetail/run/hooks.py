"""What may look on while a run goes, and end it: hooks, and listeners to saved checkpoints."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dovetail.errors import ParamsError, a_kind, nearest
from dovetail.program.program import Program

if TYPE_CHECKING:
    from dovetail.run.config import RunConfig
    from dovetail.run.goodput import Goodput
    from dovetail.run.summaries import SummaryWriter


def _on_stderr(text: str) -> None:
    print(text, file=sys.stderr)  # predictions may be on stdout


@dataclass
class Run:
    """What a hook sees of a run.

    Attributes:
      program: the live program.
      model_dir: where the run is kept.
      step: the number of finished steps.
      config: how the run is done; None in an evaluation.
      position: examples used by finished steps, since the beginning of the run.
      count: the number of examples of the present step.
      features, labels: the batch of the present step, as the input gave it.
      writer: the event log of the training; None in an evaluation.
      goodput: where the time went; None in an evaluation.
      stopping: whether the run ends after this step.
      why: what the hook that asked for the end gave as its reason; in a training's `end` in any
        case why it ended, such as "max_steps" or "signal".
      saving: whether a checkpoint was asked for.
    """

    program: Program
    model_dir: Path
    step: int = 0
    config: RunConfig | None = None
    position: int = 0
    count: int = 0
    features: Any = None
    labels: Any = None
    writer: SummaryWriter | None = None
    goodput: Goodput | None = None
    stopping: bool = False
    why: str = ""
    saving: bool = False
    show: Callable[[str], None] = field(default=_on_stderr, repr=False)

    def request_stop(self, why: str = "") -> None:
        """End the run after the current step; its state is saved."""
        self.stopping = True
        self.why = self.why or why

    def request_save(self) -> None:
        """Save a checkpoint after the current step."""
        self.saving = True

    def note(self, text: str) -> None:
        """Show a line, above the progress bar where there is one."""
        self.show(text)


class Hook:
    """Something that is called while a run goes. Every method does nothing until it is given.

    A method that a hook does not give costs nothing. Hooks are called in the order in which they
    were given; an error in one ends the run and names the hook, its method and the step.

    Example:
      >>> class StopAt(Hook):
      ...     def __init__(self, loss):
      ...         self.loss = loss
      ...     def after_step(self, run, output):
      ...         if float(output["loss"]) < self.loss:
      ...             run.request_stop(f"the loss is below {self.loss}")
    """

    def begin(self, run: Run) -> None:
        """Called once, before the first step, when the program is built and restored."""

    def before_step(self, run: Run) -> None:
        """Called before each step; `run.features` and `run.labels` are its batch."""

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        """Called after each step with what `train_step` (or `eval_step`) returned."""

    def after_save(self, run: Run, path: Path) -> None:
        """Called when the checkpoint at `path` is whole on disk.

        Saving goes on beside the steps, so `run.step` may be later than the checkpoint's.
        """

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        """Called after each evaluation beside training; `name` is "" for one without a name."""

    def end(self, run: Run) -> None:
        """Called once, after the last step, when the last checkpoint is saved."""

    def on_error(self, run: Run, error: BaseException) -> None:
        """Called when the run fails, before the error goes on; not for one that a signal ended."""


METHODS = tuple(name for name in vars(Hook) if not name.startswith("_"))


class SavingListener(Protocol):
    """Is told of every checkpoint that was saved."""

    def after_save(self, path: Path, step: int) -> None:
        """Called when the checkpoint at `path`, of `step` finished steps, is whole on disk."""
        ...


class Hooks:
    """The hooks of a run, with only the methods that each of them gives.

    Args:
      hooks: in the order in which they are called.
    """

    def __init__(self, hooks: Sequence[Hook] = ()) -> None:
        for method in METHODS:
            setattr(self, f"_{method}", [h for h in hooks if _gives(h, method)])
        self.hooks = tuple(hooks)

    _begin: list[Hook]
    _before_step: list[Hook]
    _after_step: list[Hook]
    _after_save: list[Hook]
    _after_evaluate: list[Hook]
    _end: list[Hook]
    _on_error: list[Hook]

    def begin(self, run: Run) -> None:
        self._call(self._begin, "begin", run)

    def before_step(self, run: Run) -> None:
        if self._before_step:
            self._call(self._before_step, "before_step", run)

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if self._after_step:
            self._call(self._after_step, "after_step", run, output)

    def after_save(self, run: Run, path: Path) -> None:
        self._call(self._after_save, "after_save", run, path)

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        self._call(self._after_evaluate, "after_evaluate", run, name, metrics)

    def end(self, run: Run) -> None:
        self._call(self._end, "end", run)

    def on_error(self, run: Run, error: BaseException) -> None:
        """Tell every hook; one that fails itself is noted on the error and hides nothing."""
        for hook in self._on_error:
            try:
                hook.on_error(run, error)
            except Exception as another:
                error.add_note(
                    f"{type(hook).__qualname__}.on_error failed too, with "
                    f"{type(another).__name__}: {another}"
                )

    @staticmethod
    def _call(hooks: Sequence[Hook], method: str, run: Run, *args: Any) -> None:
        for hook in hooks:
            try:
                getattr(hook, method)(run, *args)
            except Exception as error:
                error.add_note(
                    f"This was in {type(hook).__qualname__}.{method}, at step {run.step}."
                )
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


def checked_hooks(given: Iterable[Any] | None) -> tuple[Any, ...]:
    """Return hooks as a tuple.

    Raises:
      ParamsError: one is a class instead of its instance, has no method of a hook, or one whose
        name misses that of a hook's by a little.
    """
    taken = _listed(given, "hooks")
    for one in taken:
        if isinstance(one, type) or not any(callable(getattr(one, name, None)) for name in METHODS):
            what = f"the class {one.__qualname__}" if isinstance(one, type) else repr(one)
            raise ParamsError(
                f"hooks holds {what}; it must hold objects with some of {', '.join(METHODS)}, such "
                f"as an instance of a subclass of dovetail.Hook.{_keras(one)}"
            )
        if isinstance(one, Hook):
            _refuse_near_misses(type(one))
        for name in ("before_run", "after_run"):
            if callable(getattr(one, name, None)):
                kind = type(one).__qualname__
                raise ParamsError(
                    f"{kind}.{name} is no method that a run calls: a hook has begin and end, "
                    "before_step and after_step. An object with before_run and after_run, as a "
                    "modeler's runner has them, belongs to the definition: return it from its "
                    "`callbacks`."
                )
    return taken


def checked_listeners(given: Iterable[Any] | None) -> tuple[Any, ...]:
    """Return saving listeners as a tuple.

    Raises:
      ParamsError: one is a class instead of its instance, or has no `after_save`.
    """
    taken = _listed(given, "saving_listeners")
    for one in taken:
        if isinstance(one, type) or not callable(getattr(one, "after_save", None)):
            what = f"the class {one.__qualname__}" if isinstance(one, type) else repr(one)
            raise ParamsError(
                f"saving_listeners holds {what}; it must hold objects with after_save(path, step), "
                "as dovetail.run.hooks.SavingListener says."
            )
    return taken


def _keras(one: Any) -> str:
    if any(kind.__module__.split(".")[0] == "keras" for kind in type(one).__mro__):
        return " Keras callbacks belong to the definition: return them from its `callbacks`."
    return ""


def _listed(given: Iterable[Any] | None, argument: str) -> tuple[Any, ...]:
    if given is not None and not isinstance(given, Iterable):
        raise ParamsError(f"{argument} must be a list; it is {a_kind(given)}.")
    return tuple(given or ())


def _gives(hook: Any, method: str) -> bool:
    """Whether a hook has a method that does something."""
    if method in getattr(hook, "__dict__", ()):
        return True
    return getattr(type(hook), method, None) not in (None, getattr(Hook, method))


def _refuse_near_misses(kind: type) -> None:
    for name, value in vars(kind).items():
        if name in METHODS or name.startswith("_") or not callable(value):
            continue
        if name in _ELSEWHERE or difflib.get_close_matches(name, METHODS, cutoff=0.85):
            meant = nearest(name, METHODS)
            raise ParamsError(
                f"{kind.__qualname__}.{name} is no method that a run calls.{meant} "
                f"Hooks have {', '.join(METHODS)}; begin a method of your own with an underscore."
            )


# What other frameworks call these moments: such a method would never be called, in silence.
_ELSEWHERE = {
    *(f"on_{name}" for name in METHODS if not name.startswith("on_")),
    *("before_run", "after_run", "on_train_begin", "on_train_end", "on_train_start"),
    *("on_train_batch_start", "on_train_batch_end", "on_exception", "on_save_checkpoint"),
    *("on_validation_end", "on_epoch_end", "on_step_begin", "on_step_end", "after_evaluation"),
}
