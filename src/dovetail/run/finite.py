"""Naming the tensor of a step that is not finite: outputs by layer, gradients by parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dovetail.definition.modes import ModeKeys
from dovetail.definition.optimizer import rate_at
from dovetail.errors import NanLossError
from dovetail.program.program import Program


class NotFinite(NanLossError):
    """A layer's output or a parameter's gradient is not finite; the message names it."""


class FiniteChecks:
    """Looks at every output and gradient of the training steps inside a `with` block.

    It is slow: each look waits for the device, and steps are not compiled, since in a compiled one
    there are no layers to look at. With fp16 gradients are not looked at: the scale of the loss is
    found by steps whose gradients are not finite.

    Args:
      program: built.

    Raises:
      NotFinite: from the step, before its update: a NanLossError that names the layer or
        parameter, with shape, numbers of values, the range of its input, and what to do.

    Example:
      >>> import dovetail
      >>> def model_fn(features, labels, mode):
      ...     h = dovetail.layers.layer(nn.Linear, 1, 1, name="head")(features).exp()
      ...     return dovetail.EstimatorSpec(
      ...         mode, h, h.mean(), dovetail.optimizers.SGD(0.1).minimize(h.mean())
      ...     )
      >>> program = dovetail.build(model_fn, example=(torch.ones(2, 1), None), device="cpu")
      >>> with FiniteChecks(program) as checks:
      ...     program.before_update = checks.before_update
      ...     try:
      ...         output = program.train_step(torch.tensor([[1.0], [torch.nan]]), None)
      ...     except NotFinite as error:
      ...         print(str(error)[:84])
      At step 1 the first that is not finite was the input of layer 'head' (Linear), of sh
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._handles: list[RemovableHandle] = []
        self._execution = program.execution

    def __enter__(self) -> FiniteChecks:
        self._execution, self.program.execution = self.program.execution, "eager"
        for name, module in self.program.network.named_modules():
            if name:
                self._handles.append(
                    module.register_forward_hook(self._hook(name), with_kwargs=True)
                )
        return self

    def __exit__(self, *_: object) -> None:
        self.program.execution = self._execution
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, name: str) -> Any:
        def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if module.training or self.program.network.mode == ModeKeys.TRAIN:
                text = bad_output(name, module, (args, kwargs), output)
                if text is not None:
                    raise self._error(text)

        return look

    def before_update(self, loss: Tensor) -> None:
        """Look at the loss and all gradients of a step, before they are applied.

        Raises:
          NotFinite: one is not finite.
        """
        program = self.program
        if not bool(torch.isfinite(loss)):
            raise self._error(
                f"the loss, {loss.item()}, while every layer's output is finite: it comes about "
                "in the loss's own computation"
            )
        if program.precision == "fp16":
            return
        # The backward pass goes from the last layer to the first, and so does what is not finite.
        for name, parameter in reversed(list(program.network.named_parameters())):
            gradient = parameter.grad
            if gradient is not None and not bool(torch.isfinite(gradient).all()):
                raise self._error(f"the gradient of '{name}', {described(gradient)}")

    def _error(self, text: str) -> NotFinite:
        step = self.program.global_step + 1
        return NotFinite(
            f"At step {step} the first that is not finite was {text}. {cure(self.program)}", step
        )


@contextmanager
def first_bad(network: nn.Module) -> Iterator[list[str]]:
    """Note the first output inside the `with` block that is not finite, in a list of one text."""
    found: list[str] = []

    def hook(name: str) -> Any:
        def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if not found:
                text = bad_output(name, module, (args, kwargs), output)
                if text is not None:
                    found.append(text)

        return look

    handles = [
        module.register_forward_hook(hook(name), with_kwargs=True)
        for name, module in network.named_modules()
        if name
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def bad_output(name: str, module: nn.Module, inputs: Any, output: Any) -> str | None:
    """Describe a module's output if it is not finite; None if it is."""
    for _, tensor in looked_at(output, "output"):
        if bool(torch.isfinite(tensor.detach()).all()):
            continue
        given = [t.detach() for _, t in looked_at(inputs, "input")]
        of = f"layer '{name}' ({type(module).__name__})"
        for one in given:
            if not bool(torch.isfinite(one).all()):
                return (
                    f"the input of {of}, {described(one)}: it came about between the layers "
                    "before it, or in the batch"
                )
        ranges = "; its input, " + ", and ".join(described(one) for one in given) if given else ""
        return f"the output of {of}, {described(tensor)}{ranges}"
    return None


def described(tensor: Tensor) -> str:
    """Return shape, type, range of what is finite, and how much is not, as words.

    >>> described(torch.tensor([1.0, 3.0, torch.inf, torch.nan]))
    'of shape [4] in float32: 1 nan and 1 inf of 4 values, the rest from 1 to 3'
    """
    tensor = tensor.detach()
    kind = str(tensor.dtype).removeprefix("torch.")
    nan, inf = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    finite = tensor[torch.isfinite(tensor)]
    spread = ""
    if finite.numel() and not finite.is_complex():
        spread = f"from {float(finite.min()):.4g} to {float(finite.max()):.4g}"
    start = f"of shape {list(tensor.shape)} in {kind}"
    if not nan and not inf:
        return f"{start}, {spread}" if spread else start
    counts = " and ".join(f"{n} {what}" for n, what in ((nan, "nan"), (inf, "inf")) if n)
    rest = f", the rest {spread}" if spread else ""
    return f"{start}: {counts} of {tensor.numel()} values{rest}"


def cure(program: Program) -> str:
    """Say what the optimizer is, and what about it may help."""
    texts = []
    for name, op in program.statics(ModeKeys.TRAIN).train_ops.items():
        optimizer = op.optimizer
        clipping = ("clip_norm", "clip_value", "clip_each")
        clipped = any(getattr(optimizer, name, None) is not None for name in clipping)
        of = f" of '{name}'" if name != "optimizer" else ""
        advice = "lower the rate" if clipped else "lower the rate, or give it clip_norm=1.0"
        rate = rate_at(optimizer.learning_rate, program.global_step)
        shown = f" at learning rate {rate:.4g}" if rate is not None else ""
        texts.append(
            f"The optimizer{of} is {type(optimizer).__name__}{shown}, "
            f"{'with' if clipped else 'without'} clipping: {advice}."
        )
    if program.precision == "fp16":
        texts.append("float16 ends at 65,504: precision='bf16' has the range of float32.")
    return " ".join(texts)


def looked_at(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of floating point within a value, with the way to them."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from looked_at(item, f"{name}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from looked_at(item, f"{name}[{index}]")
