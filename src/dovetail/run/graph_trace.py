"""What a model does in one step: its operations, in its modules, and what flows between them.

One forward pass is watched at the level of torch's functions (`relu`, `conv2d`, `cross_entropy`),
as the definition calls them: it is run, so that any Python is followed, and nothing is compiled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from dovetail.definition.modes import ModeKeys
from dovetail.program.batches import as_tensors
from dovetail.program.program import Program
from dovetail.program.randomness import seeded

LARGEST = 10_000
"""How many operations are shown; a larger graph can't be looked at."""


@dataclass(frozen=True)
class Node:
    """One box of the graph.

    Attributes:
      name: its path, of the modules that it is in.
      op: what it is: a torch function, "Parameter", "Buffer", "Input", "Output", ...
      inputs: the names of the nodes that flow into it.
      shapes: of the tensors that it gives.
      dtype: of the first of them.
      note: what else it says of itself.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    dtype: str = ""
    note: str = ""


def graph_of(program: Program, features: Any, labels: Any = None) -> list[Node]:
    """Return the graph of a program's training step, in the order of its operations.

    It costs one forward pass, of which nothing remains. Where that fails, which the first step
    will tell of better, or is too large to look at, it is the tree of the modules.

    Args:
      program: built in TRAIN mode.
      features, labels: a batch as its steps take it.

    Example:
      >>> import torch, dovetail
      >>> def model_fn(features, labels, mode, params):
      ...     output = dovetail.layers.fully_connected(features, 1, activation_fn=torch.tanh)
      ...     loss = torch.mean((output - labels) ** 2)
      ...     return dovetail.EstimatorSpec(
      ...         mode, output, loss, dovetail.optimizers.SGD(0.1).minimize(loss))
      >>> batch = torch.ones(4, 2), torch.ones(4, 1)
      >>> program = dovetail.build(model_fn, example=batch, device="cpu")
      >>> [(node.name, node.inputs) for node in graph_of(program, *batch)][-2:]
      [('loss', ('mean',)), ('train/optimizer', ('loss',))]
    """
    try:
        return _traced(program, features, labels)
    except Exception:
        return tree_of(program.network)


def tree_of(network: nn.Module) -> list[Node]:
    """Return the modules of a network, each with its own parameters and buffers flowing in."""
    nodes: list[Node] = []
    for path, module in network.named_modules():
        own = [_state(path, n, p, "Parameter") for n, p in module.named_parameters(recurse=False)]
        own += [_state(path, n, b, "Buffer") for n, b in module.named_buffers(recurse=False)]
        nodes += own
        kind = type(module).__name__
        if path:
            inputs = tuple(node.name for node in own)
            nodes.append(Node(f"{_slashed(path)}/{kind}", kind, inputs, note=module.extra_repr()))
    return nodes


def _traced(program: Program, features: Any, labels: Any) -> list[Node]:
    network = program.network
    features = as_tensors(features, program.device, "features")
    labels = as_tensors(labels, program.device, "labels")
    watch = _Watch(network)
    watch.give("features", features)
    watch.give("labels", labels)
    with _nothing_remains(network), seeded(program.seed), program.precise():
        network.mode, network.summary_step = ModeKeys.TRAIN, True
        network.train(True)
        with watch.modules(), watch:
            output = network(features, labels)
    watch.take("predictions", output.get("predictions"))
    watch.take("loss", output.get("loss"))
    for name, op in program.statics(ModeKeys.TRAIN).train_ops.items():
        losses = output.get("train_losses", {})
        inputs = watch.producers(losses.get(name, ())) if output.get("loss") is None else ("loss",)
        note = f"{sum(p.requires_grad for p in network.parameters())} trained parameters"
        watch.nodes.append(Node(f"train/{name}", type(op.optimizer).__name__, inputs, note=note))
    return watch.nodes


@contextlib.contextmanager
def _nothing_remains(network: Any) -> Iterator[None]:
    """Put a network's mode, its buffers and its frozen parameters back on leaving."""
    mode, summary, training = network.mode, network.summary_step, network.training
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    # Keras keeps moving statistics and seeds in parameters that are not trained; they are vectors.
    # Frozen weights, which no forward pass changes, may be too large for a second copy.
    kept = [p for p in network.parameters() if not p.requires_grad and p.dim() <= 1]
    frozen = [(parameter, parameter.detach().clone()) for parameter in kept]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, first in buffers:
                buffer.copy_(first)
                module._buffers[name] = buffer  # a module may have put another in its place
            for parameter, first in frozen:
                parameter.copy_(first)
        network.mode, network.summary_step = mode, summary
        network.train(training)


@dataclass
class _Scope:
    path: str
    calls: dict[str, int] = field(default_factory=dict)


