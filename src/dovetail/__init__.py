"""Define the model; Dovetail does the rest.

Every public name is listed here and imported when it is first used, so that `import dovetail`
is quick and changes nothing: no torch, no devices, no logging, no environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dovetail import hooks as hooks
    from dovetail import layers as layers
    from dovetail.data import augment as augment
    from dovetail.data.records import Records as Records
    from dovetail.data.schema import Field as Field
    from dovetail.data.schema import Schema as Schema
    from dovetail.definition import metrics as metrics
    from dovetail.definition import optimizers as optimizers
    from dovetail.definition import summary as summary
    from dovetail.definition.definition import Definition as Definition
    from dovetail.definition.definition import load as load
    from dovetail.definition.global_step import get_global_step as get_global_step
    from dovetail.definition.hparams import HParams as HParams
    from dovetail.definition.modes import ModeKeys as ModeKeys
    from dovetail.definition.spec import CSEstimatorSpec as CSEstimatorSpec
    from dovetail.definition.spec import EstimatorSpec as EstimatorSpec
    from dovetail.program.program import Program as Program
    from dovetail.program.program import build as build
    from dovetail.run.config import RunConfig as RunConfig
    from dovetail.run.estimator import Estimator as Estimator
    from dovetail.run.hooks import Hook as Hook

# name -> the module that holds it; a value without an attribute part is the module itself.
_HOMES = {
    "CSEstimatorSpec": "dovetail.definition.spec",
    "Definition": "dovetail.definition.definition",
    "Estimator": "dovetail.run.estimator",
    "EstimatorSpec": "dovetail.definition.spec",
    "Field": "dovetail.data.schema",
    "Hook": "dovetail.run.hooks",
    "HParams": "dovetail.definition.hparams",
    "ModeKeys": "dovetail.definition.modes",
    "Program": "dovetail.program.program",
    "Records": "dovetail.data.records",
    "RunConfig": "dovetail.run.config",
    "Schema": "dovetail.data.schema",
    "build": "dovetail.program.program",
    "get_global_step": "dovetail.definition.global_step",
    "load": "dovetail.definition.definition",
}
_MODULES = {
    "augment": "dovetail.data.augment",
    "hooks": "dovetail.hooks",
    "layers": "dovetail.layers",
    "metrics": "dovetail.definition.metrics",
    "optimizers": "dovetail.definition.optimizers",
    "summary": "dovetail.definition.summary",
}

__all__ = sorted([*_HOMES, *_MODULES])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = importlib.import_module(_MODULES[name])
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'dovetail' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
