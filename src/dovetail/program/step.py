"""One train step: a list of parts, their weighted gradients, one update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.definition.optimizer import Optimizer
from dovetail.definition.optimizers import clip_gradients, set_learning_rates
from dovetail.definition.param_groups import select
from dovetail.errors import DefinitionError
from dovetail.layers.keras.layer import KerasLayer
from dovetail.program import direct_calls
from dovetail.program.averaging import Averages
from dovetail.program.loss_scale import LossScale
from dovetail.program.network import Minimized, Network
from dovetail.program.workers import Workers, several


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of the global batch, on the device.

    Attributes:
      features, labels: as model_fn takes them.
      examples: how many there are: what the part's loss counts for by default.
      number: its place among the parts of all workers, from which its randomness is derived; None:
        that in the list, one of each worker after the other.
    """

    features: Any
    labels: Any
    examples: int
    number: int | None = None


@dataclass(eq=False)
class Optimizers:
    """The live optimizers of a program, in the order in which they step.

    Attributes:
      described: name -> the description that each was made from.
      torch: name -> the torch optimizer.
      parameters: name -> the (name, parameter) pairs that each updates.
      keys: name -> the parameters, in order, whose gradients model_fn gives itself; else None.
      whole: whether there is one optimizer for all parameters, so that a plain backward pass
        gives just the gradients it needs.
      workers: what puts the gradients of several workers together.
      constraints: parameters, and what brings their values back to a constraint after an update.
      learning_rate: the base rate of the first one at its last step.
    """

    described: Mapping[str, Optimizer]
    torch: Mapping[str, torch.optim.Optimizer]
    parameters: Mapping[str, list[tuple[str, nn.Parameter]]]
    keys: Mapping[str, list[nn.Parameter] | None]
    whole: bool
    workers: Workers
    constraints: list[tuple[nn.Parameter, Callable[[Tensor], Tensor]]]
    learning_rate: float = float("nan")

    @staticmethod
    def make(train_ops: Mapping[str, Minimized], network: Network) -> Optimizers:
        """Make torch's optimizers from what TRAIN mode's first call described."""
        parameters: dict[str, list[Any]] = {}
        named = dict(network.named_parameters())
        frozen = [name for name, p in named.items() if not p.requires_grad]
        keys: dict[str, list[nn.Parameter] | None] = {}
        for name, op in train_ops.items():
            keys[name] = None
            wanted = op.var_list
            if op.given_gradients is not None:
                given = [_held(name, key, named) for key in op.given_gradients]
                keys[name], wanted = given, [p for p in given if p.requires_grad]
            chosen = select(named.items(), wanted)
            parameters[name] = [(name, p) for name, p in chosen if p.requires_grad]
            if not parameters[name] and frozen:
                raise DefinitionError(
                    f"train_op '{name}' updates parameters none of which is trained: "
                    f"{', '.join(frozen[:10])}. Leave some out of freeze, or drop the train_op."
                )
        _check_disjoint(parameters)
        return Optimizers(
            described={name: op.optimizer for name, op in train_ops.items()},
            torch={
                name: op.optimizer.build(parameters[name], frozen) for name, op in train_ops.items()
            },
            parameters=parameters,
            keys=keys,
            whole=len(train_ops) == 1
            and all(
                op.var_list is None and op.given_gradients is None for op in train_ops.values()
            ),
            workers=Workers({n: p for pairs in parameters.values() for n, p in pairs}),
            constraints=[
                (parameter, constraint)
                for module in network.modules()
                if isinstance(module, KerasLayer)
                for parameter, constraint in module.constraints()
                if parameter.requires_grad
            ],
        )


def _check_disjoint(parameters: Mapping[str, list[tuple[str, nn.Parameter]]]) -> None:
    owner: dict[str, str] = {}
    for op, named in parameters.items():
        for name, _ in named:
            if name in owner:
                raise DefinitionError(
                    f"train_ops '{owner[name]}' and '{op}' both update '{name}'. With several "
                    "optimizers each needs parameters of its own: "
                    "minimize(loss, var_list=['generator.*'])."
                )
            owner[name] = op


def _held(name: str, key: Any, named: Mapping[str, nn.Parameter]) -> nn.Parameter:
    if isinstance(key, str) and key in named:
        return named[key]
    for parameter in named.values():
        if parameter is key:
            return parameter
    what = f"'{key}'" if isinstance(key, str) else f"a tensor of shape {list(key.shape)}"
    raise DefinitionError(
        f"train_op '{name}': apply_gradients got a gradient for {what}, which is no parameter of "
        f"the program. Its parameters are: {', '.join(named)}."
    )


