"""How the features of a batch reach a module: by the names of its arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from dovetail.errors import DefinitionError
from dovetail.layers.keras.objects import is_keras_layer


class FeaturesCall:
    """Passes features to a module by matching names.

    A dict of one entry goes as its tensor where the module takes one argument; a module that takes
    one dict (several features and one argument, or one that is annotated so) gets the dict. An
    argument `training` is given whether the mode is TRAIN.

    Args:
      module: what is called.
      parameters: of its call, where they are not those of `forward`.
    """

    def __init__(
        self, module: nn.Module, parameters: Sequence[inspect.Parameter] | None = None
    ) -> None:
        if parameters is None:
            parameters = list(inspect.signature(module.forward).parameters.values())
        self.what = f"{type(module).__name__}.forward"
        kinds = inspect.Parameter
        named = [p for p in parameters if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
        self.training = any(p.name == "training" for p in named[1:])
        named = [p for p in named if not (self.training and p.name == "training")]
        self.names = tuple(p.name for p in named)
        self.needed = frozenset(p.name for p in named if p.default is kinds.empty)
        self.any_name = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
        self.by_name = bool(named) or (self.any_name and len(parameters) == 1)
        self.whole = bool(named) and _IS_DICT.search(str(named[0].annotation)) is not None

    def __call__(self, module: nn.Module, features: Any) -> Any:
        mode = {"training": module.training} if self.training else {}
        if not isinstance(features, dict) or self.whole:
            return module(features, **mode)
        fit = self.any_name or all(name in self.names for name in features)
        if self.by_name and fit and all(name in features for name in self.needed):
            return module(**features, **mode)
        if len(self.needed) > 1 and not torch.compiler.is_compiling():
            raise DefinitionError(
                f"{self.what} takes {', '.join(self.names)}, and the features "
                f"are {', '.join(features)}. Name its arguments as input_fn names the features, or "
                "let it take one dict."
            )
        if len(features) == 1:
            return module(next(iter(features.values())), **mode)
        return module(features, **mode)


def features_call(module: nn.Module) -> Callable[[nn.Module, Any], Any]:
    """Return what passes features to a module, or to a Keras model.

    Returns:
      A function of (module, features) that returns the module's output.
    """
    if is_keras_layer(module):
        from dovetail.definition.keras.features import keras_call

        return keras_call(module)
    return FeaturesCall(module)


_IS_DICT = re.compile(r"\b(dict|Dict|Mapping)\b")
