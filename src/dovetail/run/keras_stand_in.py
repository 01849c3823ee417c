"""What Keras callbacks are given in the place of Keras' own: `model`, and the logs of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dovetail.errors import DefinitionError


class NotHereError(DefinitionError, AttributeError):
    """A Keras callback asks its model for something that only Keras' own has."""


class Model:
    """What a Keras callback finds as `self.model`: it can end the run, and nothing else.

    Args:
      stop: called once, when a callback sets `stop_training` to True.

    Raises:
      NotHereError: anything else is read or set; what to use is said.

    Example:
      >>> model = Model(lambda: print("stopping"))
      >>> model.stop_training = True
      stopping
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        object.__setattr__(self, "_stop", stop)
        object.__setattr__(self, "_stopping", False)

    _stop: Callable[[], object]
    _stopping: bool

    @property
    def stop_training(self) -> bool:
        """Whether the run ends after its present step."""
        return self._stopping

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        asked = bool(value) and not self._stopping
        object.__setattr__(self, "_stopping", bool(value) or self._stopping)
        if asked:
            self._stop()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotHereError(_sentence(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "stop_training":
            raise NotHereError(_sentence(name))
        object.__setattr__(self, name, value)


class Logs(dict[str, Any]):
    """The logs of an epoch; who looks in them for an evaluation's metric is told where that is.

    Example:
      >>> logs = Logs({"loss": 0.5}, print)
      >>> logs.get("val_loss")  # doctest: +ELLIPSIS
      A callback looks for 'val_loss' in the logs of an epoch...
    """

    def __init__(self, values: dict[str, Any], note: Callable[[str], object]) -> None:
        super().__init__(values)
        self._note = note

    def get(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self._note(_absent(key, self))
        return super().get(key, default)

    def __missing__(self, key: Any) -> Any:
        raise KeyError(_absent(key, self))


def _absent(key: Any, logs: dict[str, Any]) -> str:
    return (
        f"A callback looks for {key!r} in the logs of an epoch, which hold {', '.join(logs)}. "
        "Evaluations come after checkpoints, not after epochs: their metrics are in the logs of "
        "on_test_end."
    )


def _sentence(name: str) -> str:
    return (
        f"self.model.{name}: a Keras callback's model can only end the run here, with "
        f"self.model.stop_training = True. {_INSTEAD.get(name, _ELSE)}"
    )


_ELSE = (
    "What else there is of a run a dovetail.Hook sees, as run.program, run.step, run.model_dir and "
    "run.writer."
)
_RATE = (
    "The learning rate is a schedule's: the optimizer's learning_rate takes those of "
    "dovetail.optimizers.schedules."
)
_SAVED = "Checkpoints are settings of RunConfig, such as save_checkpoints_steps."
_WEIGHTS = "Parameters are in the run.program that a dovetail.Hook is given: run.program.state()."
_EVALUATED = "Evaluations beside the training are those of train_and_evaluate, or --eval-data."
_INSTEAD = {
    "optimizer": _RATE,
    **dict.fromkeys(("save", "save_weights", "load_weights", "export"), _SAVED),
    **dict.fromkeys(("get_weights", "set_weights", "weights", "layers", "get_layer"), _WEIGHTS),
    **dict.fromkeys(("evaluate", "predict"), _EVALUATED),
}
