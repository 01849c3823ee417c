"""A program: a definition made live, with its parameters, its optimizer and one step per mode."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dovetail.definition.definition import Definition
from dovetail.definition.hparams import HParams
from dovetail.definition.modes import ModeKeys
from dovetail.definition.optimizers import note_cure
from dovetail.errors import DataError, DefinitionError, ParamsError, nearest
from dovetail.layers.keras.settings import OwnSettings
from dovetail.program import foreign
from dovetail.program.averaging import Averages
from dovetail.program.batches import as_tensors, count, cut, mapped
from dovetail.program.freezing import freeze as freeze_parameters
from dovetail.program.loss_scale import LossScale
from dovetail.program.network import Network, Statics
from dovetail.program.randomness import seed_generators, seeded
from dovetail.program.recomputing import recompute as recompute_modules
from dovetail.program.step import Optimizers, Part, train_parts

Precision = Literal["fp32", "bf16", "fp16"]
Execution = Literal["auto", "eager", "compiled"]


class Program:
    """A live definition. Whoever holds one can step it; see `build`.

    A step seeds torch's global generators from (seed, step, part) and leaves them so.

    Attributes:
      definition: what it was made from.
      params: the hyperparameters that model_fn gets.
      device: where its parameters and steps are.
      seed: what initial weights and the randomness of steps are derived from.
      loss_scale: of "fp16", the same at every step; None: it adapts.
      network: the one module that holds every parameter.
      position: how many training examples its steps have consumed, kept by whoever steps it.
      ema_decay: of the averages of its parameters; None: it keeps none.
      before_update: called with a train step's loss before its gradients are applied.
      when_built: called with the program once its layers exist, such as to give them weights.
      built: whether the layers exist; the first step builds them where no example was given.
    """

    def __init__(
        self,
        definition: Definition,
        *,
        device: torch.device,
        seed: int = 0,
        precision: Precision = "fp32",
        loss_scale: float | None = None,
        execution: Execution = "auto",
        config: Any = None,
        ema_decay: float | None = None,
        freeze: Sequence[str] = (),
        recompute: Sequence[str] = (),
    ) -> None:
        _check_choice("precision", precision, get_args(Precision))
        _check_choice("execution", execution, get_args(Execution))
        if loss_scale is not None and precision != "fp16":
            raise ParamsError(
                f"loss_scale={loss_scale} is for precision='fp16', and the precision is "
                f"{precision!r}: give both, or neither."
            )
        self.definition = definition
        self.params: HParams = definition.params.copy()
        self.device = device
        self.seed = seed
        self.precision = precision
        self.loss_scale = loss_scale
        self.execution = execution
        self.ema_decay = ema_decay
        self.freeze = tuple(freeze)
        self.recompute = tuple(recompute)
        self._keras = OwnSettings()
        self.network = self._network(config)
        self.built_in: str | None = None
        self._compiled: Callable[..., dict[str, Any]] | None = None
        self._optimizers: Optimizers | None = None
        self._averages: Averages | None = None
        self._averaged = False
        self._scale = LossScale(device, loss_scale) if precision == "fp16" else None
        self._autocast = _AUTOCAST[precision]
        self.position = 0
        self.before_update: Callable[[Tensor], None] | None = None
        self.when_built: Callable[[Program], object] | None = None
        self._step = 0
        self._lock = threading.Lock()

    def _network(self, config: Any) -> Network:
        preprocess = self.definition.preprocess
        with seeded(self.seed), self._keras.held():
            return Network(
                self.definition.fresh(self.params),
                params=self.params,
                config=config,
                preprocess=preprocess,
                device=self.device,
            )

    # What it holds.

    @property
    def built(self) -> bool:
        return self.built_in is not None

    @property
    def global_step(self) -> int:
        """The number of finished training steps."""
        return self._step

    @global_step.setter
    def global_step(self, step: int) -> None:
        self._step = step
        self.network.global_step.fill_(step)

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The torch optimizers by train_op name; a single one is named "optimizer"."""
        return self._live_optimizers().torch

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The torch optimizer of a program with one train_op."""
        return self.optimizers["optimizer"]

    @property
    def learning_rate(self) -> float:
        """The base learning rate of the last finished step, of the first optimizer."""
        return self._live_optimizers().learning_rate

    def statics(self, mode: str) -> Statics:
        """Return what the first call in `mode` said that does not change."""
        return self.network.statics[mode]

    def state(self) -> dict[str, Tensor]:
        """Return all parameters and persistent buffers by name: the tensors themselves."""
        return self.network.state_dict(keep_vars=False)

    # What training keeps beside the parameters.

    @property
    def averages(self) -> Averages | None:
        """The averages of the parameters; None where none are kept."""
        wanted = self._averages is None and self.ema_decay is not None
        if wanted and self.built_in == ModeKeys.TRAIN:
            self._averages = Averages(self.ema_decay or 0.0, self.network.named_parameters())
        return self._averages

    def restore_averages(
        self, saved: Mapping[str, Tensor], *, weights_only: bool = False
    ) -> list[str]:
        """Take a checkpoint's averages, after its parameters.

        Where it has none they begin as the parameters. A program that trains keeps them only if it
        has an `ema_decay`; one that evaluates or predicts takes those that there are.

        Args:
          saved: parameter name -> average; empty if there are none.
          weights_only: the program is restored to evaluate or predict.

        Returns:
          The names of the parameters whose averages are missing, if there are others.
        """
        self._averages = None
        if not saved or (self.ema_decay is None and not weights_only):
            return []
        named = [
            (n, p) for n, p in self.network.named_parameters() if n in saved or not weights_only
        ]
        self._averages = Averages(self.ema_decay or 0.0, named)
        return self._averages.load(saved)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averages in the parameters' place inside the `with` block, if there are any.

        Evaluation and prediction do so at each batch; around many batches it is done once. Nothing
        is copied. No training step can be taken meanwhile.
        """
        if self._averages is None or self._averaged:
            yield
            return
        self._averaged = True
        try:
            with self._averages.in_place():
                yield
        finally:
            self._averaged = False

    def extra_state(self) -> dict[str, Any]:
        """Return what an exact resume needs beside tensors, as plain values."""
        state: dict[str, Any] = {}
        if self.ema_decay is not None:
            state["ema_decay"] = self.ema_decay
        if self._scale is not None:
            state["loss_scale"] = self._scale.state()
        return state

    def restore_extra(self, saved: Mapping[str, Any]) -> None:
        """Take what `extra_state` gave; what is missing begins anew."""
        if self._scale is not None:
            self._scale = LossScale(self.device, self.loss_scale)
            if "loss_scale" in saved:
                self._scale.load(saved["loss_scale"])

    # Building.

    def build(self, features: Any, labels: Any = None, mode: str = ModeKeys.TRAIN) -> None:
        """Make the layers by one call on a batch, seeded; nothing but the layers remains of it.

        Args:
          features, labels: a batch as the steps take it.
          mode: TRAIN; or PREDICT, where there are no labels and no training is meant.
        """
        features = as_tensors(features, self.device, "features")
        labels = as_tensors(labels, self.device, "labels")
        with self._lock:
            if not self.built:
                self._build(features, labels, mode)

    def _build(self, features: Any, labels: Any, mode: str) -> None:
        network = self.network
        network.mode = mode
        network.train(mode == ModeKeys.TRAIN)
        try:
            with (
                seeded(self.seed),
                self._keras.held(),
                self.precise(),
                foreign.registrations() as noted,
            ):
                output = network(features, labels)
            if mode == ModeKeys.TRAIN:
                held = freeze_parameters(network, self.freeze)
                for name, loss in output.get("train_losses", {}).items():
                    foreign.check_loss(network, name, loss, noted)
                recompute_modules(network, self.recompute)
                network.hold(held)
        except BaseException as error:
            note_cure(error)
            network.seal()  # so that a module from outside is as it was
            self.network = self._network(network.config)  # no layer of a failed call remains
            raise
        network.seal()
        network.train(mode == ModeKeys.TRAIN)  # what modules made of themselves included
        self.built_in = mode
        if self.when_built is not None:
            try:
                self.when_built(self)
            except BaseException:
                self.network, self.built_in = self._network(network.config), None
                self._optimizers = None
                raise

    def _live_optimizers(self) -> Optimizers:
        if self._optimizers is None:
            statics = self.network.statics.get(ModeKeys.TRAIN)
            if statics is None:
                raise DefinitionError(
                    "This program has no optimizer yet: it was not built in TRAIN mode. Give "
                    "build an example with labels, or take a training step."
                )
            self._optimizers = Optimizers.make(statics.train_ops, self.network)
        return self._optimizers

    # Stepping.

    def train_step(
        self, features: Any, labels: Any = None, *, parts: int = 1, summary: bool = True
    ) -> dict[str, Any]:
        """Take one optimizer step on a batch.

        Args:
          features: a tensor or dict of tensors (or arrays), batch first.
          labels: likewise, or None.
          parts: into how many parts to cut the batch; their gradients are weighted and summed,
            so that the result is that of the whole batch with less memory.
          summary: whether metrics and summaries of this step will be looked at; without, a
            definition may leave them out.

        Returns:
          A dict with `loss` (shape [], over the whole batch) and, of the last part, what else
          the spec holds: `predictions`, `metrics`, `host_call`, `summaries`.
        """
        features = as_tensors(features, self.device, "features")
        labels = as_tensors(labels, self.device, "labels")
        if self.built_in is None:
            self.build(*cut(features, labels, parts)[0])
        pieces = [Part(f, y, count(f, y)) for f, y in cut(features, labels, parts)]
        if not pieces or not all(piece.examples for piece in pieces):
            raise DataError("The batch holds no example, so there is no step to take on it.")
        return self.train_parts(pieces, summary=summary)

    def train_parts(self, parts: list[Part], *, summary: bool = True) -> dict[str, Any]:
        """Take one optimizer step on parts that are on the device already."""
        self._enter(ModeKeys.TRAIN)
        optimizers = self._live_optimizers()
        if self.network.summary_step != summary:
            self.network.summary_step = summary
        step = self._step

        def forward(index: int, part: Part) -> dict[str, Any]:
            seed_generators(self.device, self.seed, step, index)
            if self._autocast is None:
                return self._forward(part.features, part.labels)
            with self.precise():
                return self._forward(part.features, part.labels)

        output = train_parts(
            forward,
            parts,
            self.network,
            optimizers,
            step,
            self.before_update,
            self._scale,
            self.averages,
        )
        self.global_step = step + 1
        return mapped(output, Tensor.detach)

    def eval_step(self, features: Any, labels: Any = None, *, batch: int = 0) -> dict[str, Any]:
        """Run a batch in EVAL mode; no parameter, buffer or optimizer changes.

        Args:
          features, labels: as in `train_step`.
          batch: the number of this batch, from which its randomness is derived.

        Returns:
          A dict with `loss` and what else the spec holds, `metrics` among it.
        """
        features = as_tensors(features, self.device, "features")
        labels = as_tensors(labels, self.device, "labels")
        if self.built_in is None:
            self.build(features, labels, self._building_mode(labels))
        return self._run(ModeKeys.EVAL, features, labels, batch)

    def predict_step(self, features: Any, *, batch: int = 0) -> dict[str, Any]:
        """Run a batch in PREDICT mode.

        Returns:
          A dict with `predictions`: name -> tensor, batch first.
        """
        features = as_tensors(features, self.device, "features")
        if self.built_in is None:
            self.build(features, None, ModeKeys.PREDICT)
        return self._run(ModeKeys.PREDICT, features, None, batch)

    def _building_mode(self, labels: Any) -> str:
        return ModeKeys.TRAIN if labels is not None else ModeKeys.EVAL

    def _run(self, mode: str, features: Any, labels: Any, batch: int) -> dict[str, Any]:
        self._enter(mode)
        with self.averaged(), torch.no_grad(), self.precise():
            seed_generators(self.device, self.seed, self._step, batch, _MODE_SALT[mode])
            return self._forward(features, labels)

    def _enter(self, mode: str) -> None:
        network = self.network
        if self._averaged and mode == ModeKeys.TRAIN:
            raise DefinitionError(
                "A training step was asked for while the averages stand in the parameters' place: "
                "leave the `with program.averaged()` block first."
            )
        if mode == ModeKeys.TRAIN and self.built_in != ModeKeys.TRAIN:
            raise DefinitionError(
                f"This program was built in {ModeKeys(self.built_in or 'infer').name} mode and "
                "can't be trained; build one with example=(features, labels), where labels may be "
                "None if model_fn needs none to train."
            )
        if network.mode != mode:  # a module's attributes are slow to set
            network.mode = mode
        training = mode == ModeKeys.TRAIN
        if network.training != training:
            network.train(training)

    def _forward(self, features: Any, labels: Any) -> dict[str, Any]:
        network = self.network
        if self.execution != "compiled" or network.mode not in network.statics:
            return network(features, labels)  # the first call of a mode reads its static half
        if self._compiled is None:
            self._compiled = _compiled(network)
        return self._compiled(features, labels)

    def precise(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which forward passes run: autocast, but for "fp32"."""
        if self._autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._autocast)


def _compiled(network: Network) -> Callable[..., dict[str, Any]]:
    # A block that is recomputed enters its frame again in the backward pass; without this, tracing
    # refuses that. It concerns no code without activation checkpointing.
    torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint = True
    # Each program counts its own variants (modes, summary steps, batch sizes), where torch can.
    own: dict[str, Any] = {"isolate_recompiles": True, "recompile_limit": 32}
    known = inspect.signature(torch.compile).parameters
    return torch.compile(network, **{name: own[name] for name in own if name in known})


_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_MODE_SALT: dict[str, int] = {ModeKeys.EVAL: 1, ModeKeys.PREDICT: 2}


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise DefinitionError(
            f"{name}={value!r}: it must be one of {', '.join(map(repr, known))}."
            f"{nearest(str(value), known)}"
        )
