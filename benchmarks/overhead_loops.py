"""The same small network trained by each framework's own loop, as its documentation shows it.

MLP 784-256-128-10 with relu, batches of 64 of 60,000 float32 rows, SGD with momentum. Each loop
is timed by the framework's own hook after a step.
"""

# The rivals are in an environment of their own, which the type checker does not see.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import itertools
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from turns import Work

ROWS, WIDTHS, BATCH = 60_000, (784, 256, 128, 10), 64
RATE, MOMENTUM = 0.01, 0.9
LOG_EVERY = 100
CHECKED_STEPS = 30
_UNCOUNTED = 50  # steps at the beginning of a turn
Layers = list[tuple[np.ndarray, np.ndarray]]  # (weight [out, in], bias [out]), float32


def write(folder: Path) -> None:
    """Write the rows, as arrays and as records, and the network's first weights."""
    from dovetail.data.record_writer import RecordWriter
    from dovetail.data.schema import Field, Schema

    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTHS[0]), np.float32)
    # Labels that can be learnt: the largest of ten random projections.
    y = (x @ rng.standard_normal((WIDTHS[0], WIDTHS[-1]), np.float32)).argmax(1).astype(np.int64)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    first: dict[str, np.ndarray] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS)):
        bound = inputs**-0.5
        first[f"weight{number}"] = rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
        first[f"bias{number}"] = rng.uniform(-bound, bound, outputs).astype(np.float32)
    np.savez(folder / "first.npz", **first)  # type: ignore[arg-type]
    schema = Schema([Field("x", (WIDTHS[0],), "float32"), Field("label", (), "int64")])
    with RecordWriter(folder / "records", schema) as writer:
        for row, label in zip(x, y, strict=True):
            writer.append({"x": row, "label": label})


def _first(folder: Path) -> Layers:
    first = np.load(folder / "first.npz")
    return [(first[f"weight{n}"], first[f"bias{n}"]) for n in range(len(WIDTHS) - 1)]


class _Clock:
    """Counts finished steps, and knows how long those took that count."""

    def __init__(self, steps: int) -> None:
        self.left = steps + _UNCOUNTED
        self._steps = steps
        self._start = 0.0
        self.seconds = 0.0

    def tick(self) -> bool:
        """Count a step; True at the last one."""
        self.left -= 1
        if self.left == self._steps:
            self._start = time.perf_counter()
        elif self.left == 0:
            self.seconds = time.perf_counter() - self._start
        return self.left <= 0


def _work(
    fit: Callable[[_Clock], None], checked: Callable[[], list[np.ndarray]], folder: Path
) -> Work:
    """Make a `Work` of a function that trains until the clock ends, and one for the check.

    Args:
      fit: trains on batches in random order.
      checked: trains CHECKED_STEPS on batches in the stored order, from the first weights, and
        returns the weights and biases, as `_first` has them.
    """

    def run(steps: int) -> float:
        clock = _Clock(steps)
        fit(clock)
        return clock.seconds

    def check() -> float:
        x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
        given = checked()
        value = x[:4096]
        for number in range(0, len(given), 2):
            weight, bias = (array.astype(np.float64) for array in given[number : number + 2])
            value = value @ weight.T + bias
            if number + 2 < len(given):
                value = np.maximum(value, 0)
        value = value - value.max(1, keepdims=True)
        chosen = value[np.arange(len(value)), y[: len(value)]]
        return float(np.mean(np.log(np.exp(value).sum(1)) - chosen))

    return Work(run, check)


def dovetail(folder: Path, shown: bool, prefetch: int = 2) -> Work:
    """Dovetail's Estimator, on records."""
    import torch

    from dovetail.data.feed import RecordFeed
    from dovetail.data.records import Records
    from dovetail.run.config import RunConfig
    from dovetail.run.estimator import Estimator
    from dovetail.run.hooks import Hook, Run

    estimator_spec, layers, optimizers = _dovetail_names()

    def model_fn(features: Any, labels: Any, mode: Any) -> Any:
        value = features["x"]
        for width in WIDTHS[1:-1]:
            value = layers.fully_connected(value, width)
        logits = layers.fully_connected(value, WIDTHS[-1], activation_fn=None)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        train_op = optimizers.Momentum(RATE, momentum=MOMENTUM).minimize(loss)
        return estimator_spec(mode, loss=loss, train_op=train_op)

    class Tick(Hook):
        def __init__(self, clock: _Clock) -> None:
            self.clock = clock

        def after_step(self, run: Run, output: dict[str, Any]) -> None:
            if self.clock.tick():
                run.request_stop()

    class Start(Hook):
        def begin(self, run: Run) -> None:
            with torch.no_grad():
                flat = [array for pair in _first(folder) for array in pair]
                parameters = list(run.program.network.parameters())
                for parameter, array in zip(parameters, flat, strict=True):
                    parameter.copy_(torch.from_numpy(array))

    def estimator() -> Estimator:
        return Estimator(
            model_fn,
            config=RunConfig(
                tempfile.mkdtemp(dir=folder),
                progress=shown,
                save_summary_steps=LOG_EVERY if shown else 1_000_000_000,
                prefetch=prefetch,
            ),
            params={"batch_size": BATCH},
        )

    kept = estimator()
    # Opened once, as the others' data sets are: so every block is checked once, at its first touch.
    records = Records(folder / "records")

    def fit(clock: _Clock) -> None:
        kept.train(lambda: records, hooks=[Tick(clock)], steps=clock.left)

    def checked() -> list[np.ndarray]:
        feed = RecordFeed(records, BATCH, shuffle=False)
        once = estimator()
        once.train(
            lambda: ((fed.features, fed.labels) for fed in feed),
            hooks=[Start()],
            steps=CHECKED_STEPS,
        )
        names = [name for name in once.get_variable_names() if "fully_connected" in name]
        found = {name: once.get_variable_value(name) for name in names}
        bases = ["fully_connected", "fully_connected_1", "fully_connected_2"]
        return [found[f"{base}.{part}"] for base in bases for part in ("weight", "bias")]

    return _work(fit, checked, folder)


