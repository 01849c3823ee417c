"""What a step asks of torch, without what torch's own calls do for those who look on.

`zero_grad` and `step` of an optimizer each open a record for the profiler, whether one runs or
not, and `backward` prepares for tensors of other kinds. That is a fifth of a small step. Where
nobody looks on, the same work is called directly; elsewhere torch's own methods are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import _profiler_enabled  # pyright: ignore[reportPrivateImportUsage] (no other)
from torch.autograd.graph import _engine_run_backward
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.overrides import has_torch_function_unary

# What torch puts around the `step` of every optimizer's class: the record, and hooks.
_AROUND_STEP = Optimizer.profile_hook_step(lambda: None).__code__


def forget_gradients(optimizer: Optimizer) -> None:
    """Do as `optimizer.zero_grad()` does."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:
        optimizer.zero_grad(set_to_none=True)
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def backward(loss: Tensor) -> None:
    """Do as `loss.backward()` does, for a loss of shape []."""
    if has_torch_function_unary(loss) or not loss.is_floating_point():
        loss.backward()
        return
    _engine_run_backward(
        (loss,),
        (torch.ones_like(loss),),
        False,
        False,
        (),
        allow_unreachable=True,
        accumulate_grad=True,
    )


def update(optimizer: Optimizer) -> None:
    """Do as `optimizer.step()` does."""
    step = type(optimizer).step
    if (
        getattr(step, "__code__", None) is not _AROUND_STEP
        or "step" in vars(optimizer)  # where torch's schedulers put one that counts
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or _profiler_enabled()
    ):
        optimizer.step()
    else:
        step.__wrapped__(optimizer)
