"""The device that a name stands for."""

from __future__ import annotations

import torch

from dovetail.definition.definition import Definition
from dovetail.errors import DefinitionError, nearest


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that a name stands for; "auto" is the accelerator there is, else the CPU.

    Raises:
      DefinitionError: the name is unknown, or there is no such device here.
    """
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise DefinitionError(
            f"device='{device}' can't be used here: {_reason(device, str(error))} Use 'auto', "
            "'cpu', or a device that this machine has."
        ) from error
    return chosen


def _reason(device: str, said: str) -> str:
    """Say in a sentence why a device can't be used, of which torch says a page.

    >>> _reason("GPU", "Expected one of cpu, cuda, ...")
    "there is no such device. Did you mean 'cuda'?"
    """
    kind = device.lower().partition(":")[0]
    if said.startswith(("Expected one of", "Device string must")):
        meant = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}.get(kind, kind)
        known = ("cpu", "cuda", "mps", "xpu")
        return f"there is no such device.{nearest(meant, known) if meant else ''}"
    if said.startswith("Could not run"):
        return f"this machine, or this torch, has no {kind}."
    return f"{said.splitlines()[0].rstrip('.')}."


def other_than_asked(definition: Definition, device: torch.device) -> str | None:
    """Say where a modeler's batches go, if that is not where its gpu_count says; else None.

    Example:
      >>> from dovetail.definition.definition import load
      >>> from dovetail.definition.modeler import Modeler, ModelerConfig
      >>> definition = load(Modeler(ModelerConfig(gpu_count=1)))
      >>> other_than_asked(definition, torch.device("cpu"))
      'gpu_count=1: this run is on the CPU, with its whole batch.'
      >>> other_than_asked(definition, torch.device("cuda:0"))
    """
    count = definition.params.get("gpu_count") if definition.way == "modeler" else None
    if count is None or (count == 1 and device.type != "cpu"):
        return None
    where = "the CPU" if device.type == "cpu" else f"one device, {device}"
    return f"gpu_count={count}: this run is on {where}, with its whole batch."
