"""Copying tensors to memory beside the computing that reads them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import torch

_PIECE = 1 << 21  # elements: a few milliseconds
_SMALL = 1 << 14  # elements: torch copies fewer than this without other threads
_TOGETHER = 256
_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Arrays = tuple[np.ndarray, np.ndarray]
Tensors = tuple[list[torch.Tensor], list[torch.Tensor]]


class Copying:
    """Copies that go on while nobody changes the originals, and know if somebody did.

    One thread calls `run`, best one of low priority. The one that computes calls `settle` before
    it changes anything, and then copies what is left itself, on all cores: where there are cores
    to spare all is copied by then, and where there are none the copy takes nothing from the
    computing, which a copy beside it would slow by more than it takes itself. On CUDA the copies
    are put on a stream of their own, and the device waits, not the caller.

    Args:
      pairs: (buffer on the CPU, tensor) to copy.
      watched: tensors by name whose changes are to be known: those that a forward pass may change
        in place, which would leave half of a copy from before and half from after.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
        watched: Mapping[str, torch.Tensor],
    ) -> None:
        self._watched = [(name, tensor, tensor._version) for name, tensor in watched.items()]
        self._pieces: deque[Arrays | Tensors] = deque()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._changed: list[str] | None = None
        self._stream: torch.cuda.Stream | None = None
        self._copied: torch.cuda.Event | None = None
        self._device: torch.device | None = None
        self._failed = False
        self._originals = pairs  # kept alive while a device reads them
        small: Tensors = ([], [])
        for buffer, tensor in pairs:
            if tensor.numel() > _SMALL or tensor.device.type != "cpu":
                self._add(buffer, tensor)
                continue
            small[0].append(buffer)
            small[1].append(tensor)
            if len(small[0]) == _TOGETHER:
                self._pieces.append(small)
                small = ([], [])
        if small[0]:
            self._pieces.append(small)
        self._left = len(self._pieces)
        if not self._left:
            self._done.set()

    def run(self) -> None:
        """Copy what there is, and wait until all is in memory."""
        self._take()
        self._done.wait()
        if self._copied is not None:
            self._copied.synchronize()
        self._originals = ()
        if self._failed:
            raise RuntimeError("A tensor could not be copied; see the error before this one.")

    def settle(self) -> None:
        """Return when the originals may be changed."""
        self._take(all_cores=True)
        self._done.wait()
        if self._copied is not None:
            torch.cuda.current_stream(self._device).wait_event(self._copied)
        self.changed()

    def changed(self) -> list[str]:
        """Return which of the watched were changed between the beginning and the first call.

        Call it before anything else than a forward pass can have changed them.
        """
        with self._lock:
            if self._changed is None:
                self._changed = [n for n, tensor, was in self._watched if tensor._version != was]
                self._watched = []
            return self._changed

    def _add(self, buffer: torch.Tensor, tensor: torch.Tensor) -> None:
        if tensor.device.type == "cuda":
            if self._stream is None:
                self._stream = torch.cuda.Stream(tensor.device)
                self._stream.wait_stream(torch.cuda.current_stream(tensor.device))
                self._copied = torch.cuda.Event()
                self._device = tensor.device
            self._pieces.append(([buffer], [tensor]))
        elif tensor.device.type != "cpu" or tensor.is_conj() or tensor.is_neg():
            buffer.copy_(tensor)
        else:
            to, source = _array(buffer), _array(tensor)
            if not tensor.is_contiguous():
                self._pieces.append((to, source))
                return
            to, source = to.reshape(-1), source.reshape(-1)
            self._pieces.extend(
                (to[at : at + _PIECE], source[at : at + _PIECE]) for at in range(0, len(to), _PIECE)
            )

    def _take(self, *, all_cores: bool = False) -> None:
        try:
            while self._pieces:
                try:
                    to, source = self._pieces.popleft()
                except IndexError:  # the other one took the last
                    return
                if isinstance(to, np.ndarray):
                    assert isinstance(source, np.ndarray)
                    if all_cores:
                        torch.from_numpy(to).copy_(torch.from_numpy(source))
                    else:
                        np.copyto(to, source)
                elif self._stream is None:
                    assert isinstance(source, list)
                    # It has no public name.
                    torch._foreach_copy_(to, source)  # pyright: ignore[reportPrivateImportUsage]
                else:
                    with torch.cuda.stream(self._stream):
                        for buffer, tensor in zip(to, source, strict=True):
                            buffer.copy_(tensor, non_blocking=True)
                self._took()
        except BaseException:
            self._failed = True
            self._done.set()  # nobody may wait for what will not come
            raise

    def _took(self) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                if self._copied is not None:
                    self._copied.record(self._stream)
                self._done.set()


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return a CPU tensor's memory as integers: NumPy knows fewer dtypes, and a copy needs none."""
    return tensor.view(_SAME_SIZE[tensor.element_size()]).numpy()
