"""A Keras layer or model as one torch module of a program."""

from __future__ import annotations

import contextlib
import copy
import re
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.errors import DefinitionError, DovetailError
from dovetail.layers.keras.building import build
from dovetail.layers.keras.copying import copied
from dovetail.layers.keras.objects import (
    describe_keras,
    is_keras_layer,
    never_has_state,
    require_torch_backend,
    trains_unless_told,
)
from dovetail.layers.keras.random import take_generators
from dovetail.layers.keras.settings import settings_now, settings_set
from dovetail.layers.keras.variables import Bound, KerasGroup, bind, device_of, point, unbound
from dovetail.layers.store import Store, current_frame, in_call


class KerasLayer(KerasGroup):
    """Calls a Keras layer, and holds its variables by readable names.

    `training` follows the mode of the program. In evaluation and prediction nothing that the layer
    assigns to its variables stays, not even where a call pins `training=True`.

    Args:
      given: a Keras layer or model, on the torch backend.

    Attributes:
      given: the Keras object.
    """

    def __init__(self, given: Any) -> None:
        require_torch_backend(describe_keras(given))
        super().__init__()
        self.root: list[Store] = []  # its owner's, once it is made
        self._settings = settings_now()  # those that it was made with
        self._open = True  # whether variables may still appear
        self._hidden = (given,)  # in a tuple: Keras layers are torch modules, with other names
        self._known: set[int] = set()
        self._bound: list[Bound] = []
        self._parts: tuple[Any, ...] = ()
        self._penalised: tuple[Any, ...] = ()
        self._finalised: tuple[Any, ...] = ()
        self._told = False  # whether it must be told that it is not in training
        self._take()

    @property
    def given(self) -> Any:
        return self._hidden[0]

    def extra_repr(self) -> str:
        return describe_keras(self.given)

    def __deepcopy__(self, memo: dict[int, Any]) -> KerasLayer:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        given = copied(self.given, memo)
        state = {key: value for key, value in vars(self).items() if key not in _REMADE}
        vars(twin).update(copy.deepcopy(state, memo))
        twin._hidden = (given,)
        twin._known = set()
        twin._known.update(id(variable) for variable, *_ in twin._bound)
        twin._look()
        return twin

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.training and torch.compiler.is_dynamo_compiling():
            return self._untraced(*args, **kwargs)
        return self._call(*args, **kwargs)

    @torch.compiler.disable
    def _untraced(self, *args: Any, **kwargs: Any) -> Any:
        # In training Keras draws seeds and moves statistics in ways that break the tracing.
        return self._call(*args, **kwargs)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if self._settings is not None and self._settings != settings_now():
            with settings_set(self._settings):
                return self._called(args, kwargs)
        return self._called(args, kwargs)

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            if self._open:
                self._complete(args, kwargs)
            point(self._bound)
            if self._finalised:
                self._finalise()
            if self.training or self._told:
                # Keras lets False win over what the calls within a model pin; unsaid, they stand.
                kwargs.setdefault("training", self.training)
            with self._on_device(args):
                output = self._trained(args, kwargs) if self.training else self._kept(args, kwargs)
        except (ValueError, TypeError) as error:
            if isinstance(error, DovetailError):
                raise
            raise DefinitionError(
                f"{describe_keras(self.given)} can't be called with "
                f"{_shapes(args, kwargs)}: {_BOLD.sub('', str(error))}"
            ) from error
        if self._open:
            self._take()
            self._open = not self._sealed or any(map(_may_make_variables, self._parts))
        return output

    @property
    def _sealed(self) -> bool:
        return bool(self.root) and self.root[0].sealed

    def _trained(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._losses()  # of calls that failed, or were the user's own
        output = self.given(*args, **kwargs)
        losses = self._losses()
        if losses or self._penalised:
            self._collect(losses)
        return output

    def _losses(self) -> list[Tensor]:
        """Take out the losses that the layers have added."""
        losses: list[Tensor] = []
        for part in self._parts:
            if part._losses:
                losses.extend(part._losses)
                part._losses.clear()
                part._loss_ids.clear()
        return losses

    def _kept(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        keras: Any = sys.modules["keras"]
        scope = keras.StatelessScope(collect_losses=True, initialize_variables=False)
        with scope:
            output = self.given(*args, **kwargs)
        if scope.losses:
            for part in self._parts:
                part._loss_ids.clear()
        if scope.losses or self._penalised:
            self._collect(scope.losses)
        return output

    def _collect(self, losses: list[Tensor]) -> None:
        """Add this call's losses to the model_fn's, and the weights' penalties once."""
        penalties = [v.regularizer(v) for v in self._penalised if v.trainable]
        if not in_call():
            return
        frame = current_frame()
        frame.regularization.extend(losses)
        key = f"keras {id(self)}"
        if key not in frame.regularized:
            frame.regularized.add(key)
            frame.regularization.extend(penalties)

    def constraints(self) -> list[tuple[nn.Parameter, Callable[[Tensor], Tensor]]]:
        """Return the weights with a constraint, and what brings their values back to it.

        Keras' optimizers do so after each update.
        """

        def within(constraint: Any) -> Callable[[Tensor], Tensor]:
            def constrained(value: Tensor) -> Tensor:
                with self._on_device((value,)):
                    return constraint(value)

            return constrained

        return [
            (module._parameters[key], within(variable.constraint))  # pyright: ignore[reportReturnType]
            for variable, module, where, key in self._bound
            if where == "_parameters" and getattr(variable, "constraint", None) is not None
        ]

    def _complete(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make the variables that the layer does not have yet."""
        given = self.given
        if not any(map(_may_make_variables, self._parts)) or (given.built and self._sealed):
            return
        if self._sealed:
            raise DefinitionError(
                f"{describe_keras(given)} is called for the first time in a program that is built "
                "already, so it has no variables. Call it in TRAIN mode too, or build it outside: "
                f"{given.name}.build(input_shape)."
            )
        training = {"training": self.training} if "training" not in kwargs else {}
        point(self._bound)
        build(given, args, {**kwargs, **training})
        self._take()

    def _take(self) -> None:
        """Take up the variables, seed generators and losses that the layer has now."""
        if self._parts and not unbound(self.given, self._known):
            return
        if self._sealed:
            raise DefinitionError(
                f"{describe_keras(self.given)} made new variables in a program that is built "
                "already: a layer within it was not called in TRAIN mode. Call it there too."
            )
        with torch.no_grad():
            self._bound.extend(bind(self, self.given, self._known))
            root = self.root[0] if self.root else None  # else who makes this layer does the rest
            if root is not None and root.device is not None:
                self.to(root.device)
            if root is not None and not root.sealed:
                noted = {(id(module), key) for module, key, _, _ in root.fresh_buffers}
                root.fresh_buffers.extend(
                    (module, key, buffer, buffer.detach().clone())
                    for module in self.modules()
                    for key, buffer in module._buffers.items()
                    if buffer is not None and (id(module), key) not in noted
                )
        self._look()

    def _look(self) -> None:
        take_generators(self.given)
        self._parts = tuple(self.given._flatten_layers())
        self._penalised = tuple(v for v, *_ in self._bound if v.regularizer is not None)
        self._told = any(trains_unless_told(part) for part in self._parts)
        # keras.layers.Normalization computes with copies of its variables.
        self._finalised = tuple(
            part
            for part in self._parts
            if hasattr(part, "finalize_state") and hasattr(part, "adapt_mean")
        )
        self._seen: list[Any] = [None] * len(self._finalised)

    def _finalise(self) -> None:
        """Let normalization by given statistics read them again where they were replaced."""
        if torch.compiler.is_compiling():
            return
        for position, part in enumerate(self._finalised):
            mean = part.adapt_mean._value
            now = (id(mean), mean._version)
            if self._seen[position] != now:
                self._seen[position] = now
                part.finalize_state()

    def _on_device(self, args: tuple[Any, ...]) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which Keras makes tensors where the layer's variables are."""
        device = device_of(self._bound)
        if device is None:
            device = next((a.device for a in args if isinstance(a, Tensor)), None)
        if device is None:
            return contextlib.nullcontext()
        now = str(sys.modules["keras.src.backend.torch.core"].get_device())
        if now in (device.type, str(device)):
            return contextlib.nullcontext()
        return sys.modules["keras"].device(str(device))


def _may_make_variables(part: Any) -> bool:
    return not part.built and not never_has_state(part)


_BOLD = re.compile(r"\x1b\[\d+m")
_REMADE = frozenset({"_hidden", "_known", "_parts", "_penalised", "_finalised", "_seen"})


def _shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, Tensor):
            return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + "}"
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(shown, value))}]"
        return repr(value)

    own = {name: value for name, value in kwargs.items() if name != "training"}
    return ", ".join([*map(shown, args), *(f"{k}={shown(v)}" for k, v in own.items())])


def wrapped_within(module: nn.Module, root: list[Store]) -> None:
    """Put a `KerasLayer` in the place of each Keras layer that a torch module holds.

    Keras layers are torch modules, but know nothing of torch's modes and names.

    Args:
      module: of torch.
      root: the store that the layers will be of, as their owner has it.
    """
    wrappers: dict[int, KerasLayer] = {}
    for parent in [part for part in module.modules() if not is_keras_layer(part)]:
        for name, child in parent._modules.items():
            if isinstance(child, KerasLayer):
                child.root = root
            elif is_keras_layer(child):
                if id(child) not in wrappers:
                    wrappers[id(child)] = KerasLayer(child)
                    wrappers[id(child)].root = root
                parent._modules[name] = wrappers[id(child)]
