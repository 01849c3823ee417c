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
    from dovetail import metrics as metrics
    from dovetail import optimizers as optimizers
    from dovetail import pipelines as pipelines
    from dovetail.data import augment as augment
    from dovetail.data.batches.actions import SkipBatch as SkipBatch
    from dovetail.data.batches.actions import action as action
    from dovetail.data.batches.arrays import ArrayBatch as ArrayBatch
    from dovetail.data.batches.batch import Batch as Batch
    from dovetail.data.batches.images import ImagesBatch as ImagesBatch
    from dovetail.data.batches.inbatch import inbatch_parallel as inbatch_parallel
    from dovetail.data.datasets.dataset import Dataset as Dataset
    from dovetail.data.datasets.files_index import FilesIndex as FilesIndex
    from dovetail.data.datasets.index import DatasetIndex as DatasetIndex
    from dovetail.data.datasets.joint import JointDataset as JointDataset
    from dovetail.data.pipeline import named as named
    from dovetail.data.pipeline.model_methods import model as model
    from dovetail.data.pipeline.pipeline import Pipeline as Pipeline
    from dovetail.data.records import Records as Records
    from dovetail.data.schema import Field as Field
    from dovetail.data.schema import Schema as Schema
    from dovetail.definition import summary as summary
    from dovetail.definition.definition import Definition as Definition
    from dovetail.definition.definition import load as load
    from dovetail.definition.global_step import get_global_step as get_global_step
    from dovetail.definition.hparams import HParams as HParams
    from dovetail.definition.modeler import Modeler as Modeler
    from dovetail.definition.modeler_config import ModelerConfig as ModelerConfig
    from dovetail.definition.modes import ModeKeys as ModeKeys
    from dovetail.definition.spec import CSEstimatorSpec as CSEstimatorSpec
    from dovetail.definition.spec import EstimatorSpec as EstimatorSpec
    from dovetail.program.building import build as build
    from dovetail.program.program import Program as Program
    from dovetail.run.config import RunConfig as RunConfig
    from dovetail.run.early_stopping import EarlyStopping as EarlyStopping
    from dovetail.run.early_stopping import stop_if_higher_hook as stop_if_higher_hook
    from dovetail.run.early_stopping import stop_if_lower_hook as stop_if_lower_hook
    from dovetail.run.early_stopping import stop_if_no_decrease_hook as stop_if_no_decrease_hook
    from dovetail.run.early_stopping import stop_if_no_increase_hook as stop_if_no_increase_hook
    from dovetail.run.estimator import Estimator as Estimator
    from dovetail.run.exporters import BestExporter as BestExporter
    from dovetail.run.exporters import Exporter as Exporter
    from dovetail.run.exporters import FinalExporter as FinalExporter
    from dovetail.run.exporters import LatestExporter as LatestExporter
    from dovetail.run.hooks import Hook as Hook
    from dovetail.run.specs import EvalSpec as EvalSpec
    from dovetail.run.specs import TrainSpec as TrainSpec
    from dovetail.run.train_and_evaluate import train_and_evaluate as train_and_evaluate
    from dovetail.run.warm_start import WarmStart as WarmStart
    from dovetail.tasks.image_classification import (
        ImageClassificationModelerConfig as ImageClassificationModelerConfig,
    )

# name -> the module that holds it; a value without an attribute part is the module itself.
_HOMES = {
    "ArrayBatch": "dovetail.data.batches.arrays",
    "Batch": "dovetail.data.batches.batch",
    "BestExporter": "dovetail.run.exporters",
    "CSEstimatorSpec": "dovetail.definition.spec",
    "Dataset": "dovetail.data.datasets.dataset",
    "DatasetIndex": "dovetail.data.datasets.index",
    "Definition": "dovetail.definition.definition",
    "EarlyStopping": "dovetail.run.early_stopping",
    "Estimator": "dovetail.run.estimator",
    "EstimatorSpec": "dovetail.definition.spec",
    "EvalSpec": "dovetail.run.specs",
    "Exporter": "dovetail.run.exporters",
    "Field": "dovetail.data.schema",
    "FilesIndex": "dovetail.data.datasets.files_index",
    "FinalExporter": "dovetail.run.exporters",
    "Hook": "dovetail.run.hooks",
    "HParams": "dovetail.definition.hparams",
    "ImageClassificationModelerConfig": "dovetail.tasks.image_classification",
    "ImagesBatch": "dovetail.data.batches.images",
    "JointDataset": "dovetail.data.datasets.joint",
    "LatestExporter": "dovetail.run.exporters",
    "Modeler": "dovetail.definition.modeler",
    "ModelerConfig": "dovetail.definition.modeler_config",
    "ModeKeys": "dovetail.definition.modes",
    "Pipeline": "dovetail.data.pipeline.pipeline",
    "Program": "dovetail.program.program",
    "Records": "dovetail.data.records",
    "RunConfig": "dovetail.run.config",
    "Schema": "dovetail.data.schema",
    "SkipBatch": "dovetail.data.batches.actions",
    "TrainSpec": "dovetail.run.specs",
    "WarmStart": "dovetail.run.warm_start",
    "action": "dovetail.data.batches.actions",
    "build": "dovetail.program.building",
    "get_global_step": "dovetail.definition.global_step",
    "inbatch_parallel": "dovetail.data.batches.inbatch",
    "load": "dovetail.definition.definition",
    "model": "dovetail.data.pipeline.model_methods",
    "stop_if_higher_hook": "dovetail.run.early_stopping",
    "stop_if_lower_hook": "dovetail.run.early_stopping",
    "stop_if_no_decrease_hook": "dovetail.run.early_stopping",
    "stop_if_no_increase_hook": "dovetail.run.early_stopping",
    "train_and_evaluate": "dovetail.run.train_and_evaluate",
}
_MODULES = {
    "augment": "dovetail.data.augment",
    "hooks": "dovetail.hooks",
    "layers": "dovetail.layers",
    "metrics": "dovetail.metrics",
    "named": "dovetail.data.pipeline.named",
    "optimizers": "dovetail.optimizers",
    "pipelines": "dovetail.pipelines",
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
