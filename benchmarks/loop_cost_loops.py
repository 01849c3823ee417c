"""The same steps with and without a framework's loop around them, each pair in one process.

A network of two small layers on batches that are made beforehand, so that a step is short and what
a loop adds can be seen. Every loop has logging every 100 steps, a progress bar, and a checkpoint
every 5,000 steps; a check of the loss where the framework has one for each step, or its user
writes the loop. All compute with one thread: in steps as short as these a second one only waits.
"""

# The rivals are in an environment of their own, which the type checker does not see.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import itertools
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from turns import Work

WIDTHS, BATCH, BATCHES = (64, 32, 10), 32, 64
RATE, MOMENTUM = 0.01, 0.9
LOG_EVERY, SAVE_EVERY = 100, 5_000
_UNCOUNTED = 200  # steps at the beginning of a turn
torch.set_num_threads(1)


def _batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(BATCH, WIDTHS[0], generator=generator),
            torch.randint(0, WIDTHS[-1], (BATCH,), generator=generator),
        )
        for _ in range(BATCHES)
    ]


class Clock:
    """Knows how long the last steps of a turn took, without those at its beginning."""

    def __init__(self, steps: int) -> None:
        self.left = steps + _UNCOUNTED
        self._steps = steps
        self._start = 0.0
        self.seconds = 0.0

    def tick(self) -> bool:
        """Count a finished step; True at the last one."""
        self.left -= 1
        if self.left == self._steps:
            self._start = time.perf_counter()
        elif self.left == 0:
            self.seconds = time.perf_counter() - self._start
        return self.left <= 0


def _pair(loop: Callable[[Clock], None], bare: Callable[[Clock], None]) -> Work:
    """Make a `Work` whose run gives [seconds in the loop, seconds of the bare steps].

    Args:
      loop, bare: train until the clock ends.
    """

    def timed(steps: int, train: Callable[[Clock], None]) -> float:
        clock = Clock(steps)
        train(clock)
        return clock.seconds

    def run(steps: int) -> Any:
        # Four pieces of each in turn, for a machine may be busy for a moment.
        pairs = [(timed(steps // 4, loop), timed(steps // 4, bare)) for _ in range(4)]
        return [sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)]

    return Work(run, lambda: None)


def dovetail(folder: Path) -> Work:
    """Dovetail's Estimator, and its program's train_step on the same batches."""
    import dovetail as package
    from dovetail.run.config import RunConfig
    from dovetail.run.estimator import Estimator
    from dovetail.run.hooks import Hook, Run

    names: Any = package
    batches = _batches()

    def model_fn(features: Any, labels: Any, mode: Any) -> Any:
        value = names.layers.fully_connected(features, WIDTHS[1])
        logits = names.layers.fully_connected(value, WIDTHS[2], activation_fn=None)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        train_op = names.optimizers.Momentum(RATE, momentum=MOMENTUM).minimize(loss)
        return names.EstimatorSpec(mode, loss=loss, train_op=train_op)

    class Tick(Hook):
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def after_step(self, run: Run, output: dict[str, Any]) -> None:
            if self.clock.tick():
                run.request_stop()

    config = RunConfig(
        tempfile.mkdtemp(dir=folder),
        device="cpu",
        progress=True,
        save_summary_steps=LOG_EVERY,
        save_checkpoints_steps=SAVE_EVERY,
    )
    kept = Estimator(model_fn, config=config)
    program = package.build(model_fn, device="cpu")

    def loop(clock: Clock) -> None:
        kept.train(lambda: itertools.cycle(batches), hooks=[Tick(clock)], steps=clock.left)

    def bare(clock: Clock) -> None:
        for features, labels in itertools.cycle(batches):
            program.train_step(features, labels)
            if clock.tick():
                break

    return _pair(loop, bare)


def _torch_parts() -> tuple[Any, Any]:
    network = torch.nn.Sequential(
        torch.nn.Linear(WIDTHS[0], WIDTHS[1]),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTHS[1], WIDTHS[2]),
    )
    return network, torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)


def _bare_torch() -> Callable[[Clock], None]:
    network, optimizer = _torch_parts()
    batches = _batches()

    def bare(clock: Clock) -> None:
        for x, y in itertools.cycle(batches):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            if clock.tick():
                break

    return bare


class _Endless:
    """The batches for ever, as something that can be iterated again and again."""

    def __init__(self) -> None:
        self.batches = _batches()

    def __iter__(self) -> Iterator[Any]:
        return itertools.cycle(self.batches)


def lightning(folder: Path) -> Work:
    """Lightning's Trainer with its bar, its CSV logger and its ModelCheckpoint.

    Its `detect_anomaly` is left off: it traces every operation, which is another thing than a look
    at the loss.
    """
    import lightning as pl

    warnings.simplefilter("ignore")
    network, optimizer = _torch_parts()

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, number: int) -> Any:
            x, y = batch
            loss = torch.nn.functional.cross_entropy(self.network(x), y)
            self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> Any:
            return optimizer

    class Tick(pl.Callback):
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def on_train_batch_end(self, trainer: Any, *others: Any) -> None:
            if self.clock.tick():
                trainer.should_stop = True

    module = Module()

    def loop(clock: Clock) -> None:
        saving = pl.pytorch.callbacks.ModelCheckpoint(
            tempfile.mkdtemp(dir=folder), every_n_train_steps=SAVE_EVERY
        )
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=clock.left,
            logger=pl.pytorch.loggers.CSVLogger(folder / "lightning"),
            log_every_n_steps=LOG_EVERY,
            enable_model_summary=False,
            callbacks=[Tick(clock), saving],
        )
        trainer.fit(module, _Endless())

    return _pair(loop, _bare_torch())


def accelerate(folder: Path) -> Work:
    """Accelerate's loop with tqdm, its TensorBoard tracker, save_state, and a look at the loss."""
    from accelerate import Accelerator
    from accelerate.utils import tqdm

    accelerator = Accelerator(
        cpu=True, log_with="tensorboard", project_dir=str(folder / "accelerate")
    )
    accelerator.init_trackers("benchmark")
    network, optimizer = accelerator.prepare(*_torch_parts())
    batches = _Endless()

    def loop(clock: Clock) -> None:
        bar = tqdm()
        for number, (x, y) in enumerate(batches, 1):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x), y)
            accelerator.backward(loss)
            optimizer.step()
            value = loss.item()
            if not math.isfinite(value):
                raise ArithmeticError(f"the loss is {value} at step {number}")
            bar.update()
            if number % LOG_EVERY == 0:
                bar.set_postfix(loss=value)
                accelerator.log({"loss": value}, step=number)
            if number % SAVE_EVERY == 0:
                accelerator.save_state(str(folder / "accelerate" / "state"))
            if clock.tick():
                break
        bar.close()

    return _pair(loop, _bare_torch())
