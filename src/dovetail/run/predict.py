"""Prediction: batches in, arrays out, in the order of the input."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dovetail.definition.modes import ModeKeys
from dovetail.errors import DataError, DefinitionError, nearest
from dovetail.program.program import Program
from dovetail.program.randomness import kept_generators
from dovetail.run import saving
from dovetail.run.batch_errors import explained
from dovetail.run.checkpoint import Checkpoint
from dovetail.run.hooks import Hook, Hooks, Run
from dovetail.run.inputs import Input


def predict(
    program: Program,
    source: Input,
    *,
    keys: Sequence[str] | None = None,
    restored: Checkpoint | None = None,
    steps: int | None = None,
    model_dir: Path | None = None,
    hooks: Sequence[Hook] = (),
) -> Generator[dict[str, np.ndarray]]:
    """Yield the predictions of each batch: name -> array, batch first.

    Args:
      program: built or not.
      source: the batches, from their beginning; their labels are left out.
      keys: which predictions; None: all.
      restored: the checkpoint to predict with; None: the program's state as it is.
      steps: how many batches; None: all.
      model_dir: what hooks see as the run's.
      hooks: called at each batch; their run's step is the checkpoint's.

    Raises:
      DataError: the input has no batch.
      DefinitionError: a key is no prediction.
      CheckpointError: the checkpoint is of another definition.
    """
    done = 0
    run, told = Run(program, model_dir or Path()), Hooks(hooks)
    with contextlib.ExitStack() as stack:
        batches = stack.enter_context(contextlib.closing(source.batches(0)))
        for fed in batches:
            if done == 0:
                if not program.built:
                    with explained("prediction", source, fed):
                        program.build(fed.features, None, ModeKeys.PREDICT)
                if restored is not None:
                    saving.restore(program, restored, weights_only=True)
                run.step = program.global_step
                told.begin(run)
            told.before_step(run)
            # Around the step alone: between batches the caller's code runs.
            with kept_generators(), explained("prediction", source, fed):
                predicted = program.predict_step(fed.features, batch=done)
            told.after_step(run, predicted)
            output = predicted["predictions"]
            for key in keys or ():
                if key not in output:
                    raise DefinitionError(
                        f"predict_keys: the predictions have no '{key}'.{nearest(key, output)} "
                        f"They are: {', '.join(output)}."
                    )
            yield {key: as_array(output[key]) for key in keys or output}
            done += 1
            if run.stopping or (steps is not None and done >= steps):
                break
        if done:
            told.end(run)
    if done == 0:
        raise DataError(f"{source.name} gave no batch, so there is nothing to predict.")


def as_array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a numpy array on the CPU; bfloat16, which numpy lacks, as float32."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return tensor.numpy()


def rows(batch: dict[str, np.ndarray]) -> Generator[dict[str, Any]]:
    """Yield the examples of a batch of predictions one by one.

    Raises:
      DefinitionError: the predictions have different numbers of rows.
    """
    sizes = {name: (array.shape[0] if array.ndim else None) for name, array in batch.items()}
    if len(set(sizes.values())) != 1 or None in sizes.values():
        raise DefinitionError(
            f"The predictions are not one row per example (their first dimensions: {sizes}). Give "
            "predictions batch first, choose with predict_keys, or take whole batches with "
            "yield_single_examples=False."
        )
    for index in range(next(iter(sizes.values())) or 0):
        yield {name: array[index] for name, array in batch.items()}
