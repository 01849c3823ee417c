"""The Estimator: a thin face over train, evaluate and predict, with model_dir as the only truth."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.definition.definition import Definition, load
from dovetail.definition.hparams import HParams
from dovetail.definition.modeler import Modeler
from dovetail.definition.modes import ModeKeys
from dovetail.errors import ParamsError
from dovetail.program.devices import choose_device
from dovetail.run import checkpoint, predict, provenance
from dovetail.run.callbacks import hooks_of
from dovetail.run.config import RunConfig
from dovetail.run.evaluate import evaluate
from dovetail.run.held_program import Held, newest_of
from dovetail.run.hooks import Hook, SavingListener, checked_hooks, checked_listeners
from dovetail.run.inputs import Input, open_input
from dovetail.run.model_dir import make_model_dir, with_model_dir
from dovetail.run.resolve import Resolved, resolve
from dovetail.run.train import Trained, train
from dovetail.run.warm_start import WarmStart

if TYPE_CHECKING:
    from dovetail.run.evaluations import Evaluations


class Estimator:
    """Trains, evaluates and predicts with one definition; all that it learns is in model_dir.

    Args:
      model_fn: a model_fn, or anything else that `dovetail.load` takes.
      model_dir: where checkpoints, event logs and the record of each run are kept. If it holds a
        checkpoint, that is gone on from. None: the config's, or else a temporary one.
      config: how runs are done.
      params: values for the definition's hyperparameters; copied.
      warm_start_from: a checkpoint or model_dir whose parameters a new run begins with, or a
        `WarmStart` that says which; it is the config's field of that name.

    Raises:
      DefinitionError: the definition is wrong, or its arguments can't be given.
      ParamsError: a param is unknown or of the wrong type, or config names another model_dir.

    Example:
      >>> import tempfile
      >>> import numpy as np, torch, dovetail
      >>> def model_fn(features, labels, mode, params):
      ...     output = dovetail.layers.fully_connected(features["x"], 1, activation_fn=None)
      ...     if mode == dovetail.ModeKeys.PREDICT:
      ...         return dovetail.EstimatorSpec(mode, {"y": output})
      ...     loss = torch.mean((output - labels) ** 2)
      ...     train_op = dovetail.optimizers.SGD(params.learning_rate).minimize(loss)
      ...     return dovetail.EstimatorSpec(mode, loss=loss, train_op=train_op)
      >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
      >>> def input_fn():
      ...     return [({"x": x}, 3 * x)] * 200
      >>> folder = tempfile.mkdtemp()
      >>> config = RunConfig(folder, progress=False)
      >>> estimator = Estimator(model_fn, config=config, params={"learning_rate": 0.5})
      >>> estimator.train(input_fn).evaluate(input_fn, steps=1)["loss"] < 1e-6
      True
      >>> rows = estimator.predict(lambda: [{"x": x[:2]}])
      >>> [round(float(row["y"][0]), 2) for row in rows]
      [-3.0, -2.9]
    """

    def __init__(
        self,
        model_fn: str | Path | ModuleType | Callable[..., Any] | Modeler | Definition,
        model_dir: str | Path | None = None,
        config: RunConfig | None = None,
        params: Mapping[str, Any] | None = None,
        warm_start_from: str | Path | WarmStart | None = None,
    ) -> None:
        if warm_start_from is not None and isinstance(config, RunConfig | None):
            config = _warm_started(config, warm_start_from)
        resolved = resolve(load(model_fn), params=params, config=config)
        self._resolved = with_model_dir(resolved, model_dir)
        self._held = Held(self._resolved)
        self._prepare()

    @classmethod
    def from_resolved(cls, resolved: Resolved) -> Estimator:
        """Make an Estimator whose values are put together already, as the command line does."""
        estimator = cls.__new__(cls)
        estimator._resolved = with_model_dir(resolved, None)
        estimator._held = Held(estimator._resolved)
        estimator._prepare()
        return estimator

    @property
    def definition(self) -> Definition:
        """The definition, with its final params."""
        return self._resolved.definition

    @property
    def params(self) -> HParams:
        """A copy of the hyperparameters."""
        return self.definition.params.copy()

    @property
    def config(self) -> RunConfig:
        """How runs are done."""
        return self._resolved.config

    @property
    def model_dir(self) -> str:
        """Where everything is kept."""
        assert self.config.model_dir is not None
        return self.config.model_dir

    @property
    def resolved(self) -> Resolved:
        """Every value of the run, and where it came from."""
        return self._resolved

    def train(
        self,
        input_fn: Any,
        hooks: Iterable[Hook] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        saving_listeners: Iterable[SavingListener] | None = None,
    ) -> Estimator:
        """Train, going on from the newest checkpoint in model_dir.

        Args:
          input_fn: a function of none or any of `params, mode, config` that returns an iterable
            of (features, labels), a torch DataLoader, or records; or a path to records.
          hooks: called at each step, after those that the definition's `callbacks` gives.
          steps: how many steps more.
          max_steps: the global step to end at; if it is reached already, nothing is done.
            Without either, the input ends where it ends: records after `params.train_epochs`
            epochs, one by default, counted from the beginning of the run.
          saving_listeners: told of each checkpoint.

        Returns:
          This Estimator.

        Raises:
          ParamsError: both steps and max_steps, or one that is not above 0.
          NanLossError: the loss is not finite; the last good checkpoint is kept.
        """
        self.train_run(
            input_fn, hooks=hooks, steps=steps, max_steps=max_steps, listeners=saving_listeners
        )
        return self

    def train_run(
        self,
        input_fn: Any,
        *,
        hooks: Iterable[Hook] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        epochs: float | None = None,
        limit: int | None = None,
        listeners: Iterable[SavingListener] | None = None,
        command: Sequence[str] | None = None,
        evaluations: Evaluations | None = None,
    ) -> Trained:
        """Train as `train` does, and return how it ended.

        Args:
          epochs: how often all records come, from the beginning of the run.
          limit: use only so many records, those that come first in training, in that order.
          command: the command line, for the record of the run.
          evaluations: what is evaluated beside the training.
        """
        _check_steps(steps, max_steps)
        taken_hooks = (*hooks_of(self.definition, self.params), *checked_hooks(hooks))
        taken_listeners = checked_listeners(listeners)
        asked = {"steps": steps, "max_steps": max_steps, "epochs": epochs}
        if all(value is None for value in asked.values()):
            max_steps, epochs = self._resolved.max_steps, self._resolved.epochs
            if max_steps is None and epochs is None:
                epochs = 1
        program, live = self._held.take()
        try:
            trained = train(
                program,
                lambda: self.open_input(input_fn, ModeKeys.TRAIN, epochs=epochs, limit=limit),
                model_dir=Path(self.model_dir),
                config=self.config,
                steps=steps,
                last_step=max_steps,
                hooks=taken_hooks,
                listeners=taken_listeners,
                live=live,
                evaluations=evaluations,
                begun=lambda source, step: self._record(source, step, command or sys.argv, asked),
            )
        except BaseException:
            self._held.forget()  # its state may be half of a step
            raise
        if trained.steps or (live is not None and trained.checkpoint == live):
            assert trained.checkpoint is not None
            self._held.has(trained.checkpoint, whole=True)
        else:
            self._held.forget()
        return trained

    def evaluate(
        self,
        input_fn: Any,
        steps: int | None = None,
        hooks: Iterable[Hook] | None = None,
        checkpoint_path: str | Path | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Evaluate a checkpoint.

        Args:
          input_fn: as `train` takes it; records come once, in their order.
          steps: how many batches; None: the whole input.
          hooks: called at each batch.
          checkpoint_path: which checkpoint; None: the newest in model_dir.
          name: of this evaluation, if there are several: its event log is in `eval_<name>`.

        Returns:
          metric -> value, with `loss` and `global_step`.

        Raises:
          CheckpointError: there is no checkpoint, or it is of another definition.
        """
        _check_steps(steps, None)
        taken = checked_hooks(hooks)
        source = self.open_input(input_fn, ModeKeys.EVAL)
        restored = self._held.restored(checkpoint_path, ModeKeys.EVAL)
        try:
            values = evaluate(
                self._held.program_for(ModeKeys.EVAL),
                source,
                steps=steps,
                restored=restored,
                event_dir=Path(self.eval_dir(name)),
                model_dir=Path(self.model_dir),
                hooks=taken,
            )
        except BaseException:
            self._held.forget()
            raise
        if restored is not None:
            self._held.has(restored.path, whole=False)
        return values

    def predict(
        self,
        input_fn: Any,
        predict_keys: str | Sequence[str] | None = None,
        hooks: Iterable[Hook] | None = None,
        checkpoint_path: str | Path | None = None,
        yield_single_examples: bool = True,
        *,
        steps: int | None = None,
    ) -> Generator[dict[str, Any]]:
        """Yield predictions in the order of the input.

        Args:
          input_fn: as `train` takes it, or giving features without labels.
          predict_keys: which predictions; None: all.
          hooks: called at each batch.
          checkpoint_path: which checkpoint; None: the newest in model_dir.
          yield_single_examples: one dict of values per example, or one of arrays per batch.
          steps: how many batches; None: the whole input.

        Yields:
          prediction's name -> numpy array.

        Raises:
          CheckpointError: there is no checkpoint, or it is of another definition.
        """
        keys = [predict_keys] if isinstance(predict_keys, str) else predict_keys
        _check_steps(steps, None)
        taken = checked_hooks(hooks)
        source = self.open_input(input_fn, ModeKeys.PREDICT)
        restored = self._held.restored(checkpoint_path, ModeKeys.PREDICT)
        program = self._held.program_for(ModeKeys.PREDICT)
        # The program is the generator's while it lives, so that training or evaluation between
        # two batches, which then has one of its own, changes nothing of what is predicted.
        lent = self._held.lend(restored)
        try:
            for batch in predict.predict(
                program,
                source,
                keys=keys,
                restored=restored,
                steps=steps,
                model_dir=Path(self.model_dir),
                hooks=taken,
            ):
                if yield_single_examples:
                    yield from predict.rows(batch)
                else:
                    yield batch
        except GeneratorExit:
            self._held.give_back(lent)
            raise
        self._held.give_back(lent)

    def latest_checkpoint(self) -> str | None:
        """Return the path of the newest checkpoint that is not damaged, or None."""
        newest = checkpoint.latest_good_path(self.model_dir)
        return str(newest) if newest is not None else None

    def eval_dir(self, name: str | None = None) -> str:
        """Return the folder of an evaluation's event log."""
        return str(Path(self.model_dir) / (f"eval_{name}" if name else "eval"))

    def get_variable_names(self) -> list[str]:
        """Return the names of all values in the newest checkpoint."""
        return checkpoint.names(self.latest_checkpoint() or newest_of(self.model_dir))

    def get_variable_value(self, name: str) -> np.ndarray:
        """Return one value of the newest checkpoint as an array."""
        newest = self.latest_checkpoint() or newest_of(self.model_dir)
        return predict.as_array(checkpoint.value(newest, name))

    def open_input(
        self,
        source: Any,
        mode: str,
        *,
        epochs: float | None = 1,
        limit: int | None = None,
    ) -> Input:
        """Open what `train`, `evaluate` and `predict` take, as the mode needs it.

        Args:
          source: an input_fn, or a path to records.
          mode: of `ModeKeys`.
          epochs, limit: as `train_run` takes them.
        """
        train_mode = mode == ModeKeys.TRAIN
        return open_input(
            source,
            self.definition,
            mode,
            params=self.params,
            config=self.config,
            batch_size=self._resolved.batch_size if train_mode else self._resolved.eval_batch_size,
            seed=self.config.seed,
            epochs=epochs,
            limit=limit,
            prefetch=self.config.prefetch,
        )

    def _prepare(self) -> None:
        """Refuse a device that is not there, and make model_dir."""
        device = choose_device(self.config.device)
        if self.config.deterministic and device.type == "cuda":
            # cuBLAS reads it once, at its first use in the process.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        make_model_dir(self.model_dir)

    def _record(
        self,
        source: Input,
        step: int,
        command: Sequence[str],
        asked: Mapping[str, float | None],
    ) -> None:
        """Write the record of a run that begins; one with nothing left to do leaves none."""
        resolved = self._resolved
        values = {k: v for k, v in resolved.values().items() if not k.startswith("params.")}
        asked = {name: value for name, value in asked.items() if value is not None}
        provenance.record(
            self.model_dir,
            params=self.params,
            origins={**resolved.origins, **dict.fromkeys(asked, "call of train")},
            files=[*self.definition.files, *_script()],
            command=list(command),
            seed=self.config.seed,
            extra={"data": source.name, "from_step": step, "values": {**values, **asked}},
        )


def _script() -> list[Path]:
    """Return the script that runs, if there is one."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    return [script] if script is not None and script.suffix == ".py" and script.is_file() else []


def _warm_started(config: RunConfig | None, source: str | Path | WarmStart) -> RunConfig:
    config = RunConfig() if config is None else config
    stated = config.warm_start_from
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    if stated is not None and stated != source:
        raise ParamsError(
            f"warm_start_from is {source!r} and config.warm_start_from is {stated!r}; give one of "
            "them."
        )
    return config.replace(warm_start_from=source)


def _check_steps(steps: int | None, max_steps: int | None) -> None:
    if steps is not None and max_steps is not None:
        raise ParamsError(
            f"Both steps={steps} (how many more) and max_steps={max_steps} (the step to end at) "
            "were given; give one of them."
        )
    for name, value in (("steps", steps), ("max_steps", max_steps)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise ParamsError(f"{name} must be a whole number above 0; it is {value!r}.")
