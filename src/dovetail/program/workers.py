"""A train step over several workers: their gradients, losses and weights put together."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dovetail.errors import DefinitionError


def several() -> bool:
    """Whether this process is one of several workers: torch.distributed's default group.

    >>> several()
    False
    """
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class Workers:
    """What the workers of a step share: the parameters that they train, in one order.

    The program sums over workers itself, after the backward pass, and not by the hooks of
    DistributedDataParallel: those don't see gradients of the user's own autograd.grad, and they
    average workers alike, however much each one's loss counts for. Parameters that FSDP shards
    have been averaged in the backward pass; they are brought to the same weights.

    Buffers, such as the statistics of batch normalisation, are each worker's own.

    Args:
      parameters: name -> parameter, of all optimizers.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(sorted(parameters.items()))
        self._agreed_in: weakref.ref[Any] | None = None  # not to keep a group alive
        self._present: Tensor | None = None

    def number(self, index: int) -> int:
        """Return a part's number among all workers' parts, from its place in this worker's list.

        Each part has another one, however many parts each worker has.
        """
        return index * dist.get_world_size() + dist.get_rank()

    @torch.no_grad()
    def combine(self, loss: Tensor, total: Tensor | float, *, summed: bool) -> Tensor:
        """Replace each parameter's gradient by that of all workers' parts together.

        It is sum(w_p g_p) / sum(w_p), or sum(g_p), over the parts p of all workers. It takes one
        all_reduce for each dtype. A parameter that has no gradient on this worker gets the
        others'; if none has one, it stays without. Only a worker that lacks one waits for the
        device.

        Args:
          loss: sum(w_p l_p) over this worker's parts, shape [].
          total: sum(w_p) over this worker's parts.
          summed: whether the parts add up, so that nothing is divided.

        Returns:
          The loss over all workers' parts, by the same weights, shape [].

        Raises:
          DefinitionError: the workers don't train the same parameters, or a gradient is sparse.
          RuntimeError: torch's, where another worker is gone. No parameter has changed by then;
            after destroying the group, or making another, a step can be taken again.
        """
        self._agree()
        plain = {n: p for n, p in self.parameters.items() if not _is_sharded(p)}
        missing = [name for name, parameter in plain.items() if parameter.grad is None]
        head = self._head(loss, total, plain, missing)
        pieces: dict[torch.dtype, list[Tensor]] = {head.dtype: [head]}
        for name, parameter in plain.items():
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            if gradient.is_sparse:
                raise DefinitionError(
                    f"'{name}' has a sparse gradient, which is not summed over workers. Make its "
                    "layer with sparse=False."
                )
            pieces.setdefault(gradient.dtype, []).append(gradient)
        flats = _all_reduced(pieces.values())
        head, flats[0] = flats[0][: len(head)], flats[0][len(head) :]
        loss, total = head[0], head[1]
        if not summed:
            loss = loss / total
            for flat in flats:
                flat.div_(total)
        self._give(plain, dict(zip(pieces, flats, strict=True)), missing, head)
        for parameter in self.parameters.values():
            gradient: Any = parameter.grad
            if _is_sharded(parameter) and gradient is not None:
                workers = gradient.device_mesh.size()  # whose mean the backward pass took
                gradient.to_local().mul_(workers if summed else workers / total)
        return loss

    def _head(
        self,
        loss: Tensor,
        total: Tensor | float,
        plain: Mapping[str, nn.Parameter],
        missing: list[str],
    ) -> Tensor:
        """Return loss, weight, and for each parameter whether this worker has its gradient."""
        dtype = torch.promote_types(loss.dtype, torch.float32)
        if not isinstance(total, Tensor):
            total = torch.full((), float(total), dtype=dtype, device=loss.device)
        if self._present is None or self._present.dtype != dtype:
            self._present = torch.ones(len(plain), dtype=dtype, device=loss.device)
        present = self._present
        if missing:
            there = [float(parameter.grad is not None) for parameter in plain.values()]
            present = torch.tensor(there, dtype=dtype, device=loss.device)
        return torch.cat([loss.detach().to(dtype).reshape(1), total.to(dtype).reshape(1), present])

    def _give(
        self,
        plain: Mapping[str, nn.Parameter],
        flats: Mapping[torch.dtype, Tensor],
        missing: list[str],
        head: Tensor,
    ) -> None:
        counts = dict(zip(plain, head[2:].tolist(), strict=True)) if missing else {}
        starts = dict.fromkeys(flats, 0)
        for name, parameter in plain.items():
            start = starts[parameter.dtype]
            starts[parameter.dtype] = start + parameter.numel()
            if parameter.grad is None and not counts[name]:
                continue
            piece = flats[parameter.dtype][start : start + parameter.numel()]
            found = piece.view(parameter.shape)
            if not parameter.is_contiguous():  # an optimizer is quickest where they lie alike
                found = torch.empty_like(parameter).copy_(found)
            parameter.grad = found

    def _agree(self) -> None:
        """Compare what the workers train, once for each group: unlike sums would be silent."""
        group = dist.group.WORLD
        if self._agreed_in is not None and self._agreed_in() is group:
            return
        mine = {n: f"{list(p.shape)} {p.dtype}" for n, p in self.parameters.items()}
        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, mine)
        for rank, theirs in enumerate(everyone):
            odd = [n for n in sorted({*mine, *theirs}) if mine.get(n) != theirs.get(n)]
            if odd:
                name = odd[0]
                raise DefinitionError(
                    f"Worker {rank} does not train what worker {dist.get_rank()} does: '{name}' is "
                    f"{theirs.get(name, 'not there')} there and {mine.get(name, 'not there')} "
                    "here. Every worker must build the same definition with the same params."
                )
        self._agreed_in = weakref.ref(group)


def _is_sharded(parameter: Tensor) -> bool:
    return hasattr(parameter, "device_mesh")  # a DTensor, without its import


def _all_reduced(pieces: Iterable[list[Tensor]]) -> list[Tensor]:
    flats = [torch.cat([tensor.reshape(-1) for tensor in tensors]) for tensors in pieces]
    for work in [dist.all_reduce(flat, async_op=True) for flat in flats]:
        assert work is not None
        work.wait()
    return flats