def train_parts(
    forward: Callable[[int, Part], dict[str, Any]],
    parts: list[Part],
    network: nn.Module,
    optimizers: Optimizers,
    step: int,
    before_update: Callable[[Tensor], None] | None = None,
    scale: LossScale | None = None,
    averages: Averages | None = None,
) -> dict[str, Any]:
    """Run the parts forward and backward and apply their weighted gradients once.

    The gradient of the step is sum(w_p g_p) / sum(w_p), w_p being part p's `loss_weight` (its
    number of examples by default), and sum(g_p) for `loss_weight="sum"`: what one batch of all
    parts would give. Where torch.distributed has a group, they are summed over its workers too.

    Args:
      before_update: called with the step's loss when the gradients are there, before they are
        clipped and applied; what it raises leaves the parameters as they were.
      scale: of the loss, in fp16: gradients are brought back to their own before they are clipped,
        and an update by gradients that are not finite is left out.
      averages: of the parameters, to be brought up to date after the update.

    Returns:
      The last part's tensors, with `loss` put together over all parts by the same weights.
    """
    for optimizer in optimizers.torch.values():
        direct_calls.forget_gradients(optimizer)
    if len(parts) == 1 and not several():
        output = forward(parts[0].number or 0, parts[0])
        _backward(output, optimizers, None, scale)
    else:
        output = _weighted(forward, parts, network, optimizers, scale)
    if before_update is not None:
        before_update(output["loss"])
    for name, optimizer in optimizers.torch.items():
        described = optimizers.described[name]
        if scale is not None:
            scale.unscaled(optimizer)
        if described.clip_norm is not None or described.clip_value is not None:
            clip_gradients(described, [p for _, p in optimizers.parameters[name]])
        rate = set_learning_rates(described, optimizer, step)
        if name == next(iter(optimizers.torch)):
            optimizers.learning_rate = rate
    for optimizer in optimizers.torch.values():
        if scale is None:
            direct_calls.update(optimizer)
        else:
            scale.applied(optimizer)
    if optimizers.constraints:
        with torch.no_grad():
            for parameter, constraint in optimizers.constraints:
                parameter.copy_(constraint(parameter))
    if scale is not None:
        scale.update()
        output |= scale.measures()
    if averages is not None:
        averages.update()
    return output


def _weighted(
    forward: Callable[[int, Part], dict[str, Any]],
    parts: list[Part],
    network: nn.Module,
    optimizers: Optimizers,
    scale: LossScale | None,
) -> dict[str, Any]:
    workers = optimizers.workers if several() else None
    total: Any = 0
    loss: Any = 0
    summed = False
    output: dict[str, Any] = {}
    for index, part in enumerate(parts):
        number = workers.number(index) if workers is not None else index
        output = forward(number if part.number is None else part.number, part)
        weight, summed = _weight(output, part, network)
        _backward(output, optimizers, weight, scale)
        total = total + weight
        loss = loss + output["loss"].detach() * weight
    if workers is not None:
        loss = workers.combine(loss, total, summed=summed)
    elif not summed:
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        for gradient in gradients:
            gradient.div_(total)
        loss = loss / total
    output["loss"] = loss
    return output


def _weight(output: Mapping[str, Any], part: Part, network: nn.Module) -> tuple[Any, bool]:
    if "loss_weight" in output:
        return output["loss_weight"].detach(), False
    assert isinstance(network, Network)
    stated = network.statics[network.mode].loss_weight
    if stated == "sum":
        return 1.0, True
    return (part.examples if stated is None else stated), False


def _backward(
    output: Mapping[str, Any], optimizers: Optimizers, weight: Any, scale: LossScale | None
) -> None:
    """Add this part's gradients, times the scale of the loss if it has one, to the parameters'."""
    losses: Mapping[str, Tensor] = output.get("train_losses", {})
    if optimizers.whole:
        (loss,) = losses.values()
        loss = loss if weight is None else loss * weight
        direct_calls.backward(loss if scale is None else scale.scale(loss))
        return
    # Each optimizer takes the gradients of its own loss and parameters, all before any steps.
    given: list[tuple[nn.Parameter, Tensor]] = []
    for position, (name, loss) in enumerate(losses.items()):
        parameters = [p for _, p in optimizers.parameters[name]]
        gradients = torch.autograd.grad(
            loss if scale is None else scale.scale(loss),
            parameters,
            retain_graph=position + 1 < len(losses),
            allow_unused=True,
        )
        given.extend((p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None)
    for name, gradients in output.get("gradients", {}).items():
        keys = optimizers.keys[name]
        assert keys is not None
        for parameter, gradient in zip(keys, gradients, strict=True):
            if gradient is not None:
                given.append((parameter, gradient if scale is None else scale.scale(gradient)))
    for parameter, gradient in given:
        gradient = gradient.detach()
        scaled = gradient if weight is None else gradient * weight
        parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled
