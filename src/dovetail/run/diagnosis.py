"""Finding out where the first number that is not finite came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.modes import ModeKeys
from dovetail.errors import NanLossError
from dovetail.program.batches import as_tensors, count, cut
from dovetail.program.program import Program
from dovetail.program.randomness import kept_generators, seed_generators
from dovetail.program.recomputing import copied_buffers
from dovetail.run.bad_batch import save_batch
from dovetail.run.finite import FiniteChecks, NotFinite, cure, described, first_bad, looked_at

__all__ = ["FiniteChecks", "diagnose", "explain", "save_batch"]


def explain(
    error: NanLossError,
    program: Program,
    features: Any,
    labels: Any,
    *,
    step: int,
    parts: int,
    model_dir: Path,
) -> None:
    """Add to an error where the first value that is not finite came from, and the batch's file.

    Args:
      error: of the loss, or of `FiniteChecks`, which has found the place already.
      features, labels: the batch at hand, which is that of `step`.
      step: the number of the present step, counted from 1.
      parts: into how many parts a batch is cut.
      model_dir: where the batch is saved.
    """
    if error.step != step:
        return  # an accelerator's losses are looked at late: `failure_told` says what to do
    found = "" if isinstance(error, NotFinite) else diagnose(program, features, labels, step, parts)
    try:
        where = f"The batch is saved in {save_batch(model_dir, step, features, labels)}."
    except OSError as failed:
        where = f"The batch could not be saved: {failed}"
    error.args = (f"{error} {found} {where}".replace("  ", " "),)


def diagnose(program: Program, features: Any, labels: Any, step: int, parts: int = 1) -> str:
    """Run a step's forward and backward pass again, and say what was the first not to be finite.

    The same random numbers are drawn. Nothing of the program changes, and nothing is raised: where
    the place can't be found, the text says so.

    Args:
      program: in the state before the step; on an accelerator it may be past it, which is said.
      features, labels: the step's batch.
      step: the number of the step, counted from 1.
      parts: into how many parts the batch was cut.

    Returns:
      One or two sentences: layer, shape, how many values, the range of its input, what to do.
    """
    try:
        with kept_generators(), copied_buffers(program.network):
            text = _diagnosed(program, features, labels, step, parts)
    except Exception as error:
        return f"Where it came from could not be found out: {type(error).__name__}: {error}"
    past = program.global_step - (step - 1)
    if past:
        later = f"{past} step{'s' if past != 1 else ''} later"
        text += f" (Found with the parameters {later}: those of step {step} are gone.)"
    return text


def _diagnosed(program: Program, features: Any, labels: Any, step: int, parts: int) -> str:
    features = as_tensors(features, program.device, "features")
    labels = as_tensors(labels, program.device, "labels")
    for what, value in (("features", features), ("labels", labels)):
        for name, tensor in looked_at(value, what):
            if not _finite(tensor):
                return (
                    f"The batch itself holds values that are not finite: {name}, "
                    f"{described(tensor)}. Clean the data (dovetail records verify shows which), "
                    "or replace them in input_fn."
                )
    for name, parameter in program.network.named_parameters():
        if not _finite(parameter):
            return (
                f"The parameter '{name}' was not finite already: {described(parameter)}. "
                f"{cure(program)}"
            )
    network = program.network
    network.mode = ModeKeys.TRAIN
    network.train(True)
    network.global_step.fill_(step - 1)
    pieces = cut(features, labels, parts)
    for index, (part_features, part_labels) in enumerate(pieces):
        where = f" in part {index + 1} of {len(pieces)}" if len(pieces) > 1 else ""
        with first_bad(network) as found:
            seed_generators(program.device, program.seed, step - 1, index)
            with torch.enable_grad(), program.precise():
                output = network(part_features, part_labels)
        if found:
            return f"The first not to be finite{where} was {found[0]}. {cure(program)}"
        loss = output["loss"]
        if not _finite(loss):
            return (
                f"Every layer's output is finite{where}, the loss, {loss.item()}, is not: it "
                "comes about in the loss's own computation. Look there for a logarithm or root "
                "of 0, a division by 0 (a mean over nothing, on "
                f"{count(part_features, part_labels)} examples), or a softmax taken by hand."
            )
        text = _gradients(program, output, where)
        if text:
            return text
    return (
        "Run again, the step is finite: every layer's output, every gradient and the loss. What "
        "went wrong is not repeatable (a sum of parts or of weights, or the device)."
    )


def _gradients(program: Program, output: dict[str, Any], where: str) -> str:
    """Name the parameter whose gradient was the first not to be finite, or return ""."""
    named = [(n, p) for n, p in program.network.named_parameters() if p.requires_grad]
    losses = list(output.get("train_losses", {}).values())
    if not losses or not named:
        return ""
    gradients = torch.autograd.grad(losses, [p for _, p in named], allow_unused=True)
    # The backward pass goes from the last layer to the first, and so does what is not finite.
    for (name, _), gradient in reversed(list(zip(named, gradients, strict=True))):
        if gradient is not None and not _finite(gradient):
            return (
                f"Every output is finite{where}; the first gradient that is not was that of "
                f"'{name}', {described(gradient)}. A root or a division near 0 has such a "
                f"gradient. {cure(program)}"
            )
    return ""


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())
