"""Keras callbacks as a hook: called at the moments at which Keras' own fit calls them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.signature import where
from dovetail.errors import DefinitionError
from dovetail.run.better import lower_is_better
from dovetail.run.hooks import Hook, Run
from dovetail.run.keras_stand_in import Logs, Model, NotHereError


def is_callback(one: Any) -> bool:
    """Whether this is a Keras callback; where Keras is not imported, nothing is.

    >>> is_callback(print)
    False
    """
    callbacks = getattr(sys.modules.get("keras"), "callbacks", None)
    return callbacks is not None and isinstance(one, callbacks.Callback)


def members(one: Any) -> Iterable[Any]:
    """Return the callbacks of a Keras CallbackList; anything else is one itself.

    >>> members("one")
    ['one']
    """
    if is_callback(one) and type(one).__name__ == "CallbackList":
        return list(one.callbacks)
    return [one]


def refuse_what_cannot_work(callback: Any, place: str) -> None:
    """Refuse Keras' own callbacks whose work Dovetail does in another way.

    Args:
      callback: a Keras callback.
      place: who gave it, for the message.

    Raises:
      DefinitionError: it is one of those; what to use is said.
    """
    for kind in type(callback).__mro__:
        if kind.__module__.split(".")[0] == "keras" and kind.__name__ in _INSTEAD:
            instead = _INSTEAD[kind.__name__]
            name = f"keras.callbacks.{kind.__name__}"
            own = type(callback).__qualname__
            what = name if type(callback) is kind else f"{own}, which is a kind of {name}"
            raise DefinitionError(
                f"{place} gave {what}: it works on a Keras model in its fit, and here Dovetail "
                f"trains. {instead(callback) if callable(instead) else instead}"
            )


class KerasCallbacks(Hook):
    """Calls Keras callbacks as fit does, all of one moment before those of the next.

    on_train_begin, on_epoch_begin, on_train_batch_begin, on_train_batch_end, on_epoch_end,
    on_train_end; and after each evaluation beside the training on_test_begin and on_test_end, with
    its metrics. Epochs are known where the input is records: a batch belongs to the epoch of its
    first example. Logs hold the `loss`, as Keras gives it: the mean over the examples of the
    epoch's batches so far. It is added up on the device, and fetched, which waits for the step,
    only where a callback has a method that is given it: for each step where it has
    on_train_batch_end, else once in an epoch.

    `self.model` is a stand-in, whose `stop_training = True` ends the run after the step. A resumed
    run calls on_train_begin again, and on_epoch_begin of the epoch in which it stands. An epoch
    that the end of a run cuts short has no on_epoch_end, unless a callback ended it.

    Args:
      callbacks: in the order in which they are called; more may be added until the run begins.
      place: who gave them, for messages.
    """

    def __init__(self, callbacks: Sequence[Any], place: str) -> None:
        self.callbacks = callbacks
        self._place = place

    def begin(self, run: Run) -> None:
        self._run = run
        self._model = Model(self._stop)
        self._length = run.program.network.epoch
        self._epoch: int | None = None
        self._batch = 0
        self._sum: Tensor | None = None
        self._examples = 0
        self._logs: dict[str, Any] = {}
        self._called = {
            method: [c for c in self.callbacks if _overrides(c, method) or _overrides(c, alias)]
            for method, alias in _CALLED.items()
        }
        self._each_step = self._has("on_train_batch_end")
        self._sums = self._each_step or self._has("on_epoch_end", "on_train_end")
        steps = self._length.first_step(1)  # of an epoch, where that is a whole number
        if steps is not None and steps * (self._length.batch_size or 0) != self._length.examples:
            steps = None
        for callback in self.callbacks:
            callback.set_model(self._model)
            callback.set_params({"epochs": None, "steps": steps, "verbose": 0})
        for line in self._never_called():
            run.note(line)
        self._call("on_train_begin", {})

    def before_step(self, run: Run) -> None:
        if self._epoch is None:
            self._begin_epoch(run)
        self._call("on_train_batch_begin", self._batch, logs={})

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if self._sums:
            loss = output["loss"].detach()
            if self._sum is None:
                wide = torch.float64 if loss.dtype == torch.float64 else torch.float32
                self._sum = torch.zeros_like(loss, dtype=wide)
            self._sum.add_(loss, alpha=run.count)
            self._examples += run.count
        self._call("on_train_batch_end", self._batch, logs=self._mean() if self._each_step else {})
        self._batch += 1
        examples = self._length.examples
        if examples and self._epoch is not None and run.position >= (self._epoch + 1) * examples:
            self._end_epoch()

    def after_evaluate(self, run: Run, name: str, metrics: dict[str, Any]) -> None:
        self._call("on_test_begin", {})
        self._call("on_test_end", {k: v for k, v in metrics.items() if k != "global_step"})

    def end(self, run: Run) -> None:
        if self._model.stop_training and self._epoch is not None and self._batch:
            self._end_epoch()  # as fit does where it is stopped within an epoch
        self._call("on_train_end", self._logs)

    def _begin_epoch(self, run: Run) -> None:
        """Begin the epoch of the next batch; without a known length there is one, unnamed."""
        examples, size = self._length.examples, self._length.batch_size
        self._epoch = run.position // examples if examples else 0
        first = self._length.first_step(self._epoch)
        # A resumed run may stand in the middle of it.
        self._batch = max(run.position // size - first, 0) if size and first is not None else 0
        self._sum, self._examples = None, 0
        if examples:
            self._call("on_epoch_begin", self._epoch, {})

    def _end_epoch(self) -> None:
        if self._length.examples:
            self._logs = self._mean() if self._has("on_epoch_end", "on_train_end") else {}
            self._call("on_epoch_end", self._epoch, Logs(self._logs, self._run.note))
        self._epoch = None

    def _mean(self) -> dict[str, float]:
        if self._sum is None:
            return {}
        return {"loss": float(self._sum) / self._examples}

    def _stop(self) -> None:
        self._run.request_stop(f"{self._calling} set model.stop_training")

    def _call(self, method: str, *args: Any, **kwargs: Any) -> None:
        for callback in self._called[method]:
            self._calling = f"{type(callback).__qualname__}.{method}"
            given = [dict(arg) if type(arg) is dict else arg for arg in args]
            try:
                getattr(callback, method)(*given, **{k: dict(v) for k, v in kwargs.items()})
            except NotHereError as error:
                raise NotHereError(f"{where(getattr(callback, method))}: {error}") from error
            except Exception as error:
                error.add_note(f"This was in {self._calling}, of {self._place}.")
                raise

    def _has(self, *methods: str) -> bool:
        return any(self._called[name] for name in methods)

    def _never_called(self) -> Iterable[str]:
        for callback in self.callbacks:
            name = type(callback).__qualname__
            never = [method for method in _NEVER if _overrides(callback, method)]
            if never:
                yield f"{name}: {', '.join(never)} is not called, since callbacks are of trainings."
            epochs = [m for m in ("on_epoch_begin", "on_epoch_end") if _overrides(callback, m)]
            if epochs and not self._length.examples:
                yield (
                    f"{name}: {', '.join(epochs)} is not called: how many examples an epoch has is "
                    "known where the input is records, and this input is not."
                )


def _overrides(callback: Any, method: str) -> bool:
    """Whether a callback has a method of its own; Keras marks those that do nothing."""
    found = getattr(callback, method, None)
    return found is not None and not getattr(found, "_is_default", False)


def _early_stopping(callback: Any) -> str:
    """Say what to write instead of a Keras EarlyStopping, with its own values."""
    metric = str(callback.monitor).removeprefix("val_")
    mode = {"min": "lower", "max": "higher"}.get(str(getattr(callback, "mode", "")))
    if mode is None:
        mode = "lower" if lower_is_better(metric) else "higher"
    return (
        f'Use dovetail.EarlyStopping("{metric}", patience={max(int(callback.patience), 1)}, '
        f'min_delta={abs(float(callback.min_delta)):g}, mode="{mode}"): it goes by the evaluations '
        "beside the training (patience counts these, not epochs), also over a restart. The best "
        "checkpoint is kept by RunConfig(keep_checkpoint_best=1)."
    )


# What is called, each with its other name in Keras.
_CALLED = {
    **{f"on_{m}": f"on_{m}" for m in ("train_begin", "train_end", "test_begin", "test_end")},
    **{f"on_{m}": f"on_{m}" for m in ("epoch_begin", "epoch_end")},
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
}
_NEVER = (
    *("on_test_batch_begin", "on_test_batch_end", "on_predict_begin", "on_predict_end"),
    *("on_predict_batch_begin", "on_predict_batch_end"),
)
_SAVING = (
    "Use RunConfig(save_checkpoints_steps=...) or save_checkpoints_secs, keep_checkpoint_max and "
    "keep_checkpoint_best; a run goes on from its newest checkpoint by itself."
)
_RATE = (
    "Use a schedule: the optimizer's learning_rate takes those of dovetail.optimizers.schedules."
)
_INSTEAD: dict[str, str | Callable[[Any], str]] = {
    "ModelCheckpoint": _SAVING,
    "BackupAndRestore": _SAVING,
    "OrbaxCheckpoint": _SAVING,
    "EarlyStopping": _early_stopping,
    "LearningRateScheduler": _RATE,
    "ReduceLROnPlateau": _RATE,
    "TensorBoard": "Leave it out: every run writes an event log to its model_dir.",
    "CSVLogger": "Use dovetail.hooks.CsvLog().",
    "History": "Use dovetail.hooks.CsvLog(), or read the event log in model_dir.",
    "ProgbarLogger": "Leave it out: every run shows its progress.",
    "TerminateOnNaN": "Leave it out: a run ends with an error where the loss is not finite.",
    "SwapEMAWeights": "Use RunConfig(ema_decay=...): evaluations are of the averages.",
}