class _Watch(TorchFunctionMode):
    """Takes down every torch function that is called, and in which module."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._network = network
        self._paths = {id(module): path for path, module in network.named_modules()}
        self._scopes = [_Scope("")]
        self._names: dict[str, int] = {}
        # tensor -> the name of the node that it came from; it keeps no tensor alive
        self._from: Any = WeakTensorKeyDictionary()
        self._held: dict[int, Node] = {}
        for op, held in (
            ("Buffer", network.named_buffers(remove_duplicate=False)),
            ("Parameter", network.named_parameters(remove_duplicate=False)),
        ):
            for name, tensor in held:
                path, _, last = name.rpartition(".")
                self._held[id(tensor)] = _state(path, last, tensor, op)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # Taken before the call, which may change a tensor in its place.
        given = args, kwargs or {}
        inputs = self.producers(given)
        output = func(*args, **given[1])
        name = _name(func)
        made = list(_tensors(output)) or (list(_tensors(args[:1])) if _in_place(name) else [])
        if made:
            node = self._add(name.strip("_"), inputs, made, _literals(given))
            for tensor in made:
                self._from[tensor] = node
        return output

    def give(self, name: str, value: Any) -> None:
        """Take down tensors that come from outside, under their names."""
        if isinstance(value, Tensor):
            self._from[value] = self._add(name, (), [value], op="Input")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self.give(f"{name}/{key}", item)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                self.give(f"{name}/{index}", item)

    def take(self, name: str, value: Any) -> None:
        """Take down tensors that are results, under their names."""
        if isinstance(value, Mapping):
            for key, item in value.items():
                self.take(f"{name}/{key}", item)
        elif isinstance(value, Tensor):
            self._add(name, self.producers(value), [value], op="Output")

    def producers(self, value: Any) -> tuple[str, ...]:
        """Return the names of the nodes that the tensors in a value come from."""
        return tuple(dict.fromkeys(self._producer(tensor) for tensor in _tensors(value)))

    @contextlib.contextmanager
    def modules(self) -> Iterator[None]:
        """Follow which module is called."""
        entered = nn_module.register_module_forward_pre_hook(self._enter)
        left = nn_module.register_module_forward_hook(self._leave)
        try:
            yield
        finally:
            entered.remove()
            left.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        here = self._scopes[-1]
        path = self._paths.get(id(module))
        if path is None:  # a module without parameters, that the program does not hold
            kind = type(module).__name__.lower()
            path = f"{here.path}.{kind}".strip(".")
        number = here.calls[path] = here.calls.get(path, 0) + 1
        self._scopes.append(_Scope(path if number == 1 else f"{path}-call{number}"))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._scopes.pop()

    def _producer(self, tensor: Tensor) -> str:
        found = self._from.get(tensor)
        if found is not None:
            return found
        held = self._held.get(id(tensor))
        if held is None:
            return self._remember(tensor, self._add("constant", (), [tensor], op="Constant"))
        self.nodes.append(held)
        return self._remember(tensor, held.name)

    def _remember(self, tensor: Tensor, name: str) -> str:
        self._from[tensor] = name
        return name

    def _add(
        self, name: str, inputs: tuple[str, ...], made: list[Tensor], note: str = "", op: str = ""
    ) -> str:
        if len(self.nodes) >= LARGEST:
            raise OverflowError(f"more than {LARGEST} operations")
        scope = _slashed(self._scopes[-1].path)
        full = f"{scope}/{name}" if scope else name
        number = self._names.get(full, 0)
        self._names[full] = number + 1
        unique = full if number == 0 else f"{full}-{number}"
        shapes = tuple(tuple(tensor.shape) for tensor in made)
        self.nodes.append(Node(unique, op or name, inputs, shapes, _dtype(made[0]), note))
        return unique


def _state(path: str, name: str, tensor: Tensor, op: str) -> Node:
    full = f"{_slashed(path)}/{name}" if path else name
    return Node(full, op, (), (tuple(tensor.shape),), _dtype(tensor))


def _slashed(path: str) -> str:
    return path.replace(".", "/")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _name(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":  # an attribute, such as x.T
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return name


def _in_place(name: str) -> bool:
    return name == "__setitem__"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)


def _literals(given: tuple[Any, Mapping[str, Any]]) -> str:
    """Return the arguments that are no tensors, as text."""
    args, kwargs = given
    shown = [repr(value) for value in args if _is_literal(value)]
    shown += [f"{name}={value!r}" for name, value in kwargs.items() if _is_literal(value)]
    return ", ".join(shown)[:200]


def _is_literal(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_literal(item) for item in value)
    return isinstance(value, (bool, int, float, str, torch.dtype))
