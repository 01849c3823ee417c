"""Saving beside the training: the steps wait for the copy to memory, a thread does the rest."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from dovetail.errors import StorageError
from dovetail.program.program import Program
from dovetail.run import checkpoint, retention, saving
from dovetail.run.checkpoint_write import Snapshot
from dovetail.run.config import RunConfig
from dovetail.run.copying import Copying

_NICER = 10  # how much a thread that writes gives way to those that compute


class _Discarded(Exception):
    """A forward pass changed parameters while they were copied."""


class _Save:
    """One checkpoint on its way to the disk."""

    def __init__(self, taken: Snapshot, copying: Copying, *, complete: bool) -> None:
        self.taken = taken
        self.copying = copying
        self.complete = complete
        self.path: Path | None = None
        self.error: BaseException | None = None
        self.done: Future[None] | None = None


class Saver:
    """Saves a program's state beside its training.

    `save` takes at once what a forward pass may change: batch statistics and other buffers, and
    the plain values (step, position, settings of optimizers). Parameters, the optimizers' tensors
    and averages are copied to buffers that are kept, by a thread of low priority, while the next
    forward and backward pass read them; `settle`, called before the update, copies what is left.
    The thread then looks whether the copy is finite, writes it, syncs it to the disk, gives it its
    name and deletes what need not be kept. The first save of all copies everything at once: the
    buffers are made then, and it shows which parameters a forward pass changes in place (Keras
    does that to some); they count as buffers from then on. If one is first changed later, the copy
    made meanwhile is not used, and `saved` or `wait` take it again.

    `save`, `saved` and `wait` are called between steps, by the thread that trains.

    Args:
      program: built; restored where there was something to restore.
      model_dir: of the run.
      config: says what is kept, and whether parameters must be finite.
      background: whether to write beside the training; without it `save` waits for the end.
      state: gives plain values of the run's own, at each save, that belong beside the position.

    Attributes:
      newest: the newest whole checkpoint of this run, or None.

    Example:

    >>> import tempfile
    >>> import dovetail
    >>> from dovetail import layers, optimizers
    >>> def model_fn(features, labels, mode):
    ...     output = layers.fully_connected(features, 1, activation_fn=None)
    ...     loss = torch.mean((output - labels) ** 2)
    ...     return dovetail.EstimatorSpec(mode, output, loss, optimizers.SGD(0.1).minimize(loss))
    >>> x, y = torch.ones(4, 2), torch.ones(4, 1)
    >>> program = dovetail.build(model_fn, example=(x, y), device="cpu")
    >>> saver = Saver(program, Path(tempfile.mkdtemp()), RunConfig())
    >>> program.before_update = lambda loss: saver.settle()
    >>> for step in range(3):
    ...     saver.save(step)
    ...     _ = program.train_step(x, y)
    >>> [path.name for path in saver.wait()]
    ['0000000000', '0000000001', '0000000002']
    """

    def __init__(
        self,
        program: Program,
        model_dir: str | os.PathLike[str],
        config: RunConfig,
        *,
        background: bool = True,
        state: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self.program = program
        self._state = state
        self.model_dir = Path(model_dir)
        self.config = config
        self.background = background
        self.policy = retention.Policy.of(config)
        self.newest: Path | None = None
        self._kept: dict[str, dict[str, torch.Tensor]] = {}
        named = program.network.named_parameters(remove_duplicate=False)
        self._parameters = {name for name, _ in named}
        self._changing: set[str] = set()  # parameters that a forward pass changes
        self._first = True
        self._again = False
        self._copying: Copying | None = None  # until it is settled
        self._under_way: _Save | None = None
        # One thread for all saves: to start a thread is to wait until the system runs it.
        self._thread: ThreadPoolExecutor | None = None
        self._saved: list[Path] = []
        self._error: BaseException | None = None

    def save(self, step: int, *, wait: bool = False) -> None:
        """Take the program's state, and begin to save it as the checkpoint of `step`.

        One that is under way is waited for first.

        Args:
          step: the number of finished steps.
          wait: return when it is whole on the disk.

        Raises:
          NanLossError, CheckpointError, StorageError: see `saved`.
        """
        self._finish()
        self._raise()
        retention.forget(self.model_dir, step)
        gathered = saving.gather(self.program)
        assert gathered.step == step, (gathered.step, step)
        own = gathered.model
        later: list[tuple[torch.Tensor, torch.Tensor]] = []
        taken = checkpoint.snapshot(
            step,
            own,
            gathered.optimizer,
            {**gathered.state, **self._state()},
            kept=self._kept,
            later=later,
            at_once={n for n in own if n not in self._parameters or n in self._changing},
        )
        watched = {n: t for n, t in own.items() if n in self._parameters}
        copying = Copying(later, {n: t for n, t in watched.items() if n not in self._changing})
        at_once = self._first or not self.background
        if at_once:
            copying.run()
        self._first = self._again = False
        self._copying = copying
        one = self._under_way = _Save(taken, copying, complete=at_once)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "dovetail saver", initializer=_give_way)
        one.done = self._thread.submit(self._work, one)
        if wait or not self.background:
            self._finish()
            self._raise()

    def settle(self) -> None:
        """Wait until the parameters may change. Called before every update; nearly free if idle."""
        copying = self._copying
        if copying is not None:
            self._copying = None
            copying.settle()
            self._changing.update(copying.changed())

    def saved(self) -> list[Path]:
        """Return the checkpoints that have become whole since the last call, in order.

        It does not wait, and is nearly free where nothing is new: call it after every step.

        Raises:
          NanLossError: a parameter is not finite; nothing of that step was saved.
          StorageError: the disk is full or fails. What was saved before is untouched.
          CheckpointError: there is no permission to write, or a value cannot be saved.
        """
        one = self._under_way
        if one is not None:
            assert one.done is not None
            if not one.done.done():
                return self._taken()
            self._finish()
        self._raise()
        if self._again:
            self.save(self.program.global_step)
        return self._taken()

    def wait(self) -> list[Path]:
        """Wait until nothing is under way, then return and raise as `saved` does."""
        self._finish()
        self._raise()
        if self._again:
            self.save(self.program.global_step)
            self._finish()
            self._raise()
        return self._taken()

    def close(self) -> None:
        """Wait until nothing is under way; it raises nothing, so it may be called after an error.

        What `saved` was not asked for remains to be asked for.
        """
        self._finish()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _taken(self) -> list[Path]:
        saved, self._saved = self._saved, []
        return saved

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _finish(self) -> None:
        one = self._under_way
        if one is None:
            return
        self.settle()
        assert one.done is not None
        one.done.result()
        self._under_way = None
        if one.path is not None:
            self._saved.append(one.path)
            self.newest = one.path
        if isinstance(one.error, _Discarded):
            self._again = True
            self._changing.update(one.copying.changed())
        elif one.error is not None:
            self._error = one.error

    # What the thread does.

    def _work(self, one: _Save) -> None:
        try:
            one.copying.run()
            self._check_finite(one)
            one.path = self._write(one)
            retention.prune(self.model_dir, self.policy, current=one.path)
        except BaseException as error:  # it is raised where the training is
            one.error = error

    def _check_finite(self, one: _Save) -> None:
        if self.config.finite_checks == "off":
            return
        for name, tensor in one.taken.model.tensors.items():
            if name in self._parameters and not _finite(tensor):
                raise saving.not_finite(name, one.taken.step)

    def _write(self, one: _Save) -> Path:
        def confirm() -> None:
            _confirm(one)

        try:
            return checkpoint.write(self.model_dir, one.taken, confirm=confirm)
        except StorageError:
            # The disk may be full of checkpoints that this one replaces.
            if not retention.make_room(self.model_dir, self.policy, one.taken.step):
                raise
        return checkpoint.write(self.model_dir, one.taken, confirm=confirm)


def _confirm(one: _Save) -> None:
    """Refuse a copy made while a forward pass changed what was copied.

    The training may be waiting for data, with `settle` far away. Then this looks itself: as long
    as nothing was settled there was no update, so a change is that of a forward pass; and one that
    had begun during the copy is finished by now, for writing takes longer than copying.
    """
    if not one.complete and one.copying.changed():
        raise _Discarded


def _finite(tensor: torch.Tensor) -> bool:
    """Whether all elements are finite; in small pieces, for which torch takes no other thread."""
    if not tensor.is_floating_point() and not tensor.is_complex():
        return True
    flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
    if flat.element_size() == 1:
        flat = flat.float()
    for piece in flat.split(1 << 14):
        # A sum is not finite if an element is not: a tenth of the time of looking at each.
        if not math.isfinite(piece.sum().item()) and not bool(torch.isfinite(piece).all()):
            return False
    return True


def _give_way() -> None:
    """Let those who compute go first, where threads have priorities of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(nice + _NICER, 19))