def _dovetail_names() -> tuple[Any, Any, Any]:
    import dovetail as package

    return package.EstimatorSpec, package.layers, package.optimizers


def _torch_parts(folder: Path, shuffle: bool, workers: int = 0) -> tuple[Any, Any, Any]:
    """Return the network, optimizer and loader that all loops on torch have in common."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    network = nn.Sequential(
        nn.Linear(WIDTHS[0], WIDTHS[1]),
        nn.ReLU(),
        nn.Linear(WIDTHS[1], WIDTHS[2]),
        nn.ReLU(),
        nn.Linear(WIDTHS[2], WIDTHS[3]),
    )
    with torch.no_grad():
        flat = [array for pair in _first(folder) for array in pair]
        for parameter, array in zip(network.parameters(), flat, strict=True):
            parameter.copy_(torch.from_numpy(array))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    x, y = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in "xy")
    loader = DataLoader(
        TensorDataset(x, y),
        batch_size=BATCH,
        shuffle=shuffle,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return network, optimizer, loader


def _arrays(network: Any) -> list[np.ndarray]:
    return [parameter.detach().numpy().copy() for parameter in network.parameters()]


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _torch_check(folder: Path, fit: Callable[[Any, Any, Any, _Clock], None]) -> Any:
    """Return a check for a loop that takes (network, optimizer, loader, clock)."""

    def checked() -> list[np.ndarray]:
        network, optimizer, loader = _torch_parts(folder, shuffle=False)
        clock = _Clock(1)
        clock.left = CHECKED_STEPS
        fit(network, optimizer, loader, clock)
        return _arrays(network)

    return checked


def _torch_work(
    folder: Path, fit: Callable[[Any, Any, Any, _Clock], None], workers: int = 0
) -> Work:
    kept = _torch_parts(folder, shuffle=True, workers=workers)
    return _work(lambda clock: fit(*kept, clock), _torch_check(folder, fit), folder)


def plain(folder: Path, shown: bool, workers: int = 0) -> Work:
    """The loop of torch's tutorials; shown: with tqdm, and TensorBoard every 100 steps."""
    import torch

    def fit(network: Any, optimizer: Any, loader: Any, clock: _Clock) -> None:
        bar, writer = _bar_and_writer(folder) if shown else (None, None)
        for number, (x, y) in enumerate(_endless(loader)):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            if bar is not None and writer is not None:
                bar.update()
                if number % LOG_EVERY == 0:
                    bar.set_postfix(loss=loss.item())
                    writer.add_scalar("loss", loss.item(), number)
            if clock.tick():
                break
        if bar is not None and writer is not None:
            bar.close()
            writer.close()

    return _torch_work(folder, fit, workers)


def _bar_and_writer(folder: Path) -> tuple[Any, Any]:
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    return tqdm(), SummaryWriter(tempfile.mkdtemp(dir=folder))


def lightning(folder: Path, shown: bool) -> Work:
    """Lightning's Trainer; shown: with its own bar and its CSV logger."""
    import lightning as pl
    import torch

    warnings.simplefilter("ignore")

    class Module(pl.LightningModule):
        def __init__(self, network: Any, optimizer: Any) -> None:
            super().__init__()
            self.network = network
            self.made = optimizer

        def training_step(self, batch: Any, number: int) -> Any:
            x, y = batch
            loss = torch.nn.functional.cross_entropy(self.network(x), y)
            if shown:
                self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> Any:
            return self.made

    class Tick(pl.Callback):
        def __init__(self, clock: _Clock) -> None:
            self.clock = clock

        def on_train_batch_end(self, trainer: Any, *others: Any) -> None:
            if self.clock.tick():
                trainer.should_stop = True

    def fit(network: Any, optimizer: Any, loader: Any, clock: _Clock) -> None:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=clock.left,
            logger=pl.pytorch.loggers.CSVLogger(folder / "lightning") if shown else False,
            log_every_n_steps=LOG_EVERY,
            enable_progress_bar=shown,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[Tick(clock)],
        )
        trainer.fit(Module(network, optimizer), loader)

    return _torch_work(folder, fit)


def accelerate(folder: Path, shown: bool) -> Work:
    """Accelerate's loop; shown: with tqdm, and its TensorBoard tracker every 100 steps."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(
        cpu=True,
        log_with="tensorboard" if shown else None,
        project_dir=str(folder / "accelerate"),
    )
    if shown:
        accelerator.init_trackers("benchmark")

    def fit(network: Any, optimizer: Any, loader: Any, clock: _Clock) -> None:
        from accelerate.utils import tqdm

        network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
        bar = tqdm() if shown else None
        for number, (x, y) in enumerate(_endless(loader)):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x), y)
            accelerator.backward(loss)
            optimizer.step()
            if bar is not None:
                bar.update()
                if number % LOG_EVERY == 0:
                    bar.set_postfix(loss=loss.item())
                    accelerator.log({"loss": loss.item()}, step=number)
            if clock.tick():
                break
        if bar is not None:
            bar.close()

    return _torch_work(folder, fit)


def ignite(folder: Path, shown: bool) -> Work:
    """Ignite's Engine; shown: with its ProgressBar and TensorBoard logger."""
    import torch
    from ignite.engine import Events, create_supervised_trainer
    from ignite.handlers import ProgressBar
    from ignite.handlers.tensorboard_logger import TensorboardLogger

    def fit(network: Any, optimizer: Any, loader: Any, clock: _Clock) -> None:
        trainer = create_supervised_trainer(
            network, optimizer, torch.nn.functional.cross_entropy, device="cpu"
        )

        def tick(engine: Any) -> None:
            if clock.tick():
                engine.terminate()

        trainer.add_event_handler(Events.ITERATION_COMPLETED, tick)
        logger = None
        if shown:
            ProgressBar().attach(trainer, output_transform=lambda loss: {"loss": loss})
            logger = TensorboardLogger(log_dir=tempfile.mkdtemp(dir=folder))
            logger.attach_output_handler(
                trainer,
                event_name=Events.ITERATION_COMPLETED(every=LOG_EVERY),
                tag="training",
                output_transform=lambda loss: {"loss": loss},
            )
        trainer.run(loader, max_epochs=1_000_000)
        if logger is not None:
            logger.close()

    return _torch_work(folder, fit)


def keras(folder: Path, shown: bool, arrays: bool) -> Work:
    """Keras on TensorFlow; shown: with its bar and TensorBoard.

    Args:
      arrays: give fit the arrays; else a tf.data pipeline, shuffled over the whole set.
    """
    import os

    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras as package
    import tensorflow as tf

    x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")

    class Tick(package.callbacks.Callback):
        def __init__(self, clock: _Clock) -> None:
            super().__init__()
            self.clock = clock

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.clock.tick():
                self.model.stop_training = True  # pyright: ignore[reportOptionalMemberAccess]

    def made() -> Any:
        network = package.Sequential(
            [
                package.layers.Input(WIDTHS[:1]),
                package.layers.Dense(WIDTHS[1], activation="relu"),
                package.layers.Dense(WIDTHS[2], activation="relu"),
                package.layers.Dense(WIDTHS[3]),
            ]
        )
        network.set_weights([a for weight, bias in _first(folder) for a in (weight.T, bias)])
        network.compile(
            optimizer=package.optimizers.SGD(RATE, momentum=MOMENTUM),
            loss=package.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return network

    def data(shuffle: bool) -> Any:
        rows = tf.data.Dataset.from_tensor_slices((x, y))
        if shuffle:
            rows = rows.shuffle(ROWS)
        return rows.repeat().batch(BATCH).prefetch(tf.data.AUTOTUNE)

    kept = made()

    def fit(clock: _Clock) -> None:
        callbacks: list[Any] = [Tick(clock)]
        if shown:
            board = package.callbacks.TensorBoard(
                tempfile.mkdtemp(dir=folder),
                update_freq=LOG_EVERY,  # pyright: ignore[reportArgumentType]
            )
            callbacks.append(board)
        verbose = 1 if shown else 0
        if arrays:
            kept.fit(x, y, batch_size=BATCH, epochs=1000, verbose=verbose, callbacks=callbacks)
        else:
            steps = clock.left
            kept.fit(data(True), steps_per_epoch=steps, verbose=verbose, callbacks=callbacks)

    def checked() -> list[np.ndarray]:
        once = made()
        once.fit(data(False), steps_per_epoch=CHECKED_STEPS, verbose=0)
        return [
            np.ascontiguousarray(a.T if a.ndim == 2 else a)
            for a in once.get_weights()
        ]  # fmt: skip

    return _work(fit, checked, folder)
